"""Brings the sums up to date a moment after records were kept, many records at a time.

Nobody waits for it: questions count what is not summed up yet on the spot.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from enginehouse.core.ledger.books import Books
from enginehouse.errors import StoreUnavailable

__all__ = ["Summing"]

log = structlog.get_logger()

_GATHERING = 0.5
"""Seconds for which records gather: what they have in common is then changed once."""
_RETRY = 5.0


class Summing:
    """A side task of the ledger.

    Args:
        books: whose records.
        pause: how to wait; `asyncio.sleep`.
    """

    def __init__(self, books: Books, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._books = books
        self._pause = pause
        self._wanted = asyncio.Event()
        self._wanted.set()  # an earlier life may have left some

    def want(self) -> None:
        """Records have been kept."""
        self._wanted.set()

    async def run(self) -> None:
        """Sum up whenever there is something, for ever."""
        while True:
            await self._wanted.wait()
            await self._pause(_GATHERING)
            self._wanted.clear()
            try:
                while await self._books.sum_up():
                    pass
            except StoreUnavailable:
                self._wanted.set()
                await self._pause(_RETRY)
            except Exception:
                log.exception("ledger_summing_failed")
                self._wanted.set()
                await self._pause(_RETRY)
