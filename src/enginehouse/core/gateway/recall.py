"""Where the way of a request meets the cache: looked for before anything is waited for, kept after all is said."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Generic, TypeVar

import msgspec

from enginehouse.core.cache.answers import Vectors, joined, read_answer, read_vectors
from enginehouse.core.cache.cache import Cache, Seeking, Worth
from enginehouse.core.cache.drawers import Drawer, drawer_of
from enginehouse.core.cache.flights import Landed, Lead, Leading, Turn
from enginehouse.core.cache.types import Entry as Kept
from enginehouse.core.gateway.flows import Cached
from enginehouse.core.gateway.meter import Heard
from enginehouse.core.ledger.ledger import Entry
from enginehouse.types import Model, Operation, Principal, Request
from enginehouse.types.answer import Answer, fold
from enginehouse.types.generation import Dialect

__all__ = ["Recall", "Recalled"]

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

    def drawer(self, principal: Principal, model: Model, dialect: Dialect, operation: Operation) -> Drawer | None:
        """Where this caller's plain questions to a model are looked up without waiting; None where that cannot be.

        It counts as long as it is `current`, and the model is this one.
        """
        return drawer_of(self.cache, principal, model, dialect, operation)

    def recalled(self, request: Request, model: Model, flow: Cached[T], entry: Entry) -> "Recalled[T]":
        """The kept answer to this request; None where an engine has to be asked, whose answer is kept in the end.

        Args:
            model: whose answer is wanted, as its name was resolved.
            entry: the ledger's, of what it takes.
        """
        return Recalled(self.cache, request, model, flow, entry)


class Recalled(Generic[T]):
    """One look into the cache, as a context; from `Recall.recalled`."""

    def __init__(self, cache: Cache, request: Request, model: Model, flow: Cached[T], entry: Entry) -> None:
        self._cache, self._request, self._model = cache, request, model
        self._flow, self._entry = flow, entry
        self._leading: Leading | None = None
        self._lead: Lead | None = None
        self._heard: Heard | None = None
        self._pieces: AsyncGenerator[T] | None = None

    async def __aenter__(self) -> AsyncIterator[T] | None:
        with self._request.timings.phase("cache"):
            self._seeking = seeking = await self._cache.seek(self._request, self._model, self._flow.sought())
            try:
                await self._join(seeking)
            except BaseException as error:
                self._end(error)
                raise
        _tell(seeking, self._entry)
        self._cache.note(seeking)
        if seeking.entry is None and seeking.open:
            self._flow.heard = self._heard = Heard()
        answer = _read(seeking)
        if answer is None:
            return None
        settings = self._cache.settings
        pace = settings.replay_speed if settings.replay == "paced" else None
        self._pieces = self._flow.retold(answer, self._entry, pace)
        return self._pieces

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if self._pieces is not None:
                await self._pieces.aclose()
            if self._heard is not None and error is None:
                kept = await self._kept(self._seeking, self._heard, self._entry)
                _land(self._lead, kept)
        except BaseException as broken:
            error = error or broken
            raise
        finally:
            self._end(error)

    async def _join(self, seeking: Seeking) -> None:
        """Alone, or with others who ask the very same now: then one of them asks for all."""
        caching = self._request.caching
        if seeking.entry is not None or seeking.places is None or not (caching.read and caching.write):
            return
        flights, key = self._cache.flights, (seeking.places.own.key, self._request.priority)
        turn = await flights.turn(key)
        if turn is Turn.LEAD:
            self._leading = flights.leading(key)
            self._lead = self._leading.__enter__()
            await self._cache.seek_meaning(seeking)
            if seeking.entry is not None:
                self._lead.landed = Landed(seeking.entry, seeking.tier)
        elif isinstance(turn, Landed):
            seeking.entry, seeking.tier = turn.entry, turn.tier

    def _end(self, error: BaseException | None) -> None:
        """Who leads says in the end how it went: a failure lets each ask for itself, a leave lets another lead."""
        if self._leading is None:
            return
        if self._heard is not None and isinstance(error, Exception):
            _land(self._lead, None)
        self._leading.__exit__(None, None, None)

    async def _kept(self, seeking: Seeking, heard: Heard, entry: Entry) -> Kept | None:
        if not heard.complete:
            return None
        record = entry.so_far()
        if record.model != seeking.model.id:
            self._cache.stats.unfit("fallback_model")
            return None
        answer = heard.vectors or fold(joined(heard.events))
        if isinstance(answer, Answer):
            self._cache.learn(seeking, answer)
        tokens = record.input_tokens + record.cached_input_tokens + record.output_tokens + record.reasoning_tokens
        worth = Worth(tokens=tokens, cost=record.cost, seconds=(record.upstream_us or 0) / 1_000_000)
        return await self._cache.keep(seeking, answer, worth)


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
