"""Where the way of a request meets the cache: looked for before anything is waited for, kept after all is said."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TypeVar

import msgspec

from enginehouse.core.cache.answers import Vectors, joined, read_answer, read_vectors
from enginehouse.core.cache.cache import Cache, Seeking, Worth
from enginehouse.core.cache.flights import Landed, Lead, Turn
from enginehouse.core.cache.types import Entry as Kept
from enginehouse.core.gateway.flows import Cached
from enginehouse.core.gateway.meter import Heard
from enginehouse.core.ledger.ledger import Entry
from enginehouse.types import Model, Request
from enginehouse.types.answer import Answer, fold

__all__ = ["Recall"]

T = TypeVar("T")


class Recall:
    """Asks the cache on the way of a request.

    Args:
        cache: the cache.
    """

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    @property
    def on(self) -> bool:
        """Whether answers are cached at all."""
        return self.cache.settings.enabled

    @asynccontextmanager
    async def recalled(
        self, request: Request, model: Model, flow: Cached[T], entry: Entry
    ) -> AsyncGenerator[AsyncIterator[T] | None]:
        """The kept answer to this request; None where an engine has to be asked, whose answer is kept in the end.

        Args:
            model: whose answer is wanted, as its name was resolved.
            entry: the ledger's, of what it takes.
        """
        async with AsyncExitStack() as stack:
            with request.timings.phase("cache"):
                seeking = await stack.enter_async_context(self._sought(request, model, flow, entry))
            answer = _read(seeking)
            if answer is None:
                yield None
                return
            settings = self.cache.settings
            pace = settings.replay_speed if settings.replay == "paced" else None
            async with aclosing(flow.retold(answer, entry, pace)) as pieces:
                yield pieces

    @asynccontextmanager
    async def _sought(
        self, request: Request, model: Model, flow: Cached[T], entry: Entry
    ) -> AsyncGenerator[Seeking]:
        """Alone, or with others who ask the very same now: then one of them asks for all."""
        seeking = await self.cache.seek(request, model, flow.sought())
        alone = not (request.caching.read and request.caching.write)
        if seeking.entry is not None or seeking.places is None or alone:
            async with self._answered(seeking, flow, entry):
                yield seeking
            return
        flights, key = self.cache.flights, (seeking.places.own.key, request.priority)
        turn = await flights.turn(key)
        if turn is Turn.LEAD:
            with flights.leading(key) as lead:
                await self.cache.seek_meaning(seeking)
                if seeking.entry is not None:
                    lead.landed = Landed(seeking.entry, seeking.tier)
                async with self._answered(seeking, flow, entry, lead):
                    yield seeking
            return
        if isinstance(turn, Landed):
            seeking.entry, seeking.tier = turn.entry, turn.tier
        async with self._answered(seeking, flow, entry):
            yield seeking

    @asynccontextmanager
    async def _answered(
        self, seeking: Seeking, flow: Cached[T], entry: Entry, lead: Lead | None = None
    ) -> AsyncGenerator[None]:
        """Says what was found, and keeps what comes."""
        _tell(seeking, entry)
        self.cache.note(seeking)
        if seeking.entry is not None or not seeking.open:
            yield
            return
        flow.heard = heard = Heard()
        try:
            yield
            kept = await self._kept(seeking, heard, entry)
        except Exception:
            _land(lead, None)
            raise
        _land(lead, kept)

    async def _kept(self, seeking: Seeking, heard: Heard, entry: Entry) -> Kept | None:
        if not heard.complete:
            return None
        record = entry.so_far()
        if record.model != seeking.model.id:
            self.cache.stats.unfit("fallback_model")
            return None
        answer = heard.vectors or fold(joined(heard.events))
        if isinstance(answer, Answer):
            self.cache.learn(seeking, answer)
        tokens = record.input_tokens + record.cached_input_tokens + record.output_tokens + record.reasoning_tokens
        worth = Worth(tokens=tokens, cost=record.cost, seconds=(record.upstream_us or 0) / 1_000_000)
        return await self.cache.keep(seeking, answer, worth)


def _land(lead: Lead | None, kept: Kept | None) -> None:
    """Those who wait have the answer, or know that there is none for them."""
    if lead is not None:
        lead.landed = None if kept is None else Landed(kept, "exact")
        lead.failed = kept is None


def _read(seeking: Seeking) -> Answer | Vectors | None:
    """The kept answer; one that cannot be read is from another version, and is none."""
    if seeking.entry is None:
        return None
    try:
        return (read_vectors if seeking.question.family == "vectors" else read_answer)(seeking.entry.answer)
    except msgspec.MsgspecError:
        return None


def _tell(seeking: Seeking, entry: Entry) -> None:
    """The caller hears where its answer is from, and so does the ledger: such an answer costs nothing."""
    timings = seeking.request.timings
    timings.cache = seeking.tier
    if seeking.entry is None:
        return
    timings.model, timings.age = seeking.model.id, max(0.0, seeking.at - seeking.entry.asked)
    entry.cache = seeking.tier
    entry.resolved(seeking.model, seeking.model.deployments[0])
