"""The gateway: joins the rooms of the core into the way of one request.

A request is a stack of contexts: a record, a slot, a lease, the engine's answer. Who leaves early unwinds it, in
every phase, and each exit runs once. Until the first piece of the answer is there a failure may be mended by asking
again; the caller sees nothing of that but the time it took.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Generic, TypeVar

import structlog
from msgspec import Struct

from enginehouse.core.gateway.asking import asked
from enginehouse.core.gateway.counting import Count, Nothing
from enginehouse.core.gateway.embedding import Embeddings
from enginehouse.core.gateway.flows import Cached, Continues, Events, Flow, Frames
from enginehouse.core.gateway.guarding import Guarding, Says, Watch
from enginehouse.core.gateway.labelling import Labels
from enginehouse.core.gateway.patience import told_apart
from enginehouse.core.gateway.ranking import Scores, Scoring
from enginehouse.core.gateway.recall import Recall
from enginehouse.core.gateway.seats import Seating, Served
from enginehouse.core.gateway.spending import Spending
from enginehouse.core.gateway.tries import Tries
from enginehouse.core.gateway.wording import Wording
from enginehouse.core.ledger.digests import Digests
from enginehouse.core.ledger.ledger import Entry, Ledger
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.core.routes import Routes
from enginehouse.engines.base import Classification, Embedding, Ranking
from enginehouse.errors import EnginehouseError
from enginehouse.types import Deployment, Model, Request, Tried
from enginehouse.types.answer import Event
from enginehouse.types.generation import Generation

__all__ = ["Answering", "Classified", "Embedded", "Gateway", "Ranked"]

log = structlog.get_logger()

T = TypeVar("T")


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
        seats: Seating,
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
        flow = Embeddings(texts)
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

    @asynccontextmanager
    async def before(self, request: Request) -> AsyncGenerator[None]:
        """What a request waits for before it is handed in, such as its turn in a conversation.

        Who leaves, gives up or fails inside is recorded then; who comes through is recorded when it is handed in.
        """
        recording = self._ledger.record(request, request.face)
        try:
            with told_apart(request):
                yield
        except BaseException as error:
            with suppress(EnginehouseError):  # then it is recorded without a model
                model = self._seats.resolve(request, request.model)
                recording.entry.resolved(model, model.deployments[0])
            await recording.ended_early(error)
            raise

    async def count(self, request: Request, generation: Generation) -> tuple[int, bool]:
        """Tokens of a prompt, and whether that is an estimate because the engine does not count for us."""
        async with self._run(request, Count(request, generation)) as answering:
            return await anext(answering.pieces)

    async def bring_in(self, request: Request) -> None:
        """Let the model be in memory; nothing is asked of it."""
        async with self._run(request, Nothing()) as answering:
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
        async with self._ledger.record(request, request.face) as entry:
            entry.digest = self._digests.of(request.principal, flow.question)
            if entry.said is not None and isinstance(flow, Says):
                entry.said.asked(flow.said())
            with told_apart(request):
                async with self._recalled(request, cached, entry) as found:
                    if found is not None:
                        model = self._seats.resolve(request, request.model)
                        yield Answering(Served(model=model, deployment=model.deployments[0]), found, entry)
                        return
                    async with self._answered(request, flow, entry) as answering:
                        yield answering

    def _recalled(
        self, request: Request, cached: Cached[T] | None, entry: Entry
    ) -> AbstractAsyncContextManager[AsyncIterator[T] | None]:
        if cached is None or self._recall is None or not self._recall.on:
            return _NOTHING_KEPT
        model = self._seats.resolve(request, request.model)
        return self._recall.recalled(request, model, cached, entry)

    @asynccontextmanager
    async def _answered(self, request: Request, flow: Flow[T], entry: Entry) -> AsyncGenerator[Answering[T]]:
        """By an engine; until its first piece is there a failure may be mended by asking again."""
        tries = Tries(request, self._seats, self._routes, partial(_head_of, flow))
        if request.tried is not None:
            _note(request.tried, request, entry)
        model, deployment = await tries.first()
        entry.resolved(model, deployment)
        begun = False
        expected = flow.expected() if self._spending.limits(request) else None
        async with (
            self._spending.held(request, entry, expected) as hold,
            self._guarded(request, model, flow) as guarded,
        ):
            await hold.cover(model, deployment)
            while True:
                model, deployment = tries.next()  # others may have come to that place meanwhile
                if await hold.cover(model, deployment):
                    continue
                try:
                    with self._routes.visit(deployment):
                        async with self._seats.seat(request, model, deployment) as seat:
                            if seat is None:
                                continue  # the name may mean another model by now
                            entry.resolved(seat.model, seat.deployment)
                            async with asked(request, flow, seat, entry, guarded) as pieces:
                                begun = True
                                yield Answering(seat, pieces, entry)
                    return  # noqa: TRY300 - what follows belongs to the loop
                except EnginehouseError as error:
                    if begun or not await tries.again(deployment, error):
                        raise
                    _retried(request, model, deployment, error)

    def _guarded(self, request: Request, model: Model, flow: object) -> AbstractAsyncContextManager[Watch | None]:
        return _UNGUARDED if self._guarding is None else self._guarding.watching(request, model, flow)


_NOTHING_KEPT: AbstractAsyncContextManager[None] = nullcontext()
_UNGUARDED: AbstractAsyncContextManager[None] = nullcontext()


def _note(tried: Tried, request: Request, entry: Entry) -> None:
    """What went before counts as a try of the request's own."""
    timings = request.timings
    timings.model, timings.deployment, timings.queue, timings.load = tried.model.id, tried.deployment.id, 0.0, 0.0
    entry.resolved(tried.model, tried.deployment)
    entry.running()


def _head_of(flow: object) -> bytes:
    return flow.head() if isinstance(flow, Continues) else b""


def _retried(request: Request, model: Model, deployment: Deployment, error: EnginehouseError) -> None:
    log.warning(
        "request_retried",
        request_id=request.request_id,
        model=model.id,
        deployment=deployment.id,
        error=error.code,
    )
