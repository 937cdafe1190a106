"""What a model that is registered over HTTP may ask for: a caller is trusted less than the configuration.

Sources lie in the configured folders or come from the configured indexes, addresses are allowed one by one, and
flags are those that name no file, no address and no log.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from enginehouse.engines.llama_server.flags import UnknownFlag, parse_flags
from enginehouse.errors import InvalidRequest, SettingsError, SourceError
from enginehouse.settings.loading import read_model
from enginehouse.settings.schema import ModelSettings, Settings
from enginehouse.stores.artifacts.specs import LocalFile, parse

__all__ = ["HARMLESS", "SWITCHES", "admitted", "located"]

SWITCHES = frozenset({
    "--embedding", "--embeddings", "--rerank", "--reranking", "-kvu", "--kv-unified", "--mlock", "--no-mmap",
    "--swa-full", "--no-warmup", "--jinja", "--no-jinja", "--context-shift", "--no-context-shift", "-cb",
    "--cont-batching", "--no-cont-batching",
})  # fmt: skip
"""Allowed flags that stand alone."""

HARMLESS = frozenset({
    "--pooling", "-c", "--ctx-size", "-np", "--parallel", "-ngl", "--gpu-layers", "--n-gpu-layers", "-ctk",
    "--cache-type-k", "-ctv", "--cache-type-v", "-cram", "--cache-ram", "-sm", "--split-mode", "-mg",
    "--main-gpu", "-t", "--threads", "-tb", "--threads-batch", "-b", "--batch-size", "-ub", "--ubatch-size",
    "-fa", "--flash-attn", "--rope-scaling", "--rope-freq-base", "--rope-freq-scale", "--chat-template",
    "--reasoning-format", "-n", "--predict", "--n-predict", "-s", "--seed", "--temp", "--top-k", "--top-p",
    "--min-p", "--repeat-penalty",
})  # fmt: skip
"""Allowed flags that are followed by a value: a number or a plain word, never a path or a text."""

_VALUE = re.compile(r"-?\d+(\.\d+)?|[A-Za-z0-9][A-Za-z0-9_.-]*")


def admitted(id_: str, entry: object, settings: Settings) -> ModelSettings:
    """An entry as settings, if a caller may have it.

    Raises:
        InvalidRequest: it is wrong, or asks for what a caller may not have; `param` names the key.
    """
    if not isinstance(entry, dict):
        raise InvalidRequest("The settings of a model are an object.")
    stated = cast("dict[str, Any]", entry)
    # Before anything is read: a key may say `file:PATH`, which must not even be looked at for a caller.
    _check_key(stated.get("api_key"))
    try:
        model = read_model(id_, stated, default_slots=settings.admission.default_slots)
    except SettingsError as error:
        raise InvalidRequest(error.message, param=error.param) from None
    _check_address(model.base_url, settings.registration.base_urls)
    _check_flags(model.flags, frozenset(settings.registration.flags))
    if settings.engines.llama_server.path is None:
        _check_bundled(model.flags)
    for source in _sources(model.source):
        _check_source(source, settings)
    return model


def located(entry: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The entry with paths made absolute, links resolved: what is kept is what was checked."""
    source = entry.get("source")
    if isinstance(source, str):
        return {**entry, "source": _located(source, settings)}
    if isinstance(source, dict):
        parts = cast("dict[str, object]", source)
        whole = {name: _located(part, settings) if isinstance(part, str) else part for name, part in parts.items()}
        return {**entry, "source": whole}
    return dict(entry)


def _sources(source: str | dict[str, str] | None) -> Iterable[str]:
    return source.values() if isinstance(source, dict) else [source] if source else []


def _located(source: str, settings: Settings) -> str:
    """A relative path starts at `sources.base_dir`, else at `models_dir`."""
    if source.startswith(("hf:", "pypi:")):
        return source
    if source.startswith("~") or "\0" in source:
        raise _outside(settings)
    base = settings.sources.base_dir or settings.models_dir or Path("/")
    try:
        return str((base / source).resolve()) if source else source
    except (OSError, RuntimeError):
        raise _outside(settings) from None


def _folders(settings: Settings) -> list[Path]:
    folders = (settings.models_dir, settings.sources.base_dir, settings.data_dir / "artifacts")
    return [folder.resolve() for folder in folders if folder is not None]


def _check_source(source: str, settings: Settings) -> None:
    try:
        spec = parse(source)
    except SourceError as error:
        raise InvalidRequest(error.message, param="source") from None
    if isinstance(spec, LocalFile):
        path = Path(_located(source, settings))
        if not any(path.is_relative_to(folder) for folder in _folders(settings)):
            raise _outside(settings)


def _outside(settings: Settings) -> InvalidRequest:
    has_folder = settings.models_dir or settings.sources.base_dir
    where = "models_dir or sources.base_dir" if has_folder else "models_dir or sources.base_dir (neither is set)"
    return InvalidRequest(
        f"source: a registered model's files are pypi:…, hf:…, or a path inside {where} of the configuration.",
        param="source",
    )


def _check_key(key: object) -> None:
    if isinstance(key, str) and key.startswith(("file:", "env:")):
        raise InvalidRequest(
            "api_key: `file:` and `env:` stand in the configuration only; give the key itself.", param="api_key"
        )


def _check_address(url: str | None, allowed: Iterable[str]) -> None:
    if url is None or "*" in (roots := [*allowed]):
        return
    if not any(_is_below(url, root) for root in roots):
        raise InvalidRequest(
            "base_url: addresses come from the configuration only. Add this one to registration.base_urls there, "
            "or leave it out to use the provider's.",
            param="base_url",
        )


def _is_below(url: str, root: str) -> bool:
    try:
        given, allowed = urlsplit(url), urlsplit(root)
        same = (given.scheme, given.hostname, given.port) == (allowed.scheme, allowed.hostname, allowed.port)
    except ValueError:
        return False
    plain = not (given.username or given.password or given.query or given.fragment or "\\" in url or "%" in url)
    parts, wanted = given.path.rstrip("/").split("/"), allowed.path.rstrip("/").split("/")
    return same and plain and ".." not in parts and parts[: len(wanted)] == wanted


def _check_bundled(flags: Sequence[str]) -> None:
    """The bundled engine would refuse them when it starts; better now."""
    try:
        parse_flags(flags)
    except UnknownFlag as error:
        raise InvalidRequest(error.message, param="flags") from None


def _check_flags(flags: Iterable[str], further: frozenset[str]) -> None:
    """Every word is an allowed flag, or the one value of the allowed flag before it."""
    before = ""
    for word in flags:
        if (before and _VALUE.fullmatch(word)) or word in SWITCHES:
            before = ""
        elif word in HARMLESS or word in further:
            before = word
        elif before in further and not word.startswith("-"):
            before = ""
        else:
            raise InvalidRequest(
                f"flags: {word[:80]!r} may not be given over HTTP; flags that are allowed take numbers and plain "
                "words. Put the model into the configuration, or the flag's name into registration.flags there.",
                param="flags",
            )
