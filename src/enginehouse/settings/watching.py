"""Watches the settings file: a valid edit is handed on, an invalid one is refused and logged."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias

import structlog

from enginehouse.errors import SettingsError
from enginehouse.settings.loading import load
from enginehouse.settings.schema import RESTART, Section, Settings

__all__ = ["changed", "wants_restart", "watch"]

log = structlog.get_logger()

State: TypeAlias = tuple[int, ...]
"""What tells one version of the file from another; empty while there is no file."""
LOOK_EVERY = 0.25
"""Seconds between two looks at the file. To be told of its folder would cost more: the database may lie there as
well, whose every write would be told too, and not every file system tells."""


def changed(old: Settings, new: Settings) -> frozenset[str]:
    """The keys whose values differ, dotted; a model is one key (`models.qwen`), whatever changed in it."""
    return frozenset(_changed(old, new, ""))


def _changed(old: Section, new: Section, prefix: str) -> Iterator[str]:
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, Section):
            yield from _changed(before, after, f"{prefix}{name}.")
        elif name == "models":
            yield from (f"{name}.{key}" for key in {**before, **after} if before.get(key) != after.get(key))
        elif before != after:
            yield prefix + name


def wants_restart(keys: Iterable[str]) -> frozenset[str]:
    """Those of the changed keys that count only after the next start."""
    return frozenset(key for key in keys if key in RESTART or key.partition(".")[0] in RESTART)


async def watch(path: Path, settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Settings]:
    """Yield new settings after each valid edit of the file that changed a value.

    It is the name that is watched: editors replace files, and Kubernetes turns links. An edit that is wrong is
    logged once and the settings before it stay.

    Args:
        path: The file.
        settings: What it said when it was read last.
        environ: The environment, which still wins over the file.
    """
    seen = None
    async with aclosing(_looks(path)) as looks:
        async for state in looks:
            if state == seen:
                continue
            seen = state
            new = await asyncio.to_thread(_reload, path, environ)
            if new and (keys := changed(settings, new)):
                log.info("settings_changed", file=str(path), keys=sorted(keys), restart=sorted(wants_restart(keys)))
                settings = new
                yield settings


def _reload(path: Path, environ: Mapping[str, str]) -> Settings | None:
    try:
        return load(path, environ)
    except SettingsError as error:
        log.warning("settings_refused", file=str(path), error=error.message)
        return None


async def _looks(path: Path) -> AsyncGenerator[State]:
    """The state of the file, again and again; none while it is being written."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        if (state := _state(path)) is not None:
            yield state


def _state(path: Path) -> State | None:
    """None for an empty file: a writer has cut it and not filled it yet, and nobody means all defaults by that."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size) if stat.st_size else None
