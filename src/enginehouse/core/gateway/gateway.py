"""The gateway: joins the rooms of the core into the way of one request.

A request is a stack of contexts: a record, a slot, a lease, the engine's answer. Who leaves early unwinds it, in
every phase, and each exit runs once. Until the first piece of the answer is there a failure may be mended by asking
again; the caller sees nothing of that but the time it took.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from typing import Generic, TypeVar

import msgspec
import structlog
from msgspec import Struct

from enginehouse.core.cache.answers import Vectors
from enginehouse.core.cache.questions import Question, Texts
from enginehouse.core.gateway.flows import Cached, Events, Flow, Frames, asked_of
from enginehouse.core.gateway.guarding import Guarding, Says, Watch
from enginehouse.core.gateway.labelling import Labels
from enginehouse.core.gateway.meter import Heard, guessed_tokens
from enginehouse.core.gateway.ranking import Scores, Scoring
from enginehouse.core.gateway.recall import Recall
from enginehouse.core.gateway.seats import Seat, Seats, Served
from enginehouse.core.gateway.spending import Expected, Spending
from enginehouse.core.gateway.tries import Tries
from enginehouse.core.gateway.wording import Wording
from enginehouse.core.ledger.digests import Digests
from enginehouse.core.ledger.ledger import Entry, Ledger
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.core.routes import Routes
from enginehouse.engines.base import Classification, Counts, Embedding, Embeds, Ranking
from enginehouse.errors import (
    EnginehouseError,
    InvalidRequest,
    LoadTimeout,
    QueueTimeout,
    UpstreamDied,
    UpstreamTimeout,
)
from enginehouse.types import Deployment, Model, Request, Usage
from enginehouse.types.answer import Answer, Event
from enginehouse.types.generation import Generation
from enginehouse.types.phases import Span

__all__ = ["Answering", "Classified", "Embedded", "Gateway", "Ranked", "patience"]

log = structlog.get_logger()

T = TypeVar("T")

_FREE = Expected(prompt=0, answer=0)


class Answering(Generic[T]):
    """An answer whose first piece is there.

    Args:
        seat: who answers; of a kept answer, who would have.
        pieces: all of it, the first piece included.
        entry: what it costs so far.
    """

    def __init__(self, seat: Served, pieces: AsyncIterator[T], entry: Entry) -> None:
        self.seat = seat
        self.pieces = pieces
        self._entry = entry

    def so_far(self) -> UsageRecord:
        """What is recorded of it, with its cost, as things are now."""
        return self._entry.so_far()


class Embedded(Struct, frozen=True, kw_only=True):
    """Vectors, who made them, and what was recorded of that."""

    embedding: Embedding
    seat: Served
    record: UsageRecord


class Ranked(Struct, frozen=True, kw_only=True):
    """Scores of documents, and how they came about."""

    ranking: Ranking
    scoring: Scoring


class Classified(Struct, frozen=True, kw_only=True):
    """What a classifier said, and which one."""

    classification: Classification
    seat: Served


class Gateway:
    """Where faces hand in requests.

    Args:
        seats: slots and leases.
        routes: who is asked, and again.
        ledger: keeps what every request took.
        spending: what a caller may spend; everything when left out.
        digests: makes those by which the ledger tells repeats; without it there are none.
        recall: asks the cache; without it nothing is cached.
        guarding: looks at what users say before models do; nobody does when left out.
    """

    def __init__(
        self,
        seats: Seats,
        routes: Routes,
        ledger: Ledger,
        spending: Spending | None = None,
        digests: Digests | None = None,
        recall: Recall | None = None,
        guarding: Guarding | None = None,
    ) -> None:
        self._recall = recall
        self._seats = seats
        self._routes = routes
        self._ledger = ledger
        self._spending = spending or Spending()
        self._digests = digests or Digests(b"", enabled=False)
        self._guarding = guarding

    def frames(self, request: Request, wording: Wording) -> AbstractAsyncContextManager[Answering[bytes]]:
        """The answer as the caller's own dialect writes it: the frames of a stream, or one body.

        The request is recorded however it ends, and durably so before the last piece.

        Raises:
            ModelNotFound, InvalidRequest: no such model, it is for something else, or cannot do what is asked.
            PermissionDenied: the caller's role may not claim this priority.
            QueueFull, QueueTimeout, ModelLoadFailed, LoadTimeout, ShuttingDown: there is no place to run.
            EngineError: the engine failed; inside the context, after the first piece.
            LedgerUnavailable: what it costs cannot be recorded.
        """
        flow = Frames(request, wording)
        return self._run(request, flow, flow)

    def events(self, request: Request, generation: Generation) -> AbstractAsyncContextManager[Answering[Event]]:
        """The same as events, for faces that have words of their own."""
        flow = Events(request, generation)
        return self._run(request, flow, flow)

    async def embed(self, request: Request, texts: Sequence[str] | Sequence[Sequence[int]]) -> Embedded:
        """Vectors of texts, one a text.

        Raises:
            ModelNotFound, InvalidRequest: no such model, it makes no vectors, or does not take these texts.
            EnginehouseError: as for `frames`.
        """
        flow = _Vectors(texts)
        async with self._run(request, flow, flow) as answering:
            embedding = await anext(answering.pieces)
        return Embedded(embedding=embedding, seat=answering.seat, record=answering.so_far())

    async def rerank(self, request: Request, query: str, documents: Sequence[str]) -> Ranked:
        """How well documents answer a query, one score a document.

        Raises:
            ModelNotFound, InvalidRequest: no such model, or it can do neither that nor vectors.
            EnginehouseError: as for `frames`.
        """
        async with self._run(request, Scores(query, documents)) as answering:
            ranking, scoring = await anext(answering.pieces)
        return Ranked(ranking=ranking, scoring=scoring)

    async def classify(self, request: Request, texts: Sequence[str]) -> Classified:
        """Scores of texts, a row of them a text.

        Raises:
            ModelNotFound, InvalidRequest: no such model, or it does not classify.
            EnginehouseError: as for `frames`.
        """
        async with self._run(request, Labels(texts)) as answering:
            classification = await anext(answering.pieces)
        return Classified(classification=classification, seat=answering.seat)

    def resolve(self, request: Request) -> Model:
        """The model that a request means.

        Raises:
            ModelNotFound, InvalidRequest: no such model, or it is for something else.
            PermissionDenied: the caller may not use it, or not claim this priority.
        """
        return self._seats.resolve(request, request.model)

    async def note_hit(self, request: Request, model: Model) -> None:
        """Record a request that was answered from memory; no engine hears of it."""
        async with self._ledger.record(request, request.face) as entry:
            request.timings.model = model.id
            entry.resolved(model, model.deployments[0])
            entry.cache = "exact"

    async def count(self, request: Request, generation: Generation) -> tuple[int, bool]:
        """Tokens of a prompt, and whether that is an estimate because the engine does not count for us."""
        async with self._run(request, _Count(request, generation)) as answering:
            return await anext(answering.pieces)

    async def bring_in(self, request: Request) -> None:
        """Let the model be in memory; nothing is asked of it."""
        async with self._run(request, _Nothing()) as answering:
            await anext(answering.pieces)

    @asynccontextmanager
    async def _run(
        self, request: Request, flow: Flow[T], cached: Cached[T] | None = None
    ) -> AsyncGenerator[Answering[T]]:
        """Have it answered.

        Args:
            flow: by an engine.
            cached: or from the cache, where its answers may be there.
        """
        begun, hold = False, None
        expected = flow.expected() if self._spending.limits(request) else None
        async with self._ledger.record(request, request.face) as entry, AsyncExitStack() as whole:
            entry.digest = self._digests.of(request.principal, flow.question)
            whole.enter_context(_told_apart(request))
            if entry.said is not None and isinstance(flow, Says):
                entry.said.asked(flow.said())
            if cached is not None and self._recall is not None and self._recall.on:
                model = self._seats.resolve(request, request.model)
                found = await whole.enter_async_context(self._recall.recalled(request, model, cached, entry))
                if found is not None:
                    yield Answering(Served(model=model, deployment=model.deployments[0]), found, entry)
                    return
            tries = Tries(request, self._seats, self._routes)
            guarded: Watch | None = None
            while True:
                model, deployment = tries.next()
                if not entry.is_resolved:
                    entry.resolved(model, deployment)
                first = hold is None
                hold = hold or await whole.enter_async_context(self._spending.held(request, entry, expected))
                guarded = guarded or await whole.enter_async_context(self._guarded(request, model, flow))
                if await hold.cover(model, deployment) or first:
                    continue  # others may have come to that place meanwhile
                try:
                    async with self._place(request, model, deployment) as seat:
                        if seat is None:
                            continue  # the name may mean another model by now
                        entry.resolved(seat.model, seat.deployment)
                        async with _asked(request, flow, seat, entry, guarded) as pieces:
                            begun = True
                            yield Answering(seat, pieces, entry)
                    return  # noqa: TRY300 - what follows belongs to the loop
                except EnginehouseError as error:
                    if begun or not await tries.again(deployment, error):
                        raise
                    _retried(request, model, deployment, error)

    def _guarded(self, request: Request, model: Model, flow: object) -> AbstractAsyncContextManager[Watch | None]:
        return nullcontext() if self._guarding is None else self._guarding.watching(request, model, flow)

    @asynccontextmanager
    async def _place(self, request: Request, model: Model, deployment: Deployment) -> AsyncGenerator[Seat | None]:
        with self._routes.visit(deployment):
            async with self._seats.seat(request, model, deployment) as seat:
                yield seat


def _retried(request: Request, model: Model, deployment: Deployment, error: EnginehouseError) -> None:
    log.warning(
        "request_retried",
        request_id=request.request_id,
        model=model.id,
        deployment=deployment.id,
        error=error.code,
    )


@asynccontextmanager
async def _asked(
    request: Request, flow: Flow[T], seat: Seat, entry: Entry, guarded: Watch | None
) -> AsyncGenerator[AsyncIterator[T]]:
    """The pieces, once the guard has let the request pass and the first one is there."""
    if guarded is not None:
        await guarded.passed()
    clock = asyncio.get_running_loop().time
    began, request.timings.upstream = clock(), None
    timeout = asyncio.timeout(None)
    try:
        async with timeout, aclosing(flow.pieces(seat, entry)) as pieces:
            limit = _Limit(seat.deployment, timeout, stream=request.stream)
            first = await _first(pieces)
            waited = limit.begun()
            if request.stream:
                request.timings.ttft = waited
            yield _Joined(first, pieces)
    except TimeoutError:
        if not timeout.expired():
            raise
        raise UpstreamTimeout("The engine took longer than its time limit; raise models.*.timeouts.") from None
    finally:
        request.timings.upstream = clock() - began
        request.timings.spans.append(Span("upstream", began, request.timings.upstream))


class _Vectors:
    """The flow of a request for vectors: one piece."""

    def __init__(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> None:
        self.heard: Heard | None = None
        self._texts = texts

    def expected(self) -> Expected:
        """A quarter of the characters, or the tokens themselves."""
        sizes = [len(text) // 4 + 1 if isinstance(text, str) else len(text) for text in self._texts]
        return Expected(prompt=sum(sizes), answer=0)

    def question(self) -> bytes:
        """The texts."""
        return msgspec.json.encode(self._texts)

    def sought(self) -> Question:
        """The texts."""
        return Texts(self._texts)

    async def retold(self, answer: Answer | Vectors, entry: Entry, pace: float | None) -> AsyncGenerator[Embedding]:
        """The kept vectors; nothing was read for them."""
        del pace
        assert isinstance(answer, Vectors), "texts have vectors"
        await entry.settled()
        yield Embedding(vectors=answer.lists(), tokens=answer.tokens, truncated=answer.truncated)

    async def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[Embedding]:
        if not isinstance(seat.engine, Embeds):
            raise InvalidRequest(f"The model {seat.model.id!r} makes no vectors.", param="model")
        entry.running()
        try:
            embedding = await seat.engine.embed(self._texts)
        except asyncio.CancelledError:
            entry.usage = self.expected().usage()
            raise
        entry.usage = Usage(input=embedding.tokens)
        if self.heard is not None:
            self.heard.vectors = Vectors.of(embedding.vectors, embedding.tokens, tuple(embedding.truncated))
            self.heard.complete = True
        await entry.settled()
        yield embedding


class _Count:
    """The flow of a request to count: one piece."""

    def __init__(self, request: Request, generation: Generation) -> None:
        self._request = request
        self._generation = generation

    def expected(self) -> Expected:
        """Counting costs nothing."""
        return _FREE

    def question(self) -> bytes:
        """So its repeats are of no interest."""
        return b""

    async def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[tuple[int, bool]]:
        del entry  # it costs nothing
        generation = asked_of(seat.deployment, self._generation)
        if isinstance(seat.engine, Counts):
            yield await seat.engine.count(generation, request_id=self._request.request_id), False
        else:
            yield guessed_tokens(generation), True


class _Nothing:
    """The flow of a request that only wants the model in memory."""

    def expected(self) -> Expected:
        """Nor does that."""
        return _FREE

    def question(self) -> bytes:
        """Nothing is asked."""
        return b""

    async def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[None]:
        del seat, entry
        yield None


class _Limit:
    """The time an engine has for its first piece, which only a stream has, and for the whole of its answer."""

    def __init__(self, deployment: Deployment, timeout: asyncio.Timeout, *, stream: bool) -> None:
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._whole = None if deployment.total_timeout is None else self._began + deployment.total_timeout
        self._timeout = timeout
        if stream and deployment.first_token_timeout is not None:
            first = self._began + deployment.first_token_timeout
            timeout.reschedule(first if self._whole is None else min(first, self._whole))
        else:
            timeout.reschedule(self._whole)

    def begun(self) -> float:
        """The first piece is there; returns after how many seconds."""
        self._timeout.reschedule(self._whole)
        return self._clock() - self._began


def patience(request: Request) -> AbstractAsyncContextManager[asyncio.Timeout]:
    """What the caller is willing to wait; reschedule it to None when the first byte is there.

    Raises:
        QueueTimeout, LoadTimeout, UpstreamTimeout: by the phase in which the time ran out.
    """
    return asyncio.timeout(None) if request.timeout is None else _patience(request)


@asynccontextmanager
async def _patience(request: Request) -> AsyncGenerator[asyncio.Timeout]:
    limit = request.timings.patience = asyncio.timeout(request.timeout)
    try:
        async with limit:
            yield limit
    except TimeoutError:
        if not limit.expired():
            raise
        raise _too_late(request) from None


@contextmanager
def _told_apart(request: Request) -> Generator[None]:
    """Who runs out of patience has not left: both cancel, but the record shall say which it was."""
    try:
        yield
    except asyncio.CancelledError:
        limit, task = request.timings.patience, asyncio.current_task()
        if limit is None or not limit.expired() or task is None or task.cancelling() > 1:
            raise
        raise _too_late(request) from None


def _too_late(request: Request) -> EnginehouseError:
    waited = f"Nothing came within the {request.timeout:g} s of X-Request-Timeout"
    if request.timings.queue is None:
        return QueueTimeout(f"{waited}: the request was still waiting for a slot.", retry_after=1)
    if request.timings.load is None:
        return LoadTimeout(f"{waited}: the model was still loading.", retry_after=1)
    return UpstreamTimeout(f"{waited}: the engine had not answered yet.")


async def _first(pieces: AsyncIterator[T]) -> T:
    """The first piece that says something."""
    async for piece in pieces:
        if piece != b"":
            return piece
    raise UpstreamDied("The engine's answer was empty.")


class _Joined(Generic[T]):
    """The first piece and then the rest; what says nothing is passed over."""

    def __init__(self, first: T, rest: AsyncIterator[T]) -> None:
        self._first: list[T] = [first]
        self._rest = rest

    def __aiter__(self) -> "_Joined[T]":
        return self

    async def __anext__(self) -> T:
        if self._first:
            return self._first.pop()
        while (piece := await anext(self._rest)) == b"":
            pass
        return piece
