"""Model files for launchers: fetched when they are not here yet, each byte a sign of progress."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from enginehouse.residency.base import Watcher
from enginehouse.stores.artifacts import Artifacts
from enginehouse.types import Source

__all__ = ["FetchedFiles"]


class FetchedFiles:
    """Satisfies `Files` over the store of artifacts.

    Args:
        arrived: called when something had to be fetched and is here now.
    """

    def __init__(self, artifacts: Artifacts, arrived: Callable[[], None]) -> None:
        self._artifacts = artifacts
        self._arrived = arrived

    async def fetch(self, source: Source, sha256: Source | None, watcher: Watcher) -> Path:
        """The local path."""
        was_here = await asyncio.to_thread(self._artifacts.local, source, sha256)
        path = await self._artifacts.fetch(source, sha256, _Progress(watcher))
        if was_here is None:
            self._arrived()
        return path


class _Progress:
    """Turns a download's progress into a load's."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def started(self, name: str, total: int | None, already: int) -> None:
        """A transfer begins."""
        del total, already
        self._watcher.printed([f"fetching {name}"])
        self._watcher.progressed("fetching began")

    def advanced(self, name: str, count: int) -> None:
        """Bytes came."""
        del name, count
        self._watcher.progressed("bytes fetched")

    def waiting(self, name: str, reason: str) -> None:
        """A transfer stands still, and goes on by itself."""
        self._watcher.printed([f"{name}: {reason}"])
        self._watcher.progressed(reason)

    def finished(self, name: str) -> None:
        """A transfer ended."""
        self._watcher.printed([f"fetched {name}"])
        self._watcher.progressed("fetching ended")
