"""Carries records from the spool into the books: those of an outage, or of the last moment of a journal."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import msgspec
import structlog

from enginehouse.core.ledger.books import Books
from enginehouse.core.ledger.record import UsageRecord, from_line, named
from enginehouse.errors import StoreError, StoreUnavailable
from enginehouse.stores.spool import Part

__all__ = ["Backlog", "Carrying"]

log = structlog.get_logger()
T = TypeVar("T")

_MOST_AT_ONCE = 500
_FAR_BEHIND = 5000
"""Records that may be ahead of books that are in reach."""
_GATHERING = 0.2
"""Seconds for which records gather in a journal before they are carried over, unless they are many before."""
_PATIENCE = 3.0
"""Seconds for which a question about usage waits for what is ahead of the books."""
_FIRST_RETRY, _LONGEST_RETRY = 0.25, 5.0

_Line: TypeAlias = bytes | UsageRecord
"""A record as it was read from the spool, or as it was put there by this life."""


class Backlog(Protocol):
    """Where records wait on the local disk: `stores.spool.Spool`."""

    @property
    def size(self) -> int:
        """Bytes that wait."""
        ...

    @property
    def backlog(self) -> int:
        """Lines that wait."""
        ...

    @property
    def full(self) -> bool:
        """Whether no more should come."""
        ...

    async def append(self, lines: Sequence[bytes], /) -> None:
        """Keep lines durably."""
        ...

    def append_now(self, lines: Sequence[bytes], meant: Sequence[UsageRecord], /) -> bool:
        """Keep lines against the end of this process, unless that would have to wait; whether they are kept."""
        ...

    async def oldest(self) -> Part[UsageRecord] | None:
        """The lines that come first."""
        ...

    async def drop(self, part: Part[UsageRecord], /) -> None:
        """Forget lines."""
        ...

    async def reject(self, lines: Sequence[bytes], /) -> Path:
        """Set lines aside."""
        ...


class Carrying:
    """A side task of the writer.

    Args:
        books: where records are kept for good.
        spool: where they wait.
        ahead: whether all records go through the spool, and not only those for which the books are out of reach.
        pause: how to wait between two tries to reach the books.
        kept: told when some are in the books.
    """

    def __init__(
        self,
        books: Books,
        spool: Backlog,
        *,
        ahead: bool,
        pause: Callable[[float], Awaitable[None]],
        kept: Callable[[], None],
    ) -> None:
        self.away = False
        """Whether the last try to reach the books failed."""
        self._books = books
        self._spool = spool
        self._ahead = ahead
        self._pause = pause
        self._kept = kept
        self._appended = spool.backlog
        self._late = bool(spool.size)
        """Whether what waits is more than the records of the last moment."""
        self._work = asyncio.Event()
        self._wanted = asyncio.Event()
        self._progress = asyncio.Event()
        if spool.size:
            self._work.set()

    @property
    def is_behind(self) -> bool:
        """Whether more waits in the spool than should."""
        return self._spool.backlog > (_FAR_BEHIND if self._ahead else 0)

    @property
    def overdue(self) -> int:
        """Records that wait in the spool, but for those of a journal's last moment."""
        return self._spool.backlog if self._late or self.is_behind else 0

    def appended(self, records: int) -> None:
        """So many more are in the spool; with none, see whether the books are in reach."""
        self._appended += records
        self._late = self._late or not self._ahead
        self._work.set()
        if self._ahead and 0 <= self._spool.backlog - _MOST_AT_ONCE < records:
            self._wanted.set()

    def found_away(self, error: Exception) -> None:
        """The books are out of reach."""
        if not self.away:
            log.error("ledger_database_away", error=str(error), hint="usage records go to the local spool")
        self.away = self._late = True

    async def caught_up(self) -> None:
        """Until the books hold what is in the journal now, or for some seconds; not while they are out of reach."""
        goal = self._appended
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while self._ahead and not self.away and self._appended - self._spool.backlog < goal:
                    self._wanted.set()
                    await self._progress.wait()

    async def run(self) -> None:
        """Carry over what is in the spool whenever the books can be reached, for ever."""
        wait = _FIRST_RETRY
        while True:
            await self._work.wait()
            await self._gathered()
            try:
                await self._carry_over()
            except StoreUnavailable as error:
                self._stuck(error)
                await self._pause(wait)
                wait = min(wait * 2, _LONGEST_RETRY)
            except Exception as error:
                log.exception("ledger_catching_up_failed")
                self._stuck(error)
                await self._pause(_LONGEST_RETRY)
            else:
                wait = _FIRST_RETRY
                await self._pause(0)

    async def _gathered(self) -> None:
        """A moment later, so that records are carried together; at once when somebody asks, or they are many."""
        if self._ahead and self._spool.backlog < _MOST_AT_ONCE:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GATHERING):
                    await self._wanted.wait()
        self._wanted.clear()

    def _stuck(self, error: Exception) -> None:
        if self._ahead:  # there is no other who finds out
            self.found_away(error)
        self._tell()

    def _tell(self) -> None:
        """Let those who wait look again."""
        self._progress.set()
        self._progress.clear()

    async def _carry_over(self) -> None:
        """One part of the spool; when there is none, see whether the books are in reach."""
        part = await self._spool.oldest()
        if part is None:
            await self._books.write(())
            self._came_back()
        else:
            await self._carry_part(part)
        if not self._spool.size:
            self._work.clear()
        if not self.is_behind:
            self._late = False

    async def _carry_part(self, part: Part[UsageRecord]) -> None:
        for chunk in _chunks(part.lines):
            await self._carry(chunk)
            self._came_back()
            if self._late:
                await self._books.sum_up()  # a long outage shall not leave a long line behind
            else:
                self._kept()
        await self._spool.drop(part)
        if self._late:
            log.info("ledger_caught_up", records=len(part.lines), left=self._spool.backlog)
        self._tell()

    async def _carry(self, lines: Sequence[_Line]) -> None:
        """Write lines; those that can never be written are found by halving and set aside."""
        try:
            await self._books.write([from_line(line) if isinstance(line, bytes) else line for line in lines])
        except StoreUnavailable:
            raise
        except (StoreError, msgspec.MsgspecError) as error:
            if len(lines) == 1:
                where = await self._spool.reject([_legible(lines[0])])
                log.critical("ledger_record_rejected", error=str(error), file=str(where))
                return
            middle = len(lines) // 2
            await self._carry(lines[:middle])
            await self._carry(lines[middle:])

    def _came_back(self) -> None:
        if self.away:
            self.away = False
            log.info("ledger_database_back", waiting=self._spool.backlog)


def _legible(line: _Line) -> bytes:
    """With the names of its fields, if it can be understood at all."""
    if isinstance(line, bytes):
        try:
            line = from_line(line)
        except msgspec.MsgspecError:
            return line
    return named(line)


def _chunks(lines: Sequence[T]) -> list[Sequence[T]]:
    return [lines[i : i + _MOST_AT_ONCE] for i in range(0, len(lines), _MOST_AT_ONCE)]
