"""The cache for plain questions, without waiting: what one caller was told by one model, in this process's memory.

Everything here happens at once and comes to the same as `Cache.seek`, `Cache.note` and `Cache.keep` do: entries,
counters, decisions, flights. What they would have to wait for is left to them, before anything has happened: a look
changes nothing until it is noted.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from enginehouse.core.cache import rules
from enginehouse.core.cache.answers import packed, read_answer, retold
from enginehouse.core.cache.cache import Cache, Worth
from enginehouse.core.cache.decisions import Decision
from enginehouse.core.cache.flights import Landed, Lead
from enginehouse.core.cache.scopes import SIZE
from enginehouse.core.cache.types import Entry
from enginehouse.dialects.openai.plain import PlainAnswer, PlainRequest, Retelling
from enginehouse.stores.kv import MemoryAnswers
from enginehouse.types import Model, Operation, Principal, Priority
from enginehouse.types.answer import Answer
from enginehouse.types.generation import Dialect, Generation
from enginehouse.types.keyed import Keyed

__all__ = ["Drawer", "Look", "drawer_of"]

_PLAIN = Generation(model="")
"""As much of a plain question as matters to an answer's fitness: one answer, in words."""


def drawer_of(
    cache: Cache, principal: Principal, model: Model, dialect: Dialect, operation: Operation
) -> "Drawer | None":
    """This caller's drawer; None where answers are elsewhere, or others' as well.

    Args:
        principal: whose requests say nothing of the cache (`types.Caching` as it is by itself).
        model: whose answers are wanted, as its name was resolved.
        dialect: in which they ask: chat or text completions of OpenAI.
        operation: what they want done.
    """
    if not cache.settings.enabled:
        return Drawer(cache, principal, model)
    reason = cache.closed(principal, model)
    if reason:
        return Drawer(cache, principal, model, reason)
    answers, keys = cache.answers, cache.keys(principal, model, dialect.value, operation)
    if not isinstance(answers, MemoryAnswers) or keys is None:
        return None
    return Drawer(cache, principal, model, "", Held(keys, answers, Retelling(dialect)))


class Held(Struct, frozen=True):
    """What a drawer holds that is open."""

    keys: Keyed
    """Makes keys of canonical forms in `brief`."""
    answers: MemoryAnswers
    retelling: Retelling


class Drawer:
    """One caller's kept answers of one model; from `drawer_of`.

    Args:
        cache: of which it is a part.
        principal: whose.
        model: of which.
        reason: why nobody looks; None when nothing is cached at all, which nobody counts.
        held: what is there; None when nobody looks.
    """

    __slots__ = ("_cache", "_edition", "_held", "_looking", "_model", "_principal", "_storing", "reason")

    def __init__(
        self,
        cache: Cache,
        principal: Principal,
        model: Model,
        reason: str | None = None,
        held: Held | None = None,
    ) -> None:
        self.reason = reason
        self._cache = cache
        self._principal = principal
        self._model = model
        self._held = held
        self._edition = cache.edition
        self._looking, self._storing = cache.stats.stage("exact_lookup"), cache.stats.stage("store")

    @property
    def current(self) -> bool:
        """Whether the settings are still those it was made by; else another has to be made."""
        return self._edition == self._cache.edition

    def look(self, asked: PlainRequest, at: float, priority: Priority = Priority.NORMAL) -> "Look":
        """Look for the very same question; nothing has happened until the look is noted.

        Args:
            asked: what is asked.
            at: seconds since 1970, when the request came.
            priority: of the request: others who ask the same are waited for by their equals only.
        """
        held = self._held
        if held is None:
            return Look(self, asked, at, "bypass", self.reason or "")
        began = time.perf_counter()
        key = held.keys.digest(asked.brief)[:SIZE]
        known = held.answers.peek(key)
        if known is not None and self._cache.counts(known, at, lambda: asked.words):
            return Look(self, asked, at, "exact", "", key, known, known, False, None, time.perf_counter() - began)
        flight = (key, priority)
        reason = self._not_by_meaning(asked)
        others = reason is None or self._cache.flights.asked(flight)
        return Look(
            self, asked, at, "miss", reason or "", key, None, known, others, flight, time.perf_counter() - began
        )

    def noted(self, looks: "Sequence[tuple[Look, str]]") -> None:
        """`Look.note` of some, each with its request's id."""
        if self.reason is None:
            return
        cache, held, principal, model = self._cache, self._held, self._principal, self._model.id
        user, tenant, stats, note = principal.user, principal.tenant, cache.stats, cache.decisions.note
        if held is not None:
            self._looking.took(*[look.seconds for look, _ in looks])
        for look, request_id in looks:
            entry, tier = look.entry, look.tier
            stats.outcome(tier, self.reason)
            if held is not None and look.known is not None:
                held.answers.use(look.key)
            found: dict[str, Any] = {}
            if entry is not None:
                stats.spared(entry)
                found = {
                    "entry": entry.id,
                    "saved_tokens": entry.tokens,
                    "saved_cost": entry.cost,
                    "saved_seconds": entry.seconds,
                }
            note(
                Decision(
                    request_id=request_id,
                    user=user,
                    tenant=tenant,
                    model=model,
                    at=look.at,
                    tier=tier,
                    reason=look.reason,
                    question=look.key.hex(),
                    **found,
                )
            )

    def led(self, look: "Look") -> bool:
        """`Look.lead`."""
        flights, flight = self._cache.flights, look.flight
        if flight is None or flights.asked(flight):
            return flight is None
        flights.lead(flight)
        look.leads = True
        return True

    def overtaken(self, look: "Look") -> bool:
        """`Look.is_overtaken`."""
        return look.flight is not None and self._cache.flights.asked(look.flight)

    def landed(self, look: "Look", entry: Entry | None, *, left: bool = False) -> None:
        """`Look.land` and `Look.leave`."""
        if look.leads:
            look.leads = False
            flights, flight = self._cache.flights, look.flight
            if not flights.over(flight):
                landed = None if entry is None else Landed(entry, "exact")
                flights.land(flight, Lead(landed=landed, failed=landed is None and not left))

    def kept(self, look: "Look", answer: PlainAnswer | Answer, worth: Worth) -> Entry | None:
        """`Look.keep`."""
        held, stats, settings = self._held, self._cache.stats, self._cache.settings
        if held is None or look.entry is not None:
            return None
        began = time.perf_counter()
        kind = _unfit(answer)
        if kind is not None:
            stats.unfit(kind)
            return None
        try:
            entry = self._entry(look, answer, worth)
        except OverflowError:  # tokens beyond 64 bits, which some engine counted
            stats.unfit("miscounted")
            return None
        if entry.size > settings.max_entry_bytes:
            stats.unfit("too_large")
            return None
        if not self._cache.rulings.disowned(entry):
            held.answers.keep(entry)
        stats.kept()
        self._storing.took(time.perf_counter() - began)
        return entry

    def retold(self, look: "Look", id: str, created: float) -> bytes | None:  # noqa: A002 - the field's name
        """`Look.retold`."""
        held, entry = self._held, look.entry
        if held is None or entry is None:
            return None
        rest = held.answers.beside(entry)
        if rest is None:
            try:
                answer = read_answer(entry.answer)
            except msgspec.MsgspecError:
                return None
            rest = held.retelling.rest(retold(answer))
            held.answers.lay_beside(entry, rest)
        return held.retelling.whole(rest, id=id, created=created, model=look.asked.model)

    def _not_by_meaning(self, asked: PlainRequest) -> str | None:
        """Why no other question's answer will do, empty where nobody looks for one; None where one may.

        It takes longer to say all that `rules.exact_only` says than to let that happen on the general way.
        """
        settings = self._cache.settings
        if self._cache.meaning is None or settings.semantic_ttl <= 0:
            return ""
        if (asked.temperature or 0.0) > settings.max_temperature:
            return "temperature"
        return "not_apart" if asked.words is None else None

    def _entry(self, look: "Look", answer: PlainAnswer | Answer, worth: Worth) -> Entry:
        expires, timely = self._cache.freshness.until(look.at)
        return Entry(
            key=look.key,
            answer=packed(answer.answer() if isinstance(answer, PlainAnswer) else answer),
            writer=self._principal.user,
            tenant=self._principal.tenant,
            model=self._model.id,
            asked=look.at,
            expires=expires,
            timely=timely,
            tokens=worth.tokens,
            cost=worth.cost,
            seconds=worth.seconds,
        )


class Look(Struct):
    """One look into a drawer; from `Drawer.look`."""

    drawer: Drawer
    asked: PlainRequest
    at: float
    """Seconds since 1970, when the request came."""
    tier: str
    """`exact`, `miss`, or `bypass` where nobody looks."""
    reason: str = ""
    """Why it was not found, where there is a reason."""
    key: bytes = b""
    entry: Entry | None = None
    """What was found."""
    known: Entry | None = None
    """What lies there, whether it counts or not."""
    waits: bool = False
    """Whether the general way has to see to it: somebody asks the same just now, or another question may mean the
    same. Then there is nothing to note here."""
    flight: tuple[bytes, Priority] | None = None
    """Of all who ask the same; None where there is nothing to ask."""
    seconds: float = 0.0
    """That the look took."""
    leads: bool = False
    """Whether it asks for them."""

    @property
    def age(self) -> float:
        """Seconds of what was found."""
        return 0.0 if self.entry is None else max(0.0, self.at - self.entry.asked)

    @property
    def is_open(self) -> bool:
        """Whether an answer may be kept."""
        return self.tier == "miss"

    @property
    def is_overtaken(self) -> bool:
        """Whether somebody has begun to ask the same since; then the general way has to see to it."""
        return self.drawer.overtaken(self)

    def note(self, request_id: str) -> None:
        """Count how it went, and remember it for who asks."""
        self.drawer.noted([(self, request_id)])

    def lead(self) -> bool:
        """Ask for all who ask the same from now on; False when somebody does so already, and nothing has happened.

        Who leads says in the end how it went, once: `land`, or `leave`. Who does not lead has nothing to say, and
        where there is nothing to lead, nothing happens.
        """
        return self.drawer.led(self)

    def land(self, entry: Entry | None) -> None:
        """All who wait have this answer, or know that there is none for them and ask for themselves."""
        self.drawer.landed(self, entry)

    def leave(self) -> None:
        """The caller has left: whoever waits first leads."""
        self.drawer.landed(self, None, left=True)

    def keep(self, answer: PlainAnswer | Answer, worth: Worth) -> Entry | None:
        """Keep what was answered, if it is fit; returns the entry the asker will find.

        Args:
            answer: of the model that was asked, whole.
            worth: what it took.
        """
        return self.drawer.kept(self, answer, worth)

    def retold(self, *, id: str, created: float) -> bytes | None:  # noqa: A002 - the field's name
        """The body of what was found, as the caller's dialect writes it; None where the general way has to.

        Args:
            id: unique, without the dialect's prefix.
            created: Unix seconds.
        """
        return self.drawer.retold(self, id, created)


def _unfit(answer: PlainAnswer | Answer) -> str | None:
    if isinstance(answer, PlainAnswer):
        return rules.unfit_words(answer.text, answer.reason)
    return rules.unfit(answer, _PLAIN)
