"""Decides whether a stored question means the same as one that is asked: `core.cache.types.Meaning`."""

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from enginehouse.core.cache.semantic.edit import EditKind
from enginehouse.core.cache.semantic.equivalence import equivalent
from enginehouse.core.cache.semantic.index import Index, Stored, own_scope
from enginehouse.core.cache.semantic.lexicon import content_of
from enginehouse.core.cache.semantic.mind import Mind
from enginehouse.core.cache.semantic.monitor import Level, Monitor
from enginehouse.core.cache.semantic.scorer import Calibration, Judgement, judge
from enginehouse.core.cache.semantic.signature import Signature, sign
from enginehouse.core.cache.semantic.tallies import Tallies
from enginehouse.core.cache.types import Candidate, Explanation, Match, Scope
from enginehouse.settings.schema import SemanticCacheSettings

__all__ = ["Semantic"]

_CANDIDATES = 5
_MOST_APART = 10_000
"""Pairs that are remembered as wrong for each other."""
_ANSWER_LETTERS = 2000
"""Of an answer that is judged or read: the first so many."""


class _Seen(Struct, frozen=True):
    """A candidate and what is thought of it."""

    entry: str
    cosine: float
    judgement: Judgement


class Semantic:
    """The semantic decision, for all scopes.

    Args:
        index: where questions are stored.
        mind: embeds them.
        calibration: when a hit is safe.
        settings: how safe it has to be, and how much is audited.
        clock: seconds.
        chance: a number below 1, at random: which hits are audited.
    """

    def __init__(
        self,
        index: Index,
        mind: Mind,
        calibration: Calibration,
        settings: SemanticCacheSettings,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._index, self._mind, self._calibration, self._settings = index, mind, calibration, settings
        self._clock, self._chance = clock, chance
        self._monitor = Monitor(settings.trial)
        self._tallies = Tallies()
        self._apart: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def find(
        self, scope: Scope, question: str, *, max_error: float | None = None, without: frozenset[str] = frozenset()
    ) -> Match | None:
        """The entry that may be served, or one on trial."""
        scope = self._own(scope)
        if await self._index.empty(scope) or (asked := sign(question)) is None:
            return None
        self._tallies.looked += 1
        threshold = self._threshold(max_error)
        seen = await self._look(scope, asked)
        if seen is None:
            return None
        self._tallies.vetoes.update(veto for one in seen for veto in one.judgement.vetoes)
        best = self._best(scope, asked, seen, threshold, without)
        return None if best is None else self._match(scope, best, seen, threshold)

    async def put(self, scope: Scope, question: str, entry_id: str, *, answer: str = "") -> None:
        """Remember a question by its entry's id; one without content, or too long, is left."""
        if self._mind.lost or (asked := sign(question)) is None:
            return
        vectors = await self._mind.later(asked.core)
        if vectors is None:
            return
        stored = Stored(asked, content_of(answer[:_ANSWER_LETTERS]) if answer else None)
        await self._index.put(self._own(scope), entry_id, vectors[0], stored)
        self._tallies.stored += 1

    async def forget(self, entry_ids: Sequence[str]) -> None:
        """These entries are gone; unknown ids are nothing."""
        await self._index.forget(entry_ids)

    async def learn(self, scope: Scope, question: str, entry_id: str, *, kept: str, fresh: str) -> None:
        """What the model says now to a question that would have been answered from an entry."""
        alike = equivalent(kept, fresh, await self._likeness(kept, fresh))
        if alike is None:
            self._tallies.undecided += 1
            return
        if not alike:
            self._never(question, entry_id)
        self._tallies.alarms += self._monitor.learn(
            self._own(scope), wrong=not alike, max_error=self._settings.max_error, now=self._clock()
        )

    async def explain(self, scope: Scope, question: str, *, without: frozenset[str] = frozenset()) -> Explanation:
        """What `find` would look at now and why it would serve one of them or none; it changes nothing."""
        scope, asked = self._own(scope), sign(question)
        if asked is None:
            return Explanation(reason="The question has no content of its own, or is too long.")
        if await self._index.empty(scope):
            return Explanation(reason="Nothing is stored in this scope.")
        threshold = self._threshold(None)
        seen = await self._look(scope, asked)
        if seen is None:
            return Explanation(threshold=threshold, reason="The embedder did not answer in time.")
        seen = [one for one in seen if one.entry not in without]
        best = self._best(scope, asked, seen, threshold, without)
        return self._explained(scope, seen, threshold, best)

    def stats(self) -> Mapping[str, Any]:
        """Counters for `semantic` in `GET /v1/cache/stats`."""
        return {
            **self._tallies.told(self._monitor),
            "max_error": self._settings.max_error,
            "threshold": self._threshold(None),
            "level": self._monitor.everyone.level.name.lower(),
            "embedder": "resting" if self._mind.resting else "ready",
            "embedder_failures": self._mind.failed,
            "embedder_patience_ms": round(self._mind.patience * 1000, 3),
            "bytes": self._index.size,
        }

    def _own(self, scope: Scope) -> bytes:
        return own_scope(scope, self._settings.model)

    def _threshold(self, max_error: float | None) -> float | None:
        allowed = self._settings.max_error
        return self._calibration.threshold(allowed if max_error is None else min(allowed, max_error))

    async def _look(self, scope: bytes, asked: Signature) -> list[_Seen] | None:
        """The candidates, nearest first; None when the embedder did not answer."""
        vector = await self._mind.soon(asked.core)
        if vector is None:
            return None
        near = await self._index.nearest(scope, vector, _CANDIDATES)
        near = [one for one in near if one[1] >= self._calibration.floor]
        return [self._judged(asked, place, near) for place in range(len(near))]

    def _judged(self, asked: Signature, place: int, near: Sequence[tuple[str, float, Stored]]) -> _Seen:
        entry, cosine, stored = near[place]
        others = (one[1] for one in near if one[2].signature.content != stored.signature.content)
        margin = cosine - next(others, 0.0)
        judgement = judge(
            self._calibration, stored.signature, asked, cosine=cosine, margin=margin, answer=stored.answer
        )
        return _Seen(entry, cosine, judgement)

    def _best(
        self,
        scope: bytes,
        asked: Signature,
        seen: Sequence[_Seen],
        threshold: float | None,
        without: frozenset[str],
    ) -> _Seen | None:
        """The surest candidate that may be served here."""
        level = self._monitor.level(scope, self._clock())
        if threshold is None or level is Level.OFF:
            return None
        free = [
            (one.judgement.probability, one)
            for one in seen
            if one.judgement.probability is not None
            and one.judgement.probability <= threshold
            and (level is Level.OPEN or one.judgement.edit.kind is EditKind.EQUAL)
            and one.entry not in without
            and (one.entry, asked.core) not in self._apart
        ]
        return min(free, key=lambda pair: pair[0])[1] if free else None

    def _match(self, scope: bytes, best: _Seen, seen: Sequence[_Seen], threshold: float | None) -> Match:
        trial = self._monitor.on_trial(scope, best.judgement.edit.kind)
        audit = not trial and self._chance() < self._settings.audit
        self._tallies.shadow += trial
        self._tallies.audits += audit
        self._tallies.hits += not (trial or audit)
        assert best.judgement.probability is not None, "only what has one is best"
        return Match(
            entry=best.entry,
            probability=best.judgement.probability,
            serve=not (trial or audit),
            explanation=self._explained(scope, seen, threshold, best),
        )

    def _explained(
        self, scope: bytes, seen: Sequence[_Seen], threshold: float | None, best: _Seen | None
    ) -> Explanation:
        candidates = tuple(
            Candidate(
                entry=one.entry,
                similarity=one.cosine,
                probability=one.judgement.probability,
                vetoes=tuple(one.judgement.vetoes),
            )
            for one in seen
        )
        shadow = best is not None and self._monitor.on_trial(scope, best.judgement.edit.kind)
        return Explanation(
            candidates=candidates, threshold=threshold, shadow=shadow, reason=self._reason(scope, seen, best)
        )

    def _reason(self, scope: bytes, seen: Sequence[_Seen], best: _Seen | None) -> str:
        if best is not None:
            return f"{best.judgement.edit.kind} content"
        if not seen:
            return "Nothing near is stored in this scope."
        level = self._monitor.level(scope, self._clock())
        return "" if level is Level.OPEN else f"Audits found wrong answers: this scope is {level.name.lower()}."

    async def _likeness(self, kept: str, fresh: str) -> float | None:
        vectors = await self._mind.later(kept[:_ANSWER_LETTERS], fresh[:_ANSWER_LETTERS])
        return None if vectors is None else float(vectors[0] @ vectors[1])

    def _never(self, question: str, entry_id: str) -> None:
        """This entry is not served to this question again."""
        asked = sign(question)
        if asked is not None:
            self._apart[entry_id, asked.core] = None
            if len(self._apart) > _MOST_APART:
                self._apart.popitem(last=False)
