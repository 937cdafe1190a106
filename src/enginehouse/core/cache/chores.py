"""What need not be done before an answer goes out: one after the other, in a task of its own, and bounded."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from enginehouse.errors import EnginehouseError

__all__ = ["Chores"]

log = structlog.get_logger()

_MOST = 1000


class Chores:
    """A bounded line of things to do; what finds it full is not done."""

    def __init__(self) -> None:
        self._line: asyncio.Queue[Callable[[], Awaitable[object]]] = asyncio.Queue(_MOST)
        self.skipped = 0
        """How many found the line full, since the start."""

    def add(self, chore: Callable[[], Awaitable[object]]) -> None:
        """Do it soon."""
        try:
            self._line.put_nowait(chore)
        except asyncio.QueueFull:
            self.skipped += 1

    async def run(self) -> None:
        """Do what is to be done, for ever; what fails is logged and left."""
        while True:
            chore = await self._line.get()
            try:
                await chore()
            except EnginehouseError as error:
                log.warning("cache_chore_failed", error=error.message)
            except Exception:
                log.exception("cache_chore_failed")
            finally:
                self._line.task_done()

    async def done(self) -> None:
        """When all that was added so far is done; `run` has to run."""
        await self._line.join()
