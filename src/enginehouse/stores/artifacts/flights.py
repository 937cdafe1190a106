"""Single flight: who wants what is being fetched already joins in, watches, and shares the outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.progress import Progress

__all__ = ["Flights"]


class Flights:
    """What is being fetched in this process now, by key."""

    def __init__(self) -> None:
        self._flying: dict[Hashable, _Flight] = {}

    async def share(self, key: Hashable, work: Callable[[Progress], Awaitable[None]], progress: Progress) -> None:
        """Run `work` unless somebody runs it for this key already; then wait for that.

        The first caller runs it as part of itself. Is that one cancelled, the next in line begins anew, and finds
        on the disk what has come.

        Raises:
            SourceError: the work ended so; all who waited get it.
        """
        while (flight := self._flying.get(key)) is not None:
            if await flight.joined(progress):
                return
        flight = self._flying[key] = _Flight()
        try:
            await flight.flown(work, progress)
        finally:
            del self._flying[key]


class _Flight:
    """One piece of work and all who watch it. Is itself the `Progress` of the work."""

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self._error: SourceError | None = None
        self._done = False
        self._watchers: list[Progress] = []
        self._under_way: dict[str, tuple[int | None, int]] = {}

    async def flown(self, work: Callable[[Progress], Awaitable[None]], progress: Progress) -> None:
        self._watchers.append(progress)
        try:
            await work(self)
            self._done = True
        except SourceError as error:
            self._error = error
            raise
        finally:
            self._over.set()

    async def joined(self, progress: Progress) -> bool:
        """Wait for the end: whether the work was done; not, when who did it was cancelled."""
        for name, (total, already) in self._under_way.items():
            progress.started(name, total, already)
        self._watchers.append(progress)
        try:
            await self._over.wait()
        finally:
            self._watchers.remove(progress)
        if self._error is not None:
            raise SourceError(self._error.message) from self._error
        return self._done

    def started(self, name: str, total: int | None, already: int) -> None:
        self._under_way[name] = (total, already)
        for watcher in self._watchers:
            watcher.started(name, total, already)

    def advanced(self, name: str, count: int) -> None:
        total, already = self._under_way.get(name, (None, 0))
        self._under_way[name] = (total, already + count)
        for watcher in self._watchers:
            watcher.advanced(name, count)

    def waiting(self, name: str, reason: str) -> None:
        for watcher in self._watchers:
            watcher.waiting(name, reason)

    def finished(self, name: str) -> None:
        self._under_way.pop(name, None)
        for watcher in self._watchers:
            watcher.finished(name)
