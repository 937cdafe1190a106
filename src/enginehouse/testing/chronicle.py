"""The chronicle of replicas of one process, on the loop's own clock, with a plug to pull."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from enginehouse.errors import StoreUnavailable
from enginehouse.stores.kv import Line

__all__ = ["MemoryChronicle", "Shelf"]

_WAIT = 2.0


class Shelf:
    """What the replicas share.

    Args:
        kept: how many of the newest lines.
    """

    def __init__(self, kept: int = 2000) -> None:
        self.lines: deque[Line] = deque(maxlen=kept)
        self.written = asyncio.Event()
        """Set, and another one, whenever something was written."""

    def write(self, text: bytes, milliseconds: int) -> None:
        """One more line."""
        newest = self.lines[-1].mark if self.lines else (0, 0)
        mark = (milliseconds, 0) if milliseconds > newest[0] else (newest[0], newest[1] + 1)
        self.lines.append(Line(mark, text))
        self.written.set()
        self.written = asyncio.Event()


class MemoryChronicle:
    """Satisfies `Chronicle` for one replica.

    Args:
        shelf: what the replicas share.
        name: this replica.
    """

    def __init__(self, shelf: Shelf, name: str) -> None:
        self.name = name
        self.shelf = shelf
        self._up = True
        self._gone = asyncio.Event()

    @property
    def up(self) -> bool:
        """Whether the shelf can be reached."""
        return self._up

    @up.setter
    def up(self, up: bool) -> None:
        self._up = up
        if not up:
            self._gone.set()
            self._gone = asyncio.Event()

    async def append(self, texts: Sequence[bytes]) -> None:
        """As the protocol says."""
        await self._way()
        for text in texts:
            self.shelf.write(text, int(asyncio.get_running_loop().time() * 1000))

    async def read(self, after: tuple[int, int] | None) -> Sequence[Line]:
        """As the protocol says."""
        await self._way()
        if after is None:
            return tuple(self.shelf.lines)
        if after >= self._newest():
            await _first(self.shelf.written.wait(), self._gone.wait(), asyncio.sleep(_WAIT))
            await self._way()
        behind = after > self._newest()
        return [line for line in self.shelf.lines if behind or line.mark > after]

    def _newest(self) -> tuple[int, int]:
        return self.shelf.lines[-1].mark if self.shelf.lines else (0, 0)

    async def _way(self) -> None:
        await asyncio.sleep(0)
        if not self._up:
            raise StoreUnavailable("The shelf is away.")


async def _first(*works: Coroutine[Any, Any, Any]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
