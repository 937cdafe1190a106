"""The cache of answers: looks for what was asked before, and keeps what is fit to be told again.

An entry is found by the very same question (exact), or by one that means the same (semantic, decided elsewhere). In
both cases it lies in the asker's own scope, is younger than its time, and no ruling is about it.
"""

import time
from collections.abc import Callable
from fnmatch import fnmatchcase

import msgspec
import structlog
from msgspec import Struct, structs

from enginehouse.core.cache import rules
from enginehouse.core.cache.answers import Vectors, digest_of, packed, read_answer, words_of
from enginehouse.core.cache.chores import Chores
from enginehouse.core.cache.decisions import Decision, Decisions
from enginehouse.core.cache.flights import Flights
from enginehouse.core.cache.freshness import Freshness
from enginehouse.core.cache.questions import Question
from enginehouse.core.cache.rulings import Rulings
from enginehouse.core.cache.scopes import Place, Places, Scopes
from enginehouse.core.cache.stats import CacheStats
from enginehouse.core.cache.types import Entry, Match, Meaning, Scope
from enginehouse.errors import EnginehouseError, StoreUnavailable
from enginehouse.settings.schema import CacheSettings
from enginehouse.stores.kv import Answers, Holding
from enginehouse.types import Model, Operation, Principal, Request
from enginehouse.types.answer import Answer
from enginehouse.types.generation import Generation
from enginehouse.types.keyed import Keyed

__all__ = ["Cache", "Seeking", "Worth"]

log = structlog.get_logger()

_MOST_CLAIMS = 8
"""Writers whose claims to one question are remembered."""


class Worth(Struct, frozen=True, kw_only=True):
    """What an answer took to be made."""

    tokens: int = 0
    cost: int | None = None
    """Picodollars; None when the price is unknown."""
    seconds: float = 0.0


class Seeking(Struct, kw_only=True):
    """One question, from being asked to being kept."""

    request: Request
    model: Model
    question: Question
    at: float
    places: Places | None = None
    """None when it is not for the cache."""
    generation: Generation | None = None
    tier: str = "bypass"
    reason: str = ""
    """Why it was not found, where there is a reason."""
    entry: Entry | None = None
    """What was found."""
    match: Match | None = None
    """By what, when it was found by its meaning; or what is on trial."""
    trial: Entry | None = None
    """What would have been served, and is compared with what the model says now."""
    asked: str = ""
    """Id of the question in the scope in which it was found, or is on trial."""
    scope: Scope = b""
    """Within which others were looked for that mean the same, and the words they were compared with."""
    words: str = ""

    @property
    def open(self) -> bool:
        """Whether there is something to look for or to keep."""
        return self.places is not None


class Cache:
    """The one cache.

    Args:
        answers: where entries are kept.
        settings: bounds and times.
        secret: the service's own, from which digests are keyed.
        rulings: what shall not be served any more.
        meaning: finds questions that mean the same; without it only the very same are found.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        answers: Answers,
        settings: CacheSettings,
        secret: bytes,
        rulings: Rulings,
        meaning: Meaning | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.answers = answers
        self.rulings = rulings
        self.meaning = meaning
        self.stats = CacheStats()
        self.decisions = Decisions()
        self.flights = Flights()
        self.chores = Chores()
        self.settings = settings
        self.edition = 0
        """Of the settings: what was made by those of another is made anew."""
        self.held: Holding | None = None
        """How full the store was when somebody last asked; None when it is away."""
        self.freshness = Freshness(settings)
        self._scopes = Scopes(secret, settings)
        self._clock = clock

    def adopt(self, settings: CacheSettings) -> None:
        """New settings count from the next request on."""
        self.settings = settings
        self.edition += 1
        self.freshness.adopt(settings)
        self._scopes.adopt(settings)
        self.answers.adopt(settings.max_bytes)

    async def seek(self, request: Request, model: Model, question: Question) -> Seeking:
        """Look for the very same question; what is found is in `entry`."""
        began = time.perf_counter()
        seeking = Seeking(request=request, model=model, question=question, at=self._clock())
        seeking.reason = self._closed(request, model, question)
        if seeking.reason:
            return seeking
        places = self._scopes.places(request, model, question)
        if places is None:
            seeking.reason = "no_form"
            return seeking
        if request.caching.read:
            seeking.entry = await self._exact(seeking, places)
        if seeking.entry is not None:
            seeking.places, seeking.tier = places, "exact"
        else:
            self._admit(seeking, places)
        self.stats.took("exact_lookup", time.perf_counter() - began)
        return seeking

    async def seek_meaning(self, seeking: Seeking) -> None:
        """Look for a question that means the same, in the caller's own scopes."""
        places = seeking.places
        if self.meaning is None or places is None or not seeking.request.caching.read:
            return
        for place in (places.team, places.own):
            if place is not None and seeking.entry is None and seeking.trial is None:
                await self._look_at(self.meaning, seeking, place)

    async def keep(self, seeking: Seeking, answer: Answer | Vectors, worth: Worth) -> Entry | None:
        """Keep what was answered, if it is fit; returns the entry the asker will find."""
        began = time.perf_counter()
        places = seeking.places
        if places is None:
            return None
        if (kind := self._unfit(seeking, answer)) is not None:
            self.stats.unfit(kind)
            return None
        try:
            entry = self._entry(seeking, places.own, answer, worth)
        except OverflowError:  # tokens beyond 64 bits, which some engine counted
            self.stats.unfit("miscounted")
            return None
        if entry.size > self.settings.max_entry_bytes:
            self.stats.unfit("too_large")
            return None
        try:
            await self._put(entry, answer)
            self.stats.kept()
            if places.team is not None:
                await self._claim(seeking, places, entry, answer)
        except StoreUnavailable:
            self.stats.unfit("store_away")
            return None
        self.stats.took("store", time.perf_counter() - began)
        return entry

    def learn(self, seeking: Seeking, answer: Answer) -> None:
        """What the model said where an entry would have been served: labels for free."""
        meaning, trial, words = self.meaning, seeking.trial, seeking.words
        if meaning is None or trial is None:
            return
        kept, fresh = words_of(read_answer(trial.answer)), words_of(answer)
        self.chores.add(lambda: meaning.learn(trial.scope, words, trial.id, kept=kept, fresh=fresh))

    def note(self, seeking: Seeking) -> None:
        """Count how it went, and remember it for who asks."""
        self.stats.outcome(seeking.tier, seeking.reason if seeking.tier == "bypass" else "")
        if seeking.entry is not None:
            self.stats.spared(seeking.entry)
        request, hit = seeking.request, seeking.entry
        self.decisions.note(
            Decision(
                request_id=request.request_id,
                user=request.principal.user,
                tenant=request.principal.tenant,
                model=seeking.model.id,
                at=seeking.at,
                tier=seeking.tier,
                reason=seeking.reason,
                question=seeking.asked or (seeking.places.own.key.hex() if seeking.places else ""),
                entry=hit.id if hit else seeking.trial.id if seeking.trial else "",
                saved_tokens=hit.tokens if hit else 0,
                saved_cost=hit.cost if hit else None,
                saved_seconds=hit.seconds if hit else 0.0,
                scope=seeking.scope,
                words=seeking.words,
                explanation=seeking.match.explanation if seeking.match else None,
            )
        )

    def keys(self, principal: Principal, model: Model, family: str, operation: Operation) -> Keyed | None:
        """`Scopes.keys`."""
        return self._scopes.keys(principal, model, family, operation)

    def closed(self, principal: Principal, model: Model) -> str:
        """Why nobody looks for such a caller, whatever it asks; empty when somebody does."""
        if principal.role == "service":
            return "service"
        if any(fnmatchcase(model.id, pattern) for pattern in self.settings.skip_models):
            return "model"
        return ""

    def counts(self, entry: Entry, at: float, words: Callable[[], str | None]) -> bool:
        """Whether this entry may be served to the very same question at that time.

        Args:
            words: those of the question's last turn, asked for when they matter.
        """
        if not entry.answer or not self.freshness.holds(entry, at, words) or self.rulings.dead(entry, "exact"):
            return False
        return not self.rulings.disowned(entry)

    async def weigh(self) -> Holding | None:
        """How full the store is; None when it is away."""
        try:
            self.held = await self.answers.holding()
        except StoreUnavailable:
            self.held = None
        return self.held

    async def sweep(self) -> int:
        """Let go for good of all that is not served any more; returns how many.

        Raises:
            StoreUnavailable: the store is away; some may be left.
        """
        dead, now = self.rulings.dead, self._clock()

        def over(entry: Entry) -> bool:
            exact = entry.expires <= now or dead(entry, "exact")
            return exact and (entry.semantic_expires <= now or dead(entry, "semantic"))

        gone = await self.answers.sweep(over)
        if gone and self.meaning is not None:
            await self.meaning.forget(gone)
        return len(gone)

    def _closed(self, request: Request, model: Model, question: Question) -> str:
        """Why nobody looks at all; empty when somebody does."""
        settings, wants = self.settings, request.caching
        if not (wants.read or wants.write):
            return "caller"
        if reason := self.closed(request.principal, model):
            return reason
        return "embeddings" if question.family == "vectors" and not settings.embeddings else ""

    async def _exact(self, seeking: Seeking, places: Places) -> Entry | None:
        keys = [place.key for place in (places.team, places.own) if place is not None]
        try:
            found = await self.answers.get(keys)
        except StoreUnavailable:
            return None
        return next(
            (
                one
                for one in found
                if one is not None
                and self.counts(one, seeking.at, seeking.question.words)
                and self._young(one, seeking)
            ),
            None,
        )

    def _young(self, entry: Entry, seeking: Seeking) -> bool:
        limit = seeking.request.caching.max_age
        return limit is None or seeking.at - entry.asked <= limit

    def _admit(self, seeking: Seeking, places: Places) -> None:
        """It was not found; may it be looked for in other ways, and kept?"""
        if seeking.question.family != "vectors":
            seeking.generation = seeking.question.generation()
            if seeking.generation is None:
                seeking.reason = "not_understood"
                return
            seeking.reason = rules.never(seeking.generation) or ""
            if seeking.reason:
                return
        seeking.places, seeking.tier = places, "miss"

    async def _look_at(self, meaning: Meaning, seeking: Seeking, place: Place) -> None:
        found = self._eligible(seeking, place)
        if found is None:
            return
        began, asked = time.perf_counter(), place.key.hex()
        seeking.asked, (seeking.scope, seeking.words) = asked, found
        try:
            match = await meaning.find(*found, without=self.rulings.wrong(asked))
        except EnginehouseError:
            self.stats.meaning_failed()
            return
        except Exception:
            log.exception("cache_meaning_failed")  # an engine can still be asked
            self.stats.meaning_failed()
            return
        self.stats.took("semantic_lookup", time.perf_counter() - began)
        if match is None:
            return
        entry = await self._by_id(match.entry)
        if entry is None or entry.semantic_expires <= seeking.at or self.rulings.dead(entry, "semantic"):
            self.chores.add(lambda: meaning.forget([match.entry]))
        elif entry.scope != found[0] or self.rulings.judged(asked, entry.id) or not self._young(entry, seeking):
            return
        else:
            seeking.match = match
            if match.serve:
                seeking.entry, seeking.tier = entry, "semantic"
            else:
                seeking.trial = entry

    def _eligible(self, seeking: Seeking, place: Place) -> tuple[bytes, str] | None:
        """Scope and words, where another question's answer may do."""
        if seeking.generation is None or self.settings.semantic_ttl <= 0:
            return None
        if rules.too_free(seeking.generation, self.settings.max_temperature):
            seeking.reason = "temperature"
            return None
        apart = self._scopes.apart(place, seeking.question)
        if apart is None:
            seeking.reason = "not_apart"
            return None
        seeking.reason = rules.exact_only(seeking.generation, apart[1], self.settings.max_temperature) or ""
        return None if seeking.reason else apart

    async def _by_id(self, entry_id: str) -> Entry | None:
        try:
            (entry,) = await self.answers.get([bytes.fromhex(entry_id)])
        except (StoreUnavailable, ValueError):
            return None
        return entry

    def _unfit(self, seeking: Seeking, answer: Answer | Vectors) -> str | None:
        if not seeking.request.caching.write:
            return "caller"
        if isinstance(answer, Vectors):
            return None if answer.vectors else "no_answer"
        assert seeking.generation is not None, "only what was understood gets here"
        return rules.unfit(answer, seeking.generation)

    def _entry(self, seeking: Seeking, place: Place, answer: Answer | Vectors, worth: Worth) -> Entry:
        apart = self._eligible(seeking, place) if self.meaning is not None else None
        expires, timely = self.freshness.until(seeking.at)
        request = seeking.request
        return Entry(
            key=place.key,
            scope=apart[0] if apart else b"",
            question=apart[1] if apart else "",
            answer=packed(answer),
            writer=request.principal.user,
            tenant=request.principal.tenant,
            model=seeking.model.id,
            tags=request.caching.tags,
            asked=seeking.at,
            expires=expires,
            timely=timely,
            semantic_expires=seeking.at + self.settings.semantic_ttl if apart else 0.0,
            tokens=worth.tokens,
            cost=worth.cost,
            seconds=worth.seconds,
        )

    async def _put(self, entry: Entry, answer: Answer | Vectors) -> None:
        if self.rulings.disowned(entry):
            return  # whatever is said to this question, it is not told twice
        await self.answers.put(entry)
        if self.meaning is not None and entry.scope:
            meaning = self.meaning
            said = words_of(answer)
            self.chores.add(lambda: meaning.put(entry.scope, entry.question, entry.id, answer=said))

    async def _claim(self, seeking: Seeking, places: Places, entry: Entry, answer: Answer | Vectors) -> None:
        """Note who says what; what two writers say alike is their tenant's."""
        assert places.team is not None, "without a team there are no claims"
        (known,) = await self.answers.get([places.claims])
        claims, own = {} if known is None else _claims(known.answer), digest_of(answer)
        if any(said == own for writer, said in claims.items() if writer != entry.writer):
            shared = self._moved(seeking, entry, places.team)
            await self._put(shared, answer)
            self.stats.corroborated()
            await self.answers.drop([places.claims])
            return
        latest = {**claims, entry.writer: own}
        kept = dict(list(latest.items())[-_MOST_CLAIMS:])
        claim = structs.replace(
            entry, key=places.claims, scope=b"", question="", answer=packed(kept), semantic_expires=0.0
        )
        await self.answers.put(claim)

    def _moved(self, seeking: Seeking, entry: Entry, place: Place) -> Entry:
        """The same answer in another place."""
        apart = self._eligible(seeking, place) if entry.scope else None
        return structs.replace(entry, key=place.key, scope=apart[0] if apart else b"")


_claims = msgspec.msgpack.Decoder(dict[str, bytes]).decode
