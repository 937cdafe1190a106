"""Requests on their way through the fleet: into the real line of their model, onto a copy, and to an end."""

from collections.abc import Iterator
from functools import partial

from msgspec import Struct

from bench.simulate.agenda import Agenda
from bench.simulate.demand import Loss, Request, losses, requests
from bench.simulate.fleet import Fleet
from bench.simulate.node import Resident
from bench.simulate.orders import ORDERS
from bench.simulate.outcome import Outcome, Tally
from bench.simulate.world import Scenario, Ware, machines, wares
from enginehouse.core.admission.policy import Line
from enginehouse.core.copies import next_copy
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings
from enginehouse.types import Instances, ResidentState

__all__ = ["MOST_COPIES", "Traffic", "simulated"]

MOST_COPIES = 64
"""Of one model; the usual model needs one."""

_READY = ResidentState.READY


class _Desk(Struct, eq=False):
    """Where one model's requests are dealt with."""

    number: int
    ware: Ware
    line: Line[int]
    copies: list[Resident]
    waiting: dict[int, Request]
    """Who stands in the line, by number."""
    watched: bool = False
    """Whether it is looked at again by itself."""


def simulated(scenario: Scenario, order: str) -> Iterator[float | Outcome]:
    """One order of eviction through the whole scenario: the time about once in a simulated minute, then what came of it."""
    traffic = Traffic(scenario, order)
    yield from traffic.run()
    yield traffic.tally.outcome(order)


class Traffic:
    """One scenario under one order of eviction; everything that happens is put on one agenda."""

    def __init__(self, scenario: Scenario, order: str) -> None:
        self._scenario = scenario
        self._admission = AdmissionSettings()
        self._residency = ResidencySettings(max_models=1000)
        self.tally = Tally(scenario)
        self._agenda = Agenda()
        self._wares = wares(scenario)
        self._desks: dict[int, _Desk] = {}
        self._running: dict[Resident, dict[int, Request]] = {}
        self._arrivals = enumerate(requests(scenario))
        self._fleet = Fleet(
            machines(scenario),
            self._residency,
            ORDERS[order],
            self._agenda,
            changed=self._changed,
            decided=self._decided,
        )

    def run(self) -> Iterator[float]:
        """Until the last request has come and everybody who could still be answered has been."""
        for loss in losses(self._scenario):
            self._agenda.at(loss.at, partial(self._lost, loss))
        self._next_arrival()
        yield from self._agenda.run(self._scenario.seconds + self._scenario.patience + 1800)

    # What happens

    def _next_arrival(self) -> None:
        if (arrival := next(self._arrivals, None)) is not None:
            self._agenda.at(arrival[1].at, partial(self._asked, *arrival))

    def _asked(self, number: int, request: Request) -> None:
        self._next_arrival()
        desk = self._desk(request.ware)
        self.tally.asked(request.at)
        if len(desk.line) >= self._admission.max_queue_size:
            self.tally.ended(request.at, "refused")
            return
        request.cold = all(copy.state is not _READY for copy in desk.copies)
        desk.waiting[number] = request
        desk.line.join(number, request.priority, request.tenant, self._agenda.now)
        self._serve(desk)
        if number in desk.waiting:
            self._agenda.after(self._scenario.patience, partial(self._gave_up, desk, number))
            self._call(desk)

    def _gave_up(self, desk: _Desk, number: int) -> None:
        if (request := desk.waiting.pop(number, None)) is not None:
            desk.line.leave(number)
            self.tally.ended(request.at, "left")

    def _answered(self, desk: _Desk, copy: Resident, number: int) -> None:
        request = self._running.get(copy, {}).pop(number, None)
        if request is None:  # its node was lost meanwhile
            return
        self.tally.ended(request.at, "answered")
        assert copy.node is not None
        copy.node.ended(copy)
        self._serve(desk)

    def _lost(self, loss: Loss) -> None:
        if not self._fleet.nodes[loss.node].alive:
            return
        self.tally.happened("lost", self._agenda.now)
        for copy in self._fleet.lose(loss.node):
            for request in self._running.pop(copy, {}).values():
                self.tally.ended(request.at, "broken")
            self._changed(copy)
        self._agenda.at(loss.until, partial(self._fleet.bring_back, loss.node))

    # What is decided

    def _serve(self, desk: _Desk) -> None:
        """Whoever may run now begins, on the least busy copy."""
        now, slots = self._agenda.now, desk.ware.deployment.slots
        while (number := desk.line.head(now)) is not None:
            ready = [copy for copy in desk.copies if copy.state is _READY and copy.leases < slots]
            if not ready:
                return
            desk.line.serve(number)
            self._begin(desk, min(ready, key=lambda copy: copy.leases), number)

    def _begin(self, desk: _Desk, copy: Resident, number: int) -> None:
        request = desk.waiting.pop(number)
        now = self._agenda.now
        copy.lend(now)
        self._running.setdefault(copy, {})[number] = request
        self.tally.begun(now, now - request.at, cold=request.cold)
        self._agenda.after(request.length * desk.ware.run_seconds, partial(self._answered, desk, copy, number))

    def _call(self, desk: _Desk) -> None:
        """Somebody waits: a first copy is loaded at once, a further one when that has not helped for a while."""
        states = [copy.state for copy in desk.copies]
        if all(state is ResidentState.OFF for state in states):
            self._load(desk, 0)
        elif (eldest := desk.line.eldest()) is not None:
            waited = self._agenda.now - desk.waiting[eldest].at
            room = [*states, *[ResidentState.OFF] * (len(states) < MOST_COPIES)]
            index = next_copy(Instances(max=MOST_COPIES), room, waited, self._residency.scale_up_wait)
            if index is not None:
                self._load(desk, index)
        if not desk.watched:
            desk.watched = True
            self._agenda.after(self._residency.scale_up_wait, partial(self._look_again, desk))

    def _load(self, desk: _Desk, index: int) -> None:
        if index == len(desk.copies):
            desk.copies.append(self._copy(desk, index))
        self._fleet.load(desk.copies[index], desk.ware)

    def _look_again(self, desk: _Desk) -> None:
        desk.watched = False
        if desk.line:
            self._call(desk)

    # What is heard of the fleet

    def _changed(self, copy: Resident) -> None:
        desk = self._desks[copy.ware]
        if copy.state is _READY:
            self.tally.loaded(self._agenda.now, copy.load_seconds)
            self._serve(desk)
            self._expire(copy, copy.life)
        elif desk.line:
            self._call(desk)

    def _decided(self, evicted: int) -> None:
        self.tally.happened("decisions", self._agenda.now)
        self.tally.happened("evicted", self._agenda.now, evicted)

    def _expire(self, copy: Resident, life: int) -> None:
        """It leaves when nobody has asked for it for its time to live."""
        if copy.life != life or copy.state is not _READY or copy.node is None:
            return
        due = copy.last_used + copy.ttl
        if not copy.leases and due <= self._agenda.now:
            self.tally.happened("expired", self._agenda.now)
            copy.node.evict(copy)
        else:
            at = self._agenda.now + copy.ttl if copy.leases else due
            self._agenda.at(at, partial(self._expire, copy, life))

    def _desk(self, number: int) -> _Desk:
        desk = self._desks.get(number)
        if desk is None:
            desk = _Desk(number, self._wares[number], Line(self._admission.aging), [], {})
            self._desks[number] = desk
        return desk

    def _copy(self, desk: _Desk, index: int) -> Resident:
        return Resident(
            id=f"{desk.ware.deployment.id}#{index + 1}",
            ware=desk.number,
            load_seconds=desk.ware.load_seconds,
            extra=index > 0,
            ttl=self._residency.scale_down_idle if index else self._residency.idle_timeout,
        )
