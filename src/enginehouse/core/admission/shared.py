"""The gate of an upstream that replicas share: its line stands in a store; this replica speaks for its own tickets.

The book of this replica's tickets has one writer and no method that waits, as with `Gate`. What is new in it goes
to the store in one step at a time, carried by `run`; what comes back, and who is called between steps, goes into
the book. While the store is away a `Gate` of this replica's own decides in its place.
"""

import asyncio
from contextlib import suppress
from hashlib import blake2b
from typing import Literal
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from enginehouse.core.admission.figures import queue_stats, service_time
from enginehouse.core.admission.gate import Gate
from enginehouse.core.admission.ticket import QueueStats, Ticket
from enginehouse.errors import QueueFull, QueueTimeout, StoreUnavailable
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.stores.kv import End, Join, Lines, Moves, Outcome
from enginehouse.types import Priority

__all__ = ["SharedGate"]

_LEVELS = {priority: level for level, priority in enumerate(Priority)}
_RENEWALS = 3
"""How often a lease is renewed before it would be over."""
_SLOWEST_RENEWAL = 5.0
"""Seconds that a told position is old at most."""
_SETTLE = 2.0
"""Seconds in which all replicas find a store that has come back."""
_LEAST_PAUSE = 0.01
"""Seconds between two looks whether time alone lets somebody in."""


class _Place(Struct):
    """What this replica knows of one of its tickets."""

    id: str
    sent: bool = False
    """Whether the store may know it."""
    again: bool = False
    """Whether it stood in line before."""
    runs: bool = False
    """It runs without having waited."""
    position: int = 0
    """Where the store saw it last."""


class SharedGate:
    """One replica's side of a shared line.

    Args:
        name: of the line, the same on every replica.
        slots: how many may run at once, over all replicas.
        settings: how many may wait, how long, and how they age.
        lines: where the line stands.
        lease: seconds after which what a dead replica held is free.
        share: part of the slots that this replica runs on its own while the store is away.
    """

    def __init__(
        self, name: str, slots: int, settings: AdmissionSettings, lines: Lines, *, lease: float, share: float
    ) -> None:
        self._name = name
        self._slots = slots
        self._settings = settings
        self._lines = lines
        self._lease = lease
        self._share = share
        self._places: dict[Ticket, _Place] = {}
        """All that wait or run here, in the order they came."""
        self._tickets: dict[str, Ticket] = {}
        self._new: dict[Ticket, None] = {}
        """Those who wait and have to be told of, in the order they came."""
        self._ends: list[End] = []
        self._alone: Gate | None = None
        self._comes_back = False
        self._outcome = Outcome(slots=slots)
        self._stats = QueueStats(scope="shared", slots=slots, depth={}, service_time=service_time(self._outcome))
        self._renew_at = self._look_at = 0.0
        self._bell = asyncio.Event()
        if not lines.up:
            self.go_alone()

    # What tickets and their owner call -----------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nobody runs and nobody waits here, and the store knows it."""
        return not self._places and not self._ends

    @property
    def patience(self) -> float:
        """Seconds somebody who comes now may wait."""
        return self._settings.queue_timeout

    def adopt(self, settings: AdmissionSettings) -> None:
        """New limits count for who comes next, and aging from the next step on."""
        self._settings = settings
        if self._alone is not None:
            self._alone.adopt(settings)

    def resize(self, slots: int) -> None:
        """What this replica says of the number of slots."""
        if slots == self._slots:
            return
        self._slots = slots
        if self._alone is not None:
            self._alone.resize(self._own_slots)
        self._renew_at = 0.0
        self._bell.set()

    def dissolve(self) -> None:
        """What it leads to is gone, for this replica: everybody's turn comes now, to find that out."""
        if self._alone is not None:
            self._alone.dissolve()
        for ticket in [ticket for ticket, place in self._places.items() if self._waits(ticket, place)]:
            self._let_in(ticket)

    def enter(self, ticket: Ticket) -> bool:
        """Wait for the store's answer; run at once (True) only while it is away.

        Raises:
            QueueFull: the store is away, and too many wait here already.
        """
        runs = self._alone is not None and self._alone.enter(ticket)
        place = self._places[ticket] = _Place(id=uuid4().hex, runs=runs)
        self._tickets[place.id] = ticket
        if self._alone is None:
            self._new[ticket] = None
            self._bell.set()
        return runs

    def expire(self, ticket: Ticket) -> None:
        """Its time is up; one whose turn has come, or who is going anyway, is not concerned."""
        if ticket.turn.done():
            return
        if self._alone is None:
            ticket.turn.set_result(False)
        else:
            self._alone.expire(ticket)
        self._go(ticket, "timed_out")

    def withdraw(self, ticket: Ticket) -> None:
        """It goes away; if its turn had come, the next one gets it. One that was refused is gone already."""
        if ticket in self._places:
            if self._alone is not None:
                self._alone.withdraw(ticket)
            self._go(ticket, "left")

    def started(self, waited: float) -> None:
        """Somebody has taken up its slot; the store has seen it already."""
        if self._alone is not None:
            self._alone.started(waited)

    def give_back(self, ticket: Ticket, seconds: float) -> None:
        """It ran that long and has ended."""
        if self._alone is not None:
            self._alone.give_back(ticket, seconds)
        self._go(ticket, "served", seconds)

    def timeout(self) -> QueueTimeout:
        """Somebody whose time was up goes with this."""
        if self._alone is not None:
            return self._alone.timeout()
        return QueueTimeout(f"No slot came free within {self.patience:g} s.", retry_after=self._retry_after())

    def position(self, ticket: Ticket) -> int:
        """1 for who goes next, as the store saw it when it was last asked; 0 for who does not wait."""
        place = self._places.get(ticket)
        if place is None or not self._waits(ticket, place):
            return 0
        return place.position if self._alone is None else self._alone.position(ticket)

    def expected_wait(self, position: int) -> float:
        """Seconds until that many have been let in, by the service rate of all replicas."""
        if self._alone is not None:
            return self._alone.expected_wait(position)
        seen = self._outcome
        surplus = max(0, seen.active - seen.slots)
        return (position + surplus) * service_time(seen) / seen.slots if position else 0.0

    def longest_wait(self) -> float:
        """Seconds for which the one that came first of those who wait here has waited; 0 when nobody waits."""
        waiting = (ticket.asked for ticket, place in self._places.items() if self._waits(ticket, place))
        return _now() - next(waiting, _now())

    def stats(self) -> QueueStats:
        """All replicas' numbers when they were last asked for; this replica's own while the store is away."""
        return self._stats if self._alone is None else replace(self._alone.stats(), scope="alone")

    # What the store's side calls -----------------------------------------------------------------------

    async def run(self) -> None:
        """Carry steps to the store, one after the other, until cancelled."""
        while True:
            await self._rest()
            await self.step()

    async def step(self) -> None:
        """Tell the store what is new, and take in what it says; without it, go on alone."""
        if self._alone is not None:
            return
        said = self._compose()
        try:
            outcome = await self._lines.step(self._name, said.moves)
        except StoreUnavailable:
            self._ends[:0] = said.moves.ends  # to be said again: what has ended must not hold a slot by its lease
            self.go_alone()
            return
        if self._alone is None:
            self._take(outcome, said)

    async def farewell(self) -> None:
        """Give back what is still held in the store's eyes, so that nobody waits for leases to end."""
        if self._ends:
            await self.step()

    async def survey(self) -> None:
        """Ask for the numbers of all replicas, for `stats`."""
        if self._alone is None:
            with suppress(StoreUnavailable):
                outcome = await self._lines.step(self._name, self._bare_moves(figures=True))
                self._note(outcome)
                for ticket_id in outcome.turns:
                    self.turn(ticket_id)

    def turn(self, ticket_id: str) -> None:
        """The store has let this one in."""
        ticket = self._tickets.get(ticket_id)
        if ticket is not None and self._alone is None:
            self._let_in(ticket)

    def go_alone(self) -> None:
        """The store has gone: who runs goes on, who waits keeps its place among this replica's own."""
        if self._alone is not None:
            return
        gate = Gate(self._own_slots, self._settings)
        if self._outcome.service is not None:
            gate.pace.served(self._outcome.service)
        running = sum(self._runs(*item) for item in self._places.items())
        gate.take_over(running, [ticket for ticket, place in self._places.items() if self._waits(ticket, place)])
        self._alone = gate
        self._new.clear()

    def come_back(self) -> None:
        """The store is there again: it hears who runs, and who waits stands in its line by the time it came."""
        if self._alone is None:
            return
        self._alone = None
        self._comes_back = True
        for ticket in self._places:
            self._rejoin(ticket)
        self._bell.set()

    # Steps ---------------------------------------------------------------------------------------------

    async def _rest(self) -> None:
        """Until there is something to say or to ask."""
        while not self._pressing():
            self._bell.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._alarm()):
                    await self._bell.wait()

    def _pressing(self) -> bool:
        if self._alone is not None:
            return False
        alarm = self._alarm()
        return bool(self._new or self._ends or self._comes_back) or (alarm is not None and alarm <= _now())

    def _alarm(self) -> float | None:
        """When to speak up without news: leases have to be renewed, and somebody else's may be over."""
        if self._alone is not None or not self._places:
            return None
        waits = any(self._waits(*item) for item in self._places.items())
        return min(self._renew_at, self._look_at) if waits else self._renew_at

    def _compose(self) -> "_Said":
        """What there is to say now; whatever comes while it is on its way is for the next step."""
        said = _Said(moves=self._bare_moves(), joining=list(self._new))
        now = _now()
        said.moves.joins = [self._join(ticket, now) for ticket in said.joining]
        said.moves.ends, self._ends = self._ends, []
        if self._comes_back:
            said.moves.settle = min(_SETTLE, self._lease)
        if self._comes_back or now >= self._renew_at:
            self._renew(said)
        self._new.clear()
        self._comes_back = False
        return said

    def _renew(self, said: "_Said") -> None:
        self._renew_at = _now() + min(self._lease / _RENEWALS, _SLOWEST_RENEWAL)
        for ticket, place in self._places.items():
            if self._runs(ticket, place):
                place.sent = True
                said.moves.running.append(place.id)
            elif self._waits(ticket, place) and ticket not in self._new:
                said.renewing.append(ticket)
                said.moves.waiting.append(place.id)

    def _bare_moves(self, *, figures: bool = False) -> Moves:
        return Moves(
            slots=self._slots,
            aging=self._settings.aging,
            lease=self._lease,
            limit=self._settings.max_queue_size,
            figures=figures,
        )

    def _join(self, ticket: Ticket, now: float) -> Join:
        place = self._places[ticket]
        place.sent = True
        return Join(
            id=place.id,
            level=_LEVELS[ticket.priority],
            tenant=blake2b(ticket.tenant.encode(), digest_size=8).hexdigest(),
            waited=now - ticket.asked if place.again else 0.0,
            again=place.again,
            limit=ticket.limit,
        )

    def _take(self, outcome: Outcome, said: "_Said") -> None:
        self._note(outcome)
        for ticket_id in outcome.turns:
            self.turn(ticket_id)
        for ticket, position in zip(said.joining, outcome.joined, strict=True):
            if position < 0:
                self._refuse(ticket)
            else:
                self._see(ticket, position)
        for ticket, position in zip(said.renewing, outcome.waiting, strict=True):
            if position < 0:
                self._rejoin(ticket)
            else:
                self._see(ticket, position)

    def _note(self, outcome: Outcome) -> None:
        self._outcome = outcome
        pause = float("inf") if outcome.next is None else max(outcome.next, _LEAST_PAUSE)
        self._look_at = _now() + pause
        if outcome.figures is not None:
            self._stats = queue_stats(outcome, outcome.figures)

    def _see(self, ticket: Ticket, position: int) -> None:
        if (place := self._places.get(ticket)) is not None:
            place.position = position
            ticket.stood = ticket.stood or position
            if not position:
                self._let_in(ticket)

    def _let_in(self, ticket: Ticket) -> None:
        if not ticket.turn.done():
            ticket.turn.set_result(True)

    def _refuse(self, ticket: Ticket) -> None:
        if self._drop(ticket) is not None and not ticket.turn.done():
            depth = self._outcome.depth
            ticket.turn.set_exception(
                QueueFull(
                    f"{depth} requests wait for this model already. Try again later.",
                    position=depth + 1,
                    retry_after=self._retry_after(),
                )
            )
            ticket.turn.exception()  # one that is cancelled in this tick never looks; that is no fault to report

    def _rejoin(self, ticket: Ticket) -> None:
        """The store does not know it, or not any more: it stands there again, by the time it came."""
        place = self._places.get(ticket)
        if place is not None and self._waits(ticket, place):
            place.again = True
            self._new[ticket] = None
            self._bell.set()

    def _go(self, ticket: Ticket, how: Literal["served", "left", "timed_out"], seconds: float = 0.0) -> None:
        place = self._drop(ticket)
        if place is not None and place.sent:
            self._ends.append(End(id=place.id, how=how, seconds=seconds))
            self._bell.set()

    def _drop(self, ticket: Ticket) -> _Place | None:
        place = self._places.pop(ticket, None)
        if place is not None:
            del self._tickets[place.id]
            self._new.pop(ticket, None)
        return place

    @staticmethod
    def _runs(ticket: Ticket, place: _Place) -> bool:
        return place.runs or ticket.granted

    @staticmethod
    def _waits(ticket: Ticket, place: _Place) -> bool:
        return not place.runs and not ticket.turn.done()

    @property
    def _own_slots(self) -> int:
        return max(1, int(self._slots * self._share))

    def _retry_after(self) -> float:
        """When those who wait now will have been let in; by `queue_timeout` none of them waits any more."""
        return max(1.0, min(self.expected_wait(self._outcome.depth + 1), self.patience))


class _Said(Struct):
    """A step on its way, and whom its answer is about."""

    moves: Moves
    joining: list[Ticket]
    renewing: list[Ticket] = []


def _now() -> float:
    return asyncio.get_running_loop().time()
