"""One request on the fast path: looked at without any effect, begun in one step, told of when it has ended."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import structlog

from enginehouse.core.cache.answers import joined
from enginehouse.core.cache.cache import Worth
from enginehouse.core.cache.drawers import Drawer, Look
from enginehouse.core.cache.types import Entry
from enginehouse.core.gateway.fast.places import Place
from enginehouse.core.gateway.fast.telling import Outcome, record_of, trace_of
from enginehouse.core.gateway.fast.tracks import Track
from enginehouse.core.gateway.flows import head_of, named
from enginehouse.core.gateway.meter import Meter
from enginehouse.core.gateway.spending import UNSAID
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.core.limits import LocalGrant, settle_all
from enginehouse.core.traces import Trace
from enginehouse.core.traces.link import Link
from enginehouse.dialects.errors import read_error
from enginehouse.dialects.openai.plain import PlainAnswer, PlainRequest, read_plain_answer
from enginehouse.engines.base import Carried, Carrier, Hear
from enginehouse.engines.http import Unheard
from enginehouse.errors import EnginehouseError, InvalidRequest
from enginehouse.types import Tried, Usage
from enginehouse.types.answer import Answer, fold
from enginehouse.types.ids import random_hex

__all__ = ["COMPLETED", "GoGenerally", "Run"]

log = structlog.get_logger()

COMPLETED = Outcome("completed", "", "", 200)


_REFUSED = 400
_NOTHING: Mapping[str, str] = MappingProxyType({})


class GoGenerally(Exception):
    """Nothing was said, and all that was taken is given back: the general way goes on with the request.

    Args:
        tried: what was tried for it in vain; None where nothing was.
    """

    def __init__(self, tried: Tried | None) -> None:
        super().__init__()
        self.tried = tried


class Run:
    """One request that wants a whole answer.

    Args:
        track: what is known of such requests.
        asked: what is asked.
        body: the same as the caller wrote it.
        request_id: the caller's, or ours.
        began: when it came, on the loop's clock.
        clock: the loop's.
        link: where it hangs in a distributed trace; None where it is part of none.
    """

    __slots__ = (
        *("_carrier", "answer", "asked", "at", "began", "begun", "body", "carried", "clock"),
        *("grant", "kept", "link", "look", "over", "place", "record", "request_id", "sat", "sent", "sought"),
        *("track", "trying", "ttft", "upstream", "usage", "wrote"),
    )

    carried: Carried | None
    """The engine's answer; None as long as there is no connection."""
    look: Look
    place: Place
    _carrier: Carrier
    trying: bool
    """Whether it is the one that tries a server that was left alone."""

    def __init__(
        self,
        track: Track,
        asked: PlainRequest,
        body: bytes,
        request_id: str,
        began: float,
        clock: Callable[[], float],
        link: Link | None = None,
    ) -> None:
        self.track = track
        self.asked = asked
        self.body = body
        self.request_id = request_id
        self.clock = clock
        self.link = link
        self.at = time.time()
        self.began = self.begun = self.sought = self.sat = self.sent = self.over = began
        """When it came, was known, was looked for in the cache, had its place, was sent, was answered."""
        self.grant: LocalGrant | None = None
        self.ttft: float | None = None
        self.upstream: float | None = None
        self.wrote = 0.0
        """Seconds that its record took."""
        self.usage: Usage | None = None
        self.kept: bytes | None = None
        """The kept answer, as the caller gets it."""
        self.answer: Answer | PlainAnswer | None = None
        self.record: UsageRecord | None = None

    # Without any effect.

    def seek(self) -> bool:
        """Look whether the answer is kept; False where the general way has to see to it."""
        self.begun = self.clock()
        look = self.look = self.track.kept.look(self.asked, self.at)
        self.sought = self.clock()
        return not look.waits

    def is_clear(self) -> bool:
        """Whether it can be answered without waiting for anything but the engine, as far as can be seen now."""
        look = self.look
        if look.entry is None:
            return not look.is_overtaken and self._has_room()
        if self.asked.stream:
            return False
        self.kept = look.retold(id=random_hex(), created=self.at)
        return self.kept is not None

    def _has_room(self) -> bool:
        track = self.track.chosen(self._head)
        place = None if track is None else track.place()
        if track is None or place is None:
            return False
        self.track = track
        self.place, self._carrier = place
        return True

    def _head(self) -> bytes:
        """As the general way has it (`Continues`)."""
        try:
            return head_of(self.track.codec.read_request(self.body).generation)
        except InvalidRequest:
            return b""

    @property
    def is_hit(self) -> bool:
        """Whether its answer is kept."""
        return self.look.entry is not None

    def expected(self) -> int:
        """Tokens that it may take; none where nothing has to be read or written."""
        if self.look.entry is not None:
            return 0
        most = self.asked.max_tokens
        return self.asked.prompt_tokens + (UNSAID if most is None else most)

    # In one step.

    def come(self, grant: LocalGrant | None) -> None:
        """It is clear: it leads its flight, and comes to its place; `Tracks.enter` is next, then `ask`.

        Args:
            grant: what it was given of its caller's limits.
        """
        self.grant = grant
        if self.look.entry is None:
            self.look.lead()
            self.place.come()
            if self.track.is_choice:
                self.place.enter()  # for whoever chooses next to see it

    def ask(self) -> None:
        """It has all it takes: ask the engine, if there is a connection that is free."""
        if self.look.entry is None:
            self.trying, self.carried = self.place.trying, None
            self.sat = self.clock()
            self.carried = self._carrier.send_now(
                self._message(), self.request_id, self._hearing(), self._passed_on()
            )
            self.sent = self.clock()

    def _message(self) -> bytes:
        """The body as the engine gets it."""
        track = self.track
        return self.body if track.is_untouched else named(track.deployment, track.there, self.body, track.dialect)

    def _passed_on(self) -> Mapping[str, str]:
        return _NOTHING if self.link is None else self.link.headers()

    def _hearing(self) -> Hear | None:
        """Who hears the pieces of the answer; nobody where it is wanted whole."""
        return None

    # Its answer.

    async def connect(self) -> None:
        """Ask the engine on a new connection, where none was free.

        Raises:
            GoGenerally: there is none to be had.
        """
        try:
            await self._sent()
        except EnginehouseError as error:
            raise self.given_up(error) from error

    def listen(self, told: Callable[[], None]) -> None:
        """Tell this one when the engine's answer is in, or none will be; then it is time for `heard`."""
        assert self.carried is not None, "it has been asked"
        self.carried.then(told)

    def heard(self) -> bytes:
        """What the engine answered, whole.

        Raises:
            GoGenerally: it did not.
        """
        assert self.carried is not None, "it has been asked"
        try:
            body = self.carried.taken()
            check_taken(self.carried, body)
            self._read(body)
        except EnginehouseError as error:
            raise self.given_up(error) from error
        return body

    def write_down(self, outcome: Outcome) -> UsageRecord:
        """Make the record of how it has ended; `hand_in` is next."""
        self.over = self.clock()
        if self.look.entry is None:
            self.upstream = self.over - self.sent
        record = self.record = record_of(self, outcome)
        return record

    @staticmethod
    def hand_in(runs: "Sequence[Run]") -> "Sequence[asyncio.Future[None] | None]":
        """Hand in the records of some: for each what is done when it is durable, or None where it is now.

        It fails with LedgerUnavailable: the record can be kept nowhere. All are of one ledger.
        """
        records = [run.record for run in runs if run.record is not None]
        assert len(records) == len(runs), "they are written down"
        keeping = runs[0].track.rooms.ledger.note_now(*records)
        now = runs[0].clock()
        for run in runs:
            run.wrote = now - run.over
        return keeping

    def durable(self) -> None:
        """The record is."""
        self.wrote = self.clock() - self.over

    async def _sent(self) -> Carried:
        """What is under way to the engine, if need be on a new connection.

        Raises:
            UpstreamDied, UpstreamTimeout: there is none to be had.
        """
        if self.carried is None:
            self.carried = await self._carrier.send(
                self._message(), self.request_id, self._hearing(), self._passed_on()
            )
        return self.carried

    def _read(self, body: bytes) -> None:
        """What the answer says, and what it took."""
        plain = read_plain_answer(body)
        if plain is not None:
            self.answer, self.usage = plain, plain.taken(self.asked.prompt_tokens)
            return
        meter = Meter()
        events = self.track.codec.read_answer(body)
        meter.note_all(events)
        meter.complete = True
        self.answer, self.usage = fold(joined(events)), meter.usage(self._guess)

    def _guess(self) -> int:
        return self.asked.prompt_tokens

    async def _durable(self, outcome: Outcome) -> None:
        """Until its record is; who is cancelled meanwhile leaves the record as it is.

        Raises:
            LedgerUnavailable: it can be kept nowhere.
        """
        keeping = self._recorded(outcome)
        if keeping is not None:
            await asyncio.shield(keeping)
            self.durable()

    def _recorded(self, outcome: Outcome) -> "asyncio.Future[None] | None":
        """Make the record and hand it in; None where it is durable now."""
        (keeping,) = self.track.rooms.ledger.note_now(self.write_down(outcome))
        self.durable()
        return keeping

    # Its end.

    @staticmethod
    def keep(runs: "Sequence[Run]") -> "Sequence[Run]":
        """Answers are on their way to their callers: who asks the same may have them; then `stand`, then `settle`.

        Returns them all.
        """
        looks: dict[Drawer, list[tuple[Look, str]]] = {}
        for run in runs:
            looks.setdefault(run.look.drawer, []).append((run.look, run.request_id))
        for drawer, those in looks.items():
            try:
                drawer.noted(those)
            except Exception:
                log.exception("request_broke", request_id=those[0][1])
        for run in runs:
            if run.look.entry is not None:
                continue
            kept = None
            try:
                kept = run.kept_answer()
            except Exception:
                log.exception("request_broke", request_id=run.request_id)
            run.look.land(kept)  # whoever waits for it would wait for ever
        return runs

    @staticmethod
    def stand(runs: "Sequence[Run]") -> "Sequence[Run]":
        """Give back what some took of their engines, at once of each place; returns them all."""
        at: dict[Place, list[Run]] = {}
        for run in runs:
            if run.look.entry is None:
                at.setdefault(run.place, []).append(run)
                try:
                    run.hang_up()
                except Exception:
                    log.exception("request_broke", request_id=run.request_id)
        for place, those in at.items():
            try:
                now = those[0].clock()
                place.answered(*[run.over - run.sent for run in those])
                place.leave(*[now - run.sat for run in those], trying=any(run.trying for run in those))
            except Exception:
                log.exception("request_broke", request_id=those[0].request_id)
        return runs

    @staticmethod
    def settle(runs: "Sequence[Run]") -> "Sequence[Run]":
        """Let limits and telemetry know what some came to, all of one house; returns those who are done."""
        try:
            settle_all([(run.grant, run.tokens) for run in runs if run.grant is not None])
        except Exception:
            log.exception("limits_broke")
        told: list[tuple[Trace, Link | None]] = []
        for run in runs:
            try:
                told.append((run.told(COMPLETED), run.link))
            except Exception:
                log.exception("request_broke", request_id=run.request_id)
                run.track.rooms.traces.gone()
        runs[0].track.rooms.traces.went_all(told)
        return runs

    def failed(self, outcome: Outcome, error: BaseException) -> "asyncio.Future[None] | None":
        """It has ended in another way than by its answer; returns what to wait for until that is recorded."""
        look, keeping = self.look, None
        if self.record is None:
            self.usage = self._taken(error)
            keeping = self._recorded(outcome)
        look.note(self.request_id)
        if look.entry is None:
            if isinstance(error, Exception):
                look.land(None)
            else:
                look.leave()
            self._leave(error)
        if self.grant is not None:
            self.grant.settle_now(self.tokens)
        self.track.rooms.traces.went(self.told(outcome), self.link)
        return keeping

    def told(self, outcome: Outcome) -> Trace:
        """What telemetry is to hear of it."""
        return trace_of(self, outcome)

    @property
    def tokens(self) -> int:
        """That it took, as far as is known."""
        return 0 if self.usage is None else self.usage.total

    def kept_answer(self) -> Entry | None:
        """Keep the answer, if it may be; returns it as those find it who ask the same."""
        answer, record = self.answer, self.record
        if answer is None:
            return None
        assert record is not None and self.upstream is not None  # noqa: PT018 - as it is told in one step
        tokens = record.input_tokens + record.cached_input_tokens + record.output_tokens + record.reasoning_tokens
        return self.look.keep(answer, Worth(tokens=tokens, cost=record.cost, seconds=self.upstream))

    def _taken(self, error: BaseException) -> Usage | None:
        """What it took until it was cut short: where it was read, nobody knows how much of it was."""
        del error
        return None if self.look.entry is not None else Meter().usage(self._guess)

    def given_up(self, error: Exception) -> GoGenerally:
        """Give everything back, for the general way to take it anew."""
        track, tried = self.track, None
        if isinstance(error, EnginehouseError) and not isinstance(error, Unheard):
            tried = Tried(model=track.model, deployment=track.deployment, error=error, began=self.began)
        gone = GoGenerally(tried)
        if self.look.entry is None:
            self.look.leave()
            self._leave(gone if tried is None else error)  # a connection that was stale says nothing of the server
        if self.grant is not None:
            self.grant.undo_now()
        track.rooms.traces.gone()
        return gone

    def _leave(self, error: BaseException) -> None:
        """It has ended otherwise than by its answer: connection, slot and lease are others' now."""
        self.hang_up()
        self.place.leave(self.clock() - self.sat, error=error, trying=self.trying)

    def hang_up(self) -> None:
        """The connection to the engine is others' now."""
        if self.carried is not None:
            self.carried.leave()
            self.carried = None  # it holds who hears of it


def check_taken(answer: Carried, body: bytes) -> None:
    """See whether the engine has taken the request.

    Raises:
        InvalidRequest, EngineError: it has refused it.
    """
    if answer.status >= _REFUSED:
        raise read_error(answer.status, answer.headers, body)
