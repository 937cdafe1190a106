"""The ledger: one record a request, whatever becomes of it, durable before the answer's last byte goes out."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct

from enginehouse.core.ledger.books import Books
from enginehouse.core.ledger.carrying import Backlog
from enginehouse.core.ledger.prices import Prices, provider_of
from enginehouse.core.ledger.record import UsageRecord, cleaned, id_at, sane_usage
from enginehouse.core.ledger.summing import Summing
from enginehouse.core.ledger.writer import Writer
from enginehouse.errors import CallerGone, EnginehouseError, LedgerUnavailable, ShuttingDown, StoreUnavailable
from enginehouse.types import Deployment, Model, Request, Usage
from enginehouse.types.phases import Said

__all__ = ["Entry", "Ledger", "LedgerStats", "Recording", "Witness"]

log = structlog.get_logger()

_FLUSH_SECONDS = 10.0


class Witness(Protocol):
    """Hears of every entry; it must not wait or raise."""

    def began(self, request: Request, /) -> None:
        """A request has an entry now."""
        ...

    def ended(self, request: Request, record: UsageRecord | None, error: BaseException | None, /) -> None:
        """It is over: what was recorded of it, and the error with which it ended."""
        ...


class LedgerStats(Struct, frozen=True, kw_only=True):
    """How the ledger is."""

    status: str
    """`healthy`, `degraded` while records wait on the local disk, `unhealthy` when requests are refused."""
    waiting: int
    """Records that are in memory only; their callers wait for them."""
    spooled: int
    """Records that wait on the local disk, but for those that are on their way into the database just now."""
    spool_bytes: int
    """What they take there."""
    lost: int
    """Records that could be kept nowhere, since the start; each is in the log."""


class Entry:
    """What is known of one request so far; its end makes a record of it."""

    __slots__ = (
        *("_began", "_deployment", "_durable", "_face", "_ledger", "_model", "_ran_from", "_request", "_time"),
        *("cache", "digest", "id", "record", "reserved", "usage"),
    )

    def __init__(self, request: Request, face: str, ledger: "Ledger") -> None:
        self._time = time.time_ns() // 1000
        self.id = id_at(self._time)
        """The record's id, under which a budget may hold something for it."""
        self.usage: Usage | None = None
        """Tokens so far, with every report of the engine's more; None as long as nobody has said anything."""
        self.cache = ""
        """`exact` or `semantic` when the answer came from there, which costs nothing."""
        self.digest = ""
        """Keyed, of what is asked; empty when it is not kept."""
        self.reserved = False
        """Whether a budget holds something under this id; it is freed when the record is written."""
        self.record: UsageRecord | None = None
        """What was handed in, once it was."""
        self._request = request
        self._face = face
        self._ledger = ledger
        self._model: Model | None = None
        self._deployment: Deployment | None = None
        self._began = time.perf_counter()
        self._ran_from: float | None = None
        self._durable: asyncio.Future[None] | None = None
        """To be waited for; None where it is durable, or not handed in."""

    @property
    def said(self) -> Said | None:
        """What is said, where that is kept."""
        return self._request.timings.said

    @property
    def is_resolved(self) -> bool:
        """Whether it is known who is going to answer."""
        return self._model is not None

    def resolved(self, model: Model, deployment: Deployment) -> None:
        """Who is going to answer, as soon as the catalogue has said so; after a failure, once another is asked."""
        self._model, self._deployment = model, deployment

    def running(self) -> None:
        """An engine gets the request now: from here on it costs something, and only the last try counts."""
        self._ran_from = time.perf_counter()
        self.usage = None  # of an earlier try nothing was passed on

    def so_far(self) -> UsageRecord:
        """The record as it would be now, with its cost: for the answer's own `cost` field."""
        return self._ledger.charged(self._record("completed", ""))

    def would_cost(self, usage: Usage, model: Model, deployment: Deployment) -> int:
        """Picodollars for so many tokens, were this one to take them now; 0 when the price is unknown."""
        tokens = sane_usage(usage)
        asked = msgspec.structs.replace(
            self._record("completed", "", (model, deployment)),
            input_tokens=tokens.input,
            cached_input_tokens=tokens.cached_input,
            output_tokens=tokens.output,
            reasoning_tokens=tokens.reasoning,
            upstream_us=0,
        )
        return self._ledger.charged(asked).cost or 0

    async def settled(self) -> None:
        """The answer is complete: make the record durable.

        Call it once all tokens are counted, before the last byte goes out.

        Raises:
            LedgerUnavailable: it can be kept nowhere.
        """
        if self.record is None:
            with self._request.timings.phase("ledger"):
                self.closed("completed")
                await self._kept()
        else:
            await self._kept()

    def closed(self, outcome: str, error: str = "") -> None:
        """The request has ended in another way; the first end counts."""
        if self.record is None:
            self.record = self._ledger.charged(cleaned(self._record(outcome, error)))
            (self._durable,) = self._ledger.note_now(self.record)

    async def failed(self, error: str) -> None:
        """The request has failed: its record is durable before its caller hears of it, if it can be kept at all."""
        self.closed("failed", error)
        with suppress(LedgerUnavailable):  # that is in the log; the caller shall hear what came first
            await self._kept()

    async def _kept(self) -> None:
        if self._durable is None:
            return
        if self._durable.done():
            self._durable.result()
        else:
            await asyncio.shield(self._durable)

    def _record(self, outcome: str, error: str, at: tuple[Model, Deployment] | None = None) -> UsageRecord:
        request = self._request
        model, deployment = at or (self._model, self._deployment)
        principal, phases = request.principal, request.timings
        usage = sane_usage(self.usage or Usage())
        now = time.perf_counter()
        ran = None if self._ran_from is None else phases.upstream or now - self._ran_from
        return UsageRecord(
            id=self.id,
            request_id=request.request_id,
            time=self._time,
            user_id=principal.user,
            key_id=principal.key,
            tenant=principal.tenant,
            tier=principal.tier,
            tags=principal.tags,
            model=model.id if model else "",
            version=(model.version if model else None) or "",
            deployment=deployment.id if deployment else "",
            engine=deployment.engine.value if deployment else "",
            provider=provider_of(deployment) if deployment else "",
            upstream_model=(deployment.upstream_model if deployment else None) or "",
            slots=deployment.slots if deployment else 1,
            face=self._face,
            operation=request.operation.value,
            stream=request.stream,
            outcome=outcome,
            error=error,
            cache=self.cache,
            digest=self.digest,
            input_tokens=usage.input,
            cached_input_tokens=usage.cached_input,
            output_tokens=usage.output,
            reasoning_tokens=usage.reasoning,
            estimated=usage.estimated,
            queue_us=_microseconds(phases.queue),
            load_us=_microseconds(phases.load),
            ttft_us=_microseconds(phases.ttft),
            upstream_us=_microseconds(ran),
            total_us=round((now - self._began) * 1_000_000),
            reserved=self.reserved,
        )


class _Nobody:
    """Hears nothing."""

    def began(self, request: Request, /) -> None:
        """Nothing."""

    def ended(self, request: Request, record: UsageRecord | None, error: BaseException | None, /) -> None:
        """Nothing."""


class Recording:
    """The context of one request's entry; from `Ledger.record`."""

    __slots__ = ("_ledger", "_request", "entry")

    def __init__(self, ledger: "Ledger", entry: Entry, request: Request) -> None:
        self.entry = entry
        self._ledger = ledger
        self._request = request

    async def __aenter__(self) -> Entry:
        self._ledger.check()
        self._ledger.witness.began(self._request)
        return self.entry

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            await self._close(error)
        finally:
            self._ledger.witness.ended(self._request, self.entry.record, error)

    async def ended_early(self, error: BaseException) -> None:
        """The request was never handed in, because of this; its record says so."""
        self._ledger.witness.began(self._request)
        await self.__aexit__(type(error), error, None)

    async def _close(self, error: BaseException | None) -> None:
        entry = self.entry
        match error:
            case None:
                await entry.settled()
            case asyncio.CancelledError():
                if self._ledger.stopping() and not self._request.timings.gone:
                    await entry.failed(ShuttingDown.code)
                entry.closed("cancelled", CallerGone.code)
            case GeneratorExit() | CallerGone():
                entry.closed("cancelled", CallerGone.code)
            case Exception():
                await entry.failed(error.code if isinstance(error, EnginehouseError) else EnginehouseError.code)
            case _:
                entry.closed("failed", EnginehouseError.code)


class Ledger:
    """Records of usage; use as a context, whose end flushes what is left.

    Args:
        books: where records are kept for good.
        spool: where they wait while the books are out of reach.
        prices: what they cost.
        ahead: whether the spool is a journal ahead of the books, which keep a record no better than a file does.
        stopping: whether the service is on its way out, and may cut off what has not ended.
        witness: hears of every entry; nobody does when left out.
    """

    def __init__(
        self,
        books: Books,
        spool: Backlog,
        prices: Prices,
        *,
        ahead: bool = False,
        stopping: Callable[[], bool] = lambda: False,
        witness: Witness | None = None,
    ) -> None:
        self.witness = witness or _Nobody()
        self._books = books
        self._others: Callable[[], Awaitable[None]] | None = None
        self._summing = Summing(books)
        self._writer = Writer(books, spool, ahead=ahead, kept=self._summing.want)
        self._carrying = self._writer.carrying
        self.stopping = stopping
        self._spool = spool
        self.prices = prices
        """What counts now."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Ledger":
        """Start committing, and carrying over what an earlier life left in the spool; a journal is waited for."""
        await self._stack.enter_async_context(self._tasks())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Everything handed in becomes durable, in the database or in the spool, and the tasks end."""
        await self._stack.aclose()

    def record(self, request: Request, face: str) -> "Recording":
        """One request's entry: a record is written when the context ends, however it ends.

        It ends completed when `settled` was called, or when nothing was raised. The record is durable when the
        context has ended, unless the caller has left: then nobody waits for it.

        Raises:
            LedgerUnavailable: on entering; nothing can be recorded, so nothing may be generated.
        """
        return Recording(self, Entry(request, face, self), request)

    def note_now(self, *records: UsageRecord) -> "Sequence[asyncio.Future[None] | None]":
        """Make records durable that are complete: with texts that are clean, counts that are sane, and their cost.

        Who has asked `ready` first, and hands in what `record` would, need not go through `record`. The witness
        hears nothing of it: telling is the business of whoever comes this way. To hand in several at once takes
        hardly longer than one.

        Returns:
            For each, None when it is durable now; else what to wait for (shielded, so that leaving is no end of
            it), which raises LedgerUnavailable where the record can be kept nowhere.
        """
        return self._writer.put(*records)

    def charged(self, record: UsageRecord) -> UsageRecord:
        """A record with its cost."""
        return record.charged(self.prices.money(record))

    def adopt(self, prices: Prices) -> None:
        """New prices count from the next record on."""
        self.prices = prices

    async def caught_up(self) -> None:
        """Until the books hold all that was recorded by now, for who is going to read them.

        It is a moment at most, and at once where records are in the books before their answers end. Nobody waits
        for books that are out of reach, or longer than some seconds.
        """
        await self._carrying.caught_up()
        if self._others is not None:
            await self._others()

    def waits_for(self, others: Callable[[], Awaitable[None]]) -> None:
        """Other processes have records for these books as well; who reads them waits for those too."""
        self._others = others

    async def keep(self, records: Sequence[UsageRecord]) -> None:
        """Records of another process, with their cost; they are in the books when this returns.

        Raises:
            StoreUnavailable, StoreError: as `Books.write`.
        """
        await self._books.write(records)
        self._summing.want()

    def stats(self) -> LedgerStats:
        """How the ledger is."""
        overdue = self._carrying.overdue
        behind = self._carrying.away or overdue
        return LedgerStats(
            status="unhealthy" if self._spool.full else "degraded" if behind else "healthy",
            waiting=self._writer.backlog,
            spooled=overdue,
            spool_bytes=self._spool.size if overdue else 0,
            lost=self._writer.lost,
        )

    @property
    def ready(self) -> bool:
        """Whether a record can be kept: when it cannot, `check` says why, and nothing may be generated."""
        return not self._spool.full

    def check(self) -> None:
        """See whether a record can be kept.

        Raises:
            LedgerUnavailable: neither in the database nor on the local disk.
        """
        if self._spool.full:
            raise LedgerUnavailable(
                f"The database is away and the local spool holds its limit of {self._spool.size} bytes. Bring the "
                "database back, or raise ledger.spool_max_bytes.",
                retry_after=5,
            )

    async def ask(self) -> None:
        """How recording goes, for `/health`.

        Raises:
            LedgerUnavailable: nothing can be recorded, and requests are refused.
            StoreUnavailable: the database is away; the message says what that means.
        """
        self.check()
        stats = self.stats()
        if stats.status != "healthy":
            raise StoreUnavailable(
                f"The database is away: {stats.spooled} usage records wait on the local disk, "
                "and budgets are not checked."
            )

    @asynccontextmanager
    async def _tasks(self) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._writer.run(), name="ledger writer"),
                group.create_task(self._carrying.run(), name="ledger catch-up"),
                group.create_task(self._summing.run(), name="ledger summing"),
            ]
            try:
                await self.caught_up()
                yield
            finally:
                await self._flush()
                for task in tasks:
                    task.cancel()

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._writer.idle()
                await self.caught_up()
        except TimeoutError:
            log.critical("ledger_not_flushed", records=self._writer.backlog)


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000_000)
