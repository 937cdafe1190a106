"""Makes records durable, and whoever handed one in waits until it is.

There are two ways. Books that wait for the disk, or are a server, are written to first, many records a transaction:
while one runs, the next one's records gather; nobody waits for a timer. When such books are away, records go to the
spool, and are carried over when they are back, beside the live ones.

Books that leave a record in the kernel's hands keep it no better than a file does. There the spool is a journal
ahead of the books: a record is durable as soon as it is in it, at once, and is carried over a moment later with
others. Where appending fails or would have to wait, or too many are ahead, records take the first way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from enginehouse.core.ledger.books import Books
from enginehouse.core.ledger.carrying import Backlog, Carrying
from enginehouse.core.ledger.record import UsageRecord, line_of, named
from enginehouse.errors import LedgerUnavailable, StoreUnavailable

__all__ = ["Writer"]

log = structlog.get_logger()

_MOST_AT_ONCE = 500
_PATIENCE = 3.0
"""Seconds that callers wait for a commit before their records go to the spool."""


class Writer:
    """Makes records durable.

    Args:
        books: where they are kept for good.
        spool: where they wait while the books are out of reach.
        ahead: whether the spool is a journal ahead of the books.
        pause: how to wait between two tries to reach the books; `asyncio.sleep`.
        kept: told when some are in the books.
    """

    def __init__(
        self,
        books: Books,
        spool: Backlog,
        *,
        ahead: bool = False,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        kept: Callable[[], None] = lambda: None,
    ) -> None:
        self.carrying = Carrying(books, spool, ahead=ahead, pause=pause, kept=kept)
        """What brings the spool's records into the books; to be run beside `run`."""
        self.lost = 0
        """Records that could be kept nowhere; each is in the log."""
        self._books = books
        self._kept = kept
        self._spool = spool
        self._ahead = ahead
        self._waiting: list[tuple[UsageRecord, asyncio.Future[None]]] = []
        self._work = asyncio.Event()
        self._busy = 0
        self._over = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def backlog(self) -> int:
        """Records that are in memory only."""
        return self._busy + len(self._waiting)

    def put(self, *records: UsageRecord) -> "Sequence[asyncio.Future[None] | None]":
        """Hand in records: None for each that is durable now, else what is done once it is, or has failed.

        It fails with LedgerUnavailable. Nothing is awaited here, so that no cancel comes between a record and its
        place in the line.
        """
        if self._ahead and not self._over and self._are_in_journal(records):
            return (None,) * len(records)
        return [self._queued(record) for record in records]

    def _queued(self, record: UsageRecord) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._over:
            _end(future, self._lose([record], "the ledger is closed"))
        else:
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

    async def idle(self) -> None:
        """Until everything that was handed in is durable."""
        await self._idle.wait()

    def _are_in_journal(self, records: Sequence[UsageRecord]) -> bool:
        """Whether they are now, and need not wait."""
        if self.carrying.is_behind and not self.carrying.away:
            return False
        try:
            kept = self._spool.append_now([line_of(record) for record in records], records)
        except OSError as error:
            log.warning("ledger_journal_refused", error=str(error), hint="usage records go to the database at once")
            return False
        if kept:
            self.carrying.appended(len(records))
        return kept

    async def _keep_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            self._busy = len(batch)
            await self._keep(batch)
            self._busy = 0

    async def _keep(self, batch: Sequence[tuple[UsageRecord, "asyncio.Future[None]"]]) -> None:
        records = [record for record, _ in batch]
        kept = not self.carrying.away and await self._commit(records)
        error = None if kept else await self._put_aside(records)
        for _, future in batch:
            _end(future, error)

    async def _commit(self, records: Sequence[UsageRecord]) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._books.write(records)
        except (StoreUnavailable, TimeoutError) as error:
            self.carrying.found_away(error)
        except Exception:
            log.exception("ledger_commit_refused", records=len(records))
        else:
            self._kept()
            return True
        return False

    async def _put_aside(self, records: Sequence[UsageRecord]) -> LedgerUnavailable | None:
        try:
            await self._spool.append([line_of(record) for record in records])
        except OSError as error:
            self.carrying.appended(0)
            return self._lose(records, str(error))
        self.carrying.appended(len(records))
        return None

    def _lose(self, records: Sequence[UsageRecord], why: str) -> LedgerUnavailable:
        self.lost += len(records)
        for record in records:
            log.critical("ledger_record_lost", record=named(record).decode(), error=why)
        return LedgerUnavailable(
            "The usage of this request could be recorded neither in the database nor on the local disk. "
            "Make room in data_dir, or bring the database back.",
            retry_after=5,
        )


def _end(future: "asyncio.Future[None]", error: LedgerUnavailable | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # nobody has to be there to hear it
