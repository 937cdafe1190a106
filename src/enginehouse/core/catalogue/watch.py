"""The models folder, watched: every change of what it offers, as a whole new set."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from watchfiles import Change, awatch  # pyright: ignore[reportUnknownVariableType] - its stop_event may be trio's
from watchfiles._rust_notify import WatchfilesRustInternalError

from enginehouse.core.catalogue.shelf import Look, Shelf
from enginehouse.types import Model

__all__ = ["watch_folder"]

UNASKED = 30.0
"""Seconds between looks though nothing gave a sign: not every file system reports its changes."""


async def watch_folder(
    folder: Path, *, settle: float = 2.0, interval: float = 1.0, slots: int = 1
) -> AsyncGenerator[tuple[Model, ...]]:
    """Yield all models of a folder: at once, and again whenever they are others.

    A folder that is not there offers nothing until it appears. Ends only when it is closed or cancelled.

    Args:
        folder: GGUF files and ONNX folders, or folders of them.
        settle: seconds a model's files must have been still before it is shown.
        interval: seconds between looks while something moves, or while the folder is missing.
        slots: sequences each model runs at once.
    """
    shelf = Shelf(folder, settle=settle, slots=slots)
    shown: tuple[Model, ...] | None = None
    async with aclosing(looks(shelf, interval)) as stream:
        async for look in stream:
            if look.models != shown:
                shown = look.models
                yield shown


async def looks(shelf: Shelf, interval: float) -> AsyncGenerator[Look]:
    """A look now, one at every sign of change, one each interval while something moves, and one now and then."""
    while True:
        look = await look_now(shelf)
        yield look
        # No folder, or no more watches to be had: then every round of this loop is a look.
        with suppress(OSError, WatchfilesRustInternalError):
            watched = await asyncio.to_thread(identity, shelf.folder)
            # What happened between the look above and the watch's beginning gave no sign: the first tick looks.
            due = time.monotonic()
            async with aclosing(ticks(shelf.folder, interval)) as stream:
                async for signs in stream:
                    if signs or look.moving or time.monotonic() >= due:
                        look = await look_now(shelf)
                        due = time.monotonic() + UNASKED
                        yield look
                    if _was_removed(shelf.folder, signs):
                        break
                    if signs and await asyncio.to_thread(identity, shelf.folder) != watched:
                        break
        await asyncio.sleep(interval)


def ticks(folder: Path, interval: float) -> AsyncGenerator[set[Any]]:
    """Signs of change as they come, and an empty set after each interval without one."""
    return awatch(
        folder,
        watch_filter=None,
        rust_timeout=int(interval * 1000),
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )


def _was_removed(folder: Path, signs: set[Any]) -> bool:
    """The folder itself went, even if another of its name, and of its recycled inode, is there again."""
    return any(kind is Change.deleted and Path(path) == folder for kind, path in signs)


def identity(folder: Path) -> tuple[int, int]:
    """Which folder this is, whatever its name: one that was removed and made again is another."""
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


async def look_now(shelf: Shelf) -> Look:
    """Look, in a thread."""
    return await asyncio.to_thread(shelf.look, time.time())
