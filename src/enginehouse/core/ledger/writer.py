"""Group commit: many records a transaction, and whoever handed one in waits until it is durable.

While one transaction runs, the next one's records gather; nobody waits for a timer. When the database is away,
records go to the spool, and a second task carries them over when it is back, beside the live ones.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import structlog

from enginehouse.core.ledger.books import Books
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.errors import LedgerUnavailable, StoreError, StoreUnavailable

__all__ = ["Backlog", "Writer"]

log = structlog.get_logger()
T = TypeVar("T")

_MOST_AT_ONCE = 500
_FEW = 8
"""Records that may be committed on the event loop: more of them take longer than a thread takes to wake up."""
_PATIENCE = 3.0
"""Seconds that callers wait for a commit before their records go to the spool."""
_FIRST_RETRY, _LONGEST_RETRY = 0.25, 5.0

_decoder = msgspec.json.Decoder(UsageRecord)


class Backlog(Protocol):
    """Where records wait on the local disk: `stores.spool.Spool`."""

    @property
    def full(self) -> bool:
        """Whether no more should come."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def backlog(self) -> int:
        """Lines that wait."""
        ...

    async def append(self, lines: Sequence[bytes], /) -> None:
        """Keep lines durably."""
        ...

    async def oldest(self) -> tuple[Path, list[bytes]] | None:
        """The first file and its lines."""
        ...

    async def drop(self, path: Path, /) -> None:
        """Forget a file."""
        ...

    async def reject(self, lines: Sequence[bytes], /) -> Path:
        """Set lines aside."""
        ...


class Writer:
    """Makes records durable.

    Args:
        books: where they are kept for good.
        spool: where they wait while the books are out of reach.
        pause: how to wait between two tries to reach the books; `asyncio.sleep`.
        kept: told when some are in the books.
    """

    def __init__(
        self,
        books: Books,
        spool: Backlog,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        kept: Callable[[], None] = lambda: None,
    ) -> None:
        self._books = books
        self._kept = kept
        self._spool = spool
        self._pause = pause
        self._waiting: list[tuple[UsageRecord, asyncio.Future[None]]] = []
        self._work = asyncio.Event()
        self._behind = asyncio.Event()
        self._busy = 0
        self._over = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.away = False
        """Whether the last try to reach the books failed."""
        self.lost = 0
        """Records that could be kept nowhere; each is in the log."""
        if spool.backlog or spool.size:
            self._behind.set()

    @property
    def backlog(self) -> int:
        """Records that are in memory only."""
        return self._busy + len(self._waiting)

    def put(self, record: UsageRecord) -> "asyncio.Future[None]":
        """Hand in a record; the future is done when it is durable, or has failed with LedgerUnavailable.

        Nothing is awaited here, so that no cancel comes between a record and its place in the line.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._over:
            _end(future, self._lose([record], "the ledger is closed"))
            return future
        self._waiting.append((record, future))
        self._idle.clear()
        self._work.set()
        return future

    async def run(self) -> None:
        """Commit what comes, until it is cancelled: nobody waits for what comes later."""
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                await self._keep_all()
                self._idle.set()
        finally:
            self._over = True

    async def _keep_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            self._busy = len(batch)
            await self._keep(batch)
            self._busy = 0

    async def catch_up(self) -> None:
        """Carry over what is in the spool whenever the books can be reached, for ever."""
        wait = _FIRST_RETRY
        while True:
            await self._behind.wait()
            try:
                caught_up = await self._carry_over()
            except StoreUnavailable:
                await self._pause(wait)
                wait = min(wait * 2, _LONGEST_RETRY)
                continue
            except Exception:
                log.exception("ledger_catching_up_failed")
                await self._pause(_LONGEST_RETRY)
                continue
            wait = _FIRST_RETRY
            if caught_up:
                self._behind.clear()
            else:
                await self._pause(0)

    async def idle(self) -> None:
        """Until everything that was handed in is durable."""
        await self._idle.wait()

    async def _keep(self, batch: Sequence[tuple[UsageRecord, "asyncio.Future[None]"]]) -> None:
        records = [record for record, _ in batch]
        error = None if not self.away and await self._commit(records) else await self._put_aside(records)
        for _, future in batch:
            _end(future, error)

    async def _commit(self, records: Sequence[UsageRecord]) -> bool:
        try:
            if len(records) > _FEW or not self._books.write_now(records):
                async with asyncio.timeout(_PATIENCE):
                    await self._books.write(records)
        except (StoreUnavailable, TimeoutError) as error:
            self._notice(error)
        except Exception:
            log.exception("ledger_commit_refused", records=len(records))
        else:
            self._kept()
            return True
        return False

    def _notice(self, error: Exception) -> None:
        self.away = True
        log.error("ledger_database_away", error=str(error), hint="usage records go to the local spool")

    async def _put_aside(self, records: Sequence[UsageRecord]) -> LedgerUnavailable | None:
        try:
            await self._spool.append([msgspec.json.encode(record) for record in records])
        except OSError as error:
            return self._lose(records, str(error))
        finally:
            self._behind.set()
        return None

    def _lose(self, records: Sequence[UsageRecord], why: str) -> LedgerUnavailable:
        self.lost += len(records)
        for record in records:
            log.critical("ledger_record_lost", record=msgspec.json.encode(record).decode(), error=why)
        return LedgerUnavailable(
            "The usage of this request could be recorded neither in the database nor on the local disk. "
            "Make room in data_dir, or bring the database back.",
            retry_after=5,
        )

    async def _carry_over(self) -> bool:
        """One part of the spool; whether there is no more."""
        part = await self._spool.oldest()
        if part is None:
            await self._books.write(())
            self._came_back()
            return not self._spool.backlog and not self._spool.size
        name, lines = part
        for chunk in _chunks(lines):
            await self._carry(chunk)
            self._came_back()
            await self._books.sum_up()  # a long outage shall not leave a long line behind
        await self._spool.drop(name)
        log.info("ledger_caught_up", records=len(lines), left=self._spool.backlog)
        return False

    async def _carry(self, lines: Sequence[bytes]) -> None:
        """Write lines; those that can never be written are found by halving and set aside."""
        try:
            await self._books.write([_decoder.decode(line) for line in lines])
        except StoreUnavailable:
            raise
        except (StoreError, msgspec.MsgspecError) as error:
            if len(lines) == 1:
                where = await self._spool.reject(lines)
                log.critical("ledger_record_rejected", error=str(error), file=str(where))
                return
            middle = len(lines) // 2
            await self._carry(lines[:middle])
            await self._carry(lines[middle:])

    def _came_back(self) -> None:
        if self.away:
            self.away = False
            log.info("ledger_database_back", waiting=self._spool.backlog)


def _end(future: "asyncio.Future[None]", error: LedgerUnavailable | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # nobody has to be there to hear it


def _chunks(lines: Sequence[T]) -> list[Sequence[T]]:
    return [lines[i : i + _MOST_AT_ONCE] for i in range(0, len(lines), _MOST_AT_ONCE)]
