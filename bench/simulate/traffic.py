"""Requests on their way through the fleet: into the real line of their model, onto a copy, and to an end."""

from collections.abc import Iterator
from functools import partial
from math import ceil

from msgspec import Struct, structs

from bench.simulate.agenda import Agenda
from bench.simulate.demand import Loss, Request, losses, requests
from bench.simulate.ground import Copy, Ground
from bench.simulate.orders import ORDERS
from bench.simulate.outcome import Outcome, Tally
from bench.simulate.world import Scenario, Ware, nodes, wares
from enginehouse.core.admission.policy import Line
from enginehouse.core.copies import next_copies
from enginehouse.residency.policy import Rules
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings
from enginehouse.types import Instances, ResidentState

__all__ = ["MOST_COPIES", "simulated"]

MOST_COPIES = 64
"""Of one model; the usual model needs one."""

_MOST = Instances(max=MOST_COPIES)
_OFF, _READY = ResidentState.OFF, ResidentState.READY


def simulated(scenario: Scenario, order: str) -> Iterator[float | Outcome]:
    """One order of eviction through the whole scenario.

    Yields:
        The time about once in a simulated minute, and at last what came of it.
    """
    traffic = _Traffic(scenario, order)
    yield from traffic.run()
    yield traffic.tally.outcome(order)


class _Desk(Struct, eq=False):
    """Where one model's requests are dealt with."""

    ware: Ware
    line: Line[int]
    copies: list[Copy]
    """As many as there ever were side by side."""
    waiting: dict[int, Request]
    """Who stands in the line, by number."""
    watched: bool = False
    """Whether it is looked at again by itself."""

    @property
    def states(self) -> list[ResidentState]:
        """Of every copy there was, and of those that could be made."""
        return [*(copy.state for copy in self.copies), *[_OFF] * (MOST_COPIES - len(self.copies))]


class _Traffic:
    """One scenario under one order of eviction; everything that happens is put on one agenda."""

    def __init__(self, scenario: Scenario, order: str) -> None:
        self.tally = Tally(scenario)
        self._scenario = scenario
        self._admission = AdmissionSettings()
        # A node's memory is the bound here, not a number of models.
        self._residency = ResidencySettings(max_models=10_000)
        self._agenda = Agenda()
        self._wares = wares(scenario)
        self._desks: dict[str, _Desk] = {}
        self._running: dict[Copy, dict[int, Request]] = {}
        self._arrivals = enumerate(requests(scenario))
        self._nodes = nodes(scenario, self._residency)
        self._away: set[int] = set()
        rules = Rules(max_wait=self._residency.max_wait, min_residency=self._residency.min_residency)
        self._ground = Ground(
            self._nodes, rules, ORDERS[order], self._agenda, changed=self._changed, noted=self._noted
        )

    def run(self) -> Iterator[float]:
        """Until the last request has come, and has been answered or has gone."""
        for loss in losses(self._scenario):
            self._agenda.at(loss.at, partial(self._lost, loss))
        self._next_arrival()
        yield from self._agenda.run()

    # What happens

    def _next_arrival(self) -> None:
        if (arrival := next(self._arrivals, None)) is not None:
            self._agenda.at(arrival[1].at, partial(self._asked, *arrival))

    def _asked(self, number: int, request: Request) -> None:
        self._next_arrival()
        desk = self._desk(request.ware)
        self.tally.asked(request.at)
        if len(desk.line) >= self._admission.max_queue_size:
            self.tally.gone(request.at, request.at, "refused")
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
            self.tally.gone(request.at, self._agenda.now, "left")

    def _answered(self, desk: _Desk, copy: Copy, number: int) -> None:
        request = self._running.get(copy, {}).pop(number, None)
        if request is not None:  # else its node was lost meanwhile
            self.tally.ended(request.at, "answered")
            self._ground.give_back(copy)
            self._serve(desk)

    def _lost(self, loss: Loss) -> None:
        if loss.node in self._away:
            return
        self._away.add(loss.node)
        self._noted("lost", 1)
        gone = self._ground.lose(self._nodes[loss.node].id)
        for copy in gone:
            for request in self._running.pop(copy, {}).values():
                self.tally.ended(request.at, "broken")
        for copy in gone:
            self._changed(copy)
        self._agenda.at(loss.until, partial(self._back, loss.node))

    def _back(self, number: int) -> None:
        """A node comes back under another name, as one that nobody knows."""
        self._away.discard(number)
        self._nodes[number] = structs.replace(self._nodes[number], id=f"{self._nodes[number].id}+")
        self._ground.join(self._nodes[number])

    # What is decided

    def _serve(self, desk: _Desk) -> None:
        """Whoever may run now begins, on the least busy copy."""
        now, slots = self._agenda.now, desk.ware.deployment.slots
        while (number := desk.line.head(now)) is not None:
            free = [copy for copy in desk.copies if copy.state is _READY and copy.leases < slots]
            if not free:
                return
            desk.line.serve(number)
            self._begin(desk, min(free, key=lambda copy: copy.leases), number)

    def _begin(self, desk: _Desk, copy: Copy, number: int) -> None:
        request, now = desk.waiting.pop(number), self._agenda.now
        self._ground.lend(copy)
        self._running.setdefault(copy, {})[number] = request
        self.tally.begun(now, now - request.at, cold=request.cold)
        self._agenda.after(request.length * desk.ware.run_seconds, partial(self._answered, desk, copy, number))

    def _call(self, desk: _Desk) -> None:
        """Somebody waits: a first copy is loaded at once, a further one when waiting has lasted for a while."""
        states, eldest = desk.states, desk.line.eldest()
        assert eldest is not None, "nobody calls for nothing"
        waited = self._agenda.now - desk.waiting[eldest].at
        if all(state is _OFF for state in states):
            self._load(desk, 0)
        else:
            lacking, patience = ceil(len(desk.line) / desk.ware.deployment.slots), self._residency.scale_up_wait
            for index in next_copies(_MOST, states, waited=waited, patience=patience, lacking=lacking):
                self._load(desk, index)
        if not desk.watched:
            desk.watched = True
            self._agenda.after(self._residency.scale_up_wait, partial(self._look_again, desk))

    def _look_again(self, desk: _Desk) -> None:
        desk.watched = False
        if desk.line:
            self._call(desk)

    def _load(self, desk: _Desk, index: int) -> None:
        if index == len(desk.copies):
            desk.copies.append(self._copy(desk, index))
        self._ground.load(desk.copies[index])

    # What is heard of the ground

    def _changed(self, copy: Copy) -> None:
        desk = self._desks[copy.ware.deployment.model]
        if copy.state is _READY:
            self.tally.loaded(self._agenda.now, copy.ware.load_seconds)
            self._serve(desk)
        elif desk.line:
            self._call(desk)

    def _noted(self, what: str, times: int) -> None:
        self.tally.happened(what, self._agenda.now, times)

    def _desk(self, number: int) -> _Desk:
        ware = self._wares[number]
        desk = self._desks.get(ware.deployment.model)
        if desk is None:
            desk = self._desks[ware.deployment.model] = _Desk(ware, Line(self._admission.aging), [], {})
        return desk

    def _copy(self, desk: _Desk, index: int) -> Copy:
        first = desk.ware.deployment
        one = structs.replace(first, id=f"{first.id}#{index + 1}") if index else first
        settings = self._residency
        ttl = settings.scale_down_idle if index else settings.idle_timeout
        return Copy(ware=structs.replace(desk.ware, deployment=one), extra=index > 0, ttl=ttl)
