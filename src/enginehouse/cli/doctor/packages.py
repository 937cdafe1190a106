"""What is installed: the packages that do the work, and the extras that bring more."""

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement

from enginehouse.cli.doctor.finding import Finding, Status
from enginehouse.settings.schema import Settings
from enginehouse.types import EngineName, Model

__all__ = ["Versions", "extra", "install_command", "look_at_packages", "needed_extras", "packages", "requirements"]

Versions = Callable[[str], str | None]
"""Version of an installed package, None when it is not there."""

TELLING = (
    "enginehouse",
    "xllamacpp",
    "onnxruntime",
    "tokenizers",
    "gguf",
    "uvicorn",
    "aiohttp",
    "fastapi",
    "pydantic",
)
EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "local": "models that run on this machine",
        "redis": "shared state of several replicas",
        "postgres": "a PostgreSQL database",
        "qdrant": "a Qdrant server",
        "otel": "traces",
        "ray": "models on a Ray cluster",
    }
)
"""What each extra is for."""


def look_at_packages(settings: Settings, models: tuple[Model, ...]) -> Iterator[Finding]:
    """Everything that is installed, against what the settings need."""
    ours = distribution("enginehouse")
    yield packages(installed)
    for name, wanted in requirements(ours.requires or ()).items():
        if name in EXTRAS:
            needed = name in needed_extras(settings, models)
            yield extra(name, wanted, installed, command=install_command(ours, name), needed=needed)


def packages(versions: Versions) -> Finding:
    """Versions of what matters in a report of a mistake."""
    known = [f"{name} {found}" for name in TELLING if (found := versions(name))]
    return Finding("packages", Status.OK, ", ".join(known))


def extra(name: str, wanted: tuple[Requirement, ...], versions: Versions, *, command: str, needed: bool) -> Finding:
    """One extra: there, too old, or missing, and whether the settings need it."""
    label, purpose = f"extra {name}", EXTRAS[name]
    missing = [package.name for package in wanted if versions(package.name) is None]
    old = [
        f"{package.name} {found}"
        for package in wanted
        if (found := versions(package.name)) and not package.specifier.contains(found, prereleases=True)
    ]
    if not missing and not old:
        return Finding(label, Status.OK, purpose)
    if needed:
        lacking = ", ".join([*(f"{name} is missing" for name in missing), *(f"{item} is too old" for item in old)])
        return Finding(label, Status.FAIL, f"{purpose}: needed by the settings, but {lacking}", command)
    return Finding(label, Status.OK, f"{purpose}: not installed, and not needed by the settings", command)


def needed_extras(settings: Settings, models: tuple[Model, ...]) -> frozenset[str]:
    """The extras without which something that is configured will not work."""
    bundled = settings.engines.llama_server.path is None
    engines = {deployment.engine for model in models for deployment in model.deployments}
    needs = {
        "local": EngineName.ONNX in engines or (bundled and EngineName.LLAMA_SERVER in engines),
        "redis": bool(settings.stores.redis_url),
        "postgres": settings.stores.database_url.startswith("postgres"),
        "qdrant": bool(settings.qdrant.url or settings.qdrant.host),
        "ray": settings.fleet.placement == "ray",
    }
    return frozenset(name for name, needed in needs.items() if needed)


def requirements(lines: Iterable[str]) -> dict[str, tuple[Requirement, ...]]:
    """Extra → what it asks for on this machine, of a package's own requirements."""
    extras: dict[str, tuple[Requirement, ...]] = {}
    for line in lines:
        wanted = Requirement(line)
        for name in EXTRAS:
            if (
                wanted.marker
                and wanted.marker.evaluate({"extra": name})
                and not wanted.marker.evaluate({"extra": ""})
            ):
                extras[name] = (*extras.get(name, ()), wanted)
    return extras


def install_command(ours: Distribution, name: str) -> str:
    """The command that brings an extra, from wherever this installation came."""
    record: dict[str, Any] = json.loads(ours.read_text("direct_url.json") or "{}")
    place = unquote(urlsplit(str(record["url"])).path) if "dir_info" in record else ""
    editable = place and record["dir_info"].get("editable")
    what = shlex.quote(f"{place or 'enginehouse'}[{name}]")
    return f"{shlex.quote(sys.executable)} -m pip install {'--editable ' if editable else ''}{what}"


def installed(name: str) -> str | None:
    """The version that is there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
