"""One node: what is in its memory, who waits for room there, and what the real policy says to that."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from bench.simulate.agenda import Agenda
from bench.simulate.orders import Order
from enginehouse.residency.memory import ByteLedger
from enginehouse.residency.policy import Footprint, Rules, Standing, Want, plan
from enginehouse.types import Priority, ResidentState

__all__ = ["Node", "Resident"]

UNLOAD_SECONDS = 0.5
"""From the end of its last request until an engine's memory is free."""
_HALF_LIFE = 300.0
"""Seconds after which a request counts half for how much a model is in demand, as in the service."""


class Resident(Struct, eq=False, kw_only=True):
    """A copy of a model over all of its lives."""

    id: str
    ware: int
    load_seconds: float
    extra: bool = False
    """Whether it is one more than the first: it takes free room only, and leaves before others."""
    ttl: float
    state: ResidentState = ResidentState.OFF
    node: "Node | None" = None
    """Where it is, or waits for room."""
    life: int = 0
    """Counts its lives: what was begun in an earlier one ends with that."""
    leases: int = 0
    ready_since: float = 0.0
    last_used: float = 0.0
    demand: float = 0.0
    demand_at: float = 0.0

    def lend(self, now: float) -> None:
        """One request more runs on it."""
        self.leases += 1
        self.demand = self._demand_now(now) + 1
        self.demand_at = now

    def standing(self, size: Footprint, now: float) -> Standing:
        """How the policy sees it."""
        return Standing(
            id=self.id,
            size=size,
            priority=Priority.LOW if self.extra else Priority.NORMAL,
            busy=self.leases > 0,
            leaving=self.state is ResidentState.DRAINING,
            loading=self.state is ResidentState.LOADING,
            ready_since=self.ready_since,
            last_used=self.last_used,
            reload_seconds=self.load_seconds,
            demand=self._demand_now(now),
        )

    def _demand_now(self, now: float) -> float:
        return self.demand * 0.5 ** ((now - self.demand_at) / _HALF_LIFE)


class Node:
    """The single writer of its residents' states; no method waits.

    Args:
        capacity: what there is, by axis.
        changed: called when a resident has become ready or is off again.
        decided: called with the number of models that a decision made leave.
    """

    def __init__(
        self,
        capacity: Footprint,
        rules: Rules,
        order: Order,
        agenda: Agenda,
        *,
        changed: Callable[[Resident], None],
        decided: Callable[[int], None],
    ) -> None:
        self.alive = True
        self.ledger = ByteLedger(capacity)
        self.residents: dict[str, Resident] = {}
        self._wants: dict[str, Want] = {}
        self._rules = rules
        self._order = order
        self._agenda = agenda
        self._changed = changed
        self._decided = decided
        self._alarm: float | None = None

    @property
    def standings(self) -> list[Standing]:
        """Everything that takes room, as the order in force judges it."""
        now, held = self._agenda.now, self.ledger.entries
        return [self._order(self.residents[name].standing(size, now)) for name, size in held.items()]

    def want(self, resident: Resident, places: Sequence[Footprint]) -> None:
        """It shall be in memory here."""
        need, *others = places
        now = self._agenda.now
        resident.node, resident.state = self, ResidentState.LOADING
        self.residents[resident.id] = resident
        self._wants[resident.id] = Want(
            id=resident.id, need=need, others=tuple(others), since=now, evicts=not resident.extra
        )
        self.review()

    def evict(self, resident: Resident) -> None:
        """It leaves when its last request has ended."""
        resident.state = ResidentState.DRAINING
        if not resident.leases:
            self._unload(resident)

    def ended(self, resident: Resident) -> None:
        """One request less runs on it."""
        resident.leases -= 1
        resident.last_used = self._agenda.now
        if resident.state is ResidentState.DRAINING and not resident.leases:
            self._unload(resident)

    def lose(self) -> list[Resident]:
        """The node is gone, and so is all that was on it or waited for it."""
        self.alive = False
        gone = list(self.residents.values())
        for name in tuple(self.ledger.entries):
            self.ledger.release(name)
        self._wants.clear()
        for resident in gone:
            self._off(resident)
        return gone

    def review(self) -> None:
        """Something changed: who waits may get room now, or somebody has to leave for them."""
        if not self._wants:
            return
        decision = plan(
            tuple(self._wants.values()), self.standings, self.ledger.free(), self._rules, self._agenda.now
        )
        self._decided(len(decision.evictions))
        self._grant(decision.grants, decision.places)
        for eviction in decision.evictions:
            self.evict(self.residents[eviction.id])
        for name in [name for name in decision.waits if self.residents[name].extra]:
            # One more copy takes free room or does not come.
            del self._wants[name]
            self._off(self.residents[name])
        if decision.again_at is not None and (self._alarm is None or decision.again_at < self._alarm):
            self._alarm = decision.again_at
            self._agenda.at(decision.again_at, self._again)

    def _again(self) -> None:
        if self._alarm is not None and self._alarm <= self._agenda.now:
            self._alarm = None
            self.review()

    def _grant(self, grants: Sequence[str], elsewhere: Mapping[str, Footprint]) -> None:
        for name in grants:
            want = self._wants.pop(name)
            self.ledger.reserve(name, elsewhere.get(name, want.need))
            resident, life = self.residents[name], self.residents[name].life
            self._agenda.after(resident.load_seconds, lambda one=resident, life=life: self._ready(one, life))

    def _ready(self, resident: Resident, life: int) -> None:
        if resident.life == life and resident.state is ResidentState.LOADING:
            resident.state = ResidentState.READY
            resident.ready_since = resident.last_used = self._agenda.now
            self._changed(resident)
            # Who waits may have counted on one that loads.
            self.review()

    def _unload(self, resident: Resident) -> None:
        life = resident.life
        self._agenda.after(UNLOAD_SECONDS, lambda: self._unloaded(resident, life))

    def _unloaded(self, resident: Resident, life: int) -> None:
        if resident.life == life:
            self.ledger.release(resident.id)
            self._off(resident)
            self.review()
            self._changed(resident)

    def _off(self, resident: Resident) -> None:
        resident.state, resident.node, resident.leases = ResidentState.OFF, None, 0
        resident.life += 1
        del self.residents[resident.id]
