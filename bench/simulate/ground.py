"""Memory of the whole fleet: copies come and go as the real placement says, and wait where it sees no way yet."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from msgspec import Struct

from bench.simulate.agenda import Agenda
from bench.simulate.orders import Order
from bench.simulate.world import Ware
from enginehouse.residency.fleet import Demand, Fleet, Node, Placement
from enginehouse.residency.policy import HALF_LIFE, Footprint, Rules, Standing
from enginehouse.types import Priority, ResidentState

__all__ = ["Copy", "Ground"]

_UNLOAD_SECONDS = 0.5
"""From the end of its last request until an engine's memory is free."""
_REVIEW_SECONDS = 1.0
"""Between two looks at those who wait for room."""
_REVIEWED = 32
"""How many of them, the eldest first, are looked at."""

_OFF, _LOADING, _READY, _DRAINING = (
    ResidentState.OFF,
    ResidentState.LOADING,
    ResidentState.READY,
    ResidentState.DRAINING,
)


class Copy(Struct, eq=False, kw_only=True):
    """A copy of a model over all of its lives."""

    ware: Ware
    extra: bool
    """Whether it is one more than the first: it takes free room only, and leaves before others."""
    ttl: float
    """Idle seconds before it leaves."""
    state: ResidentState = _OFF
    life: int = 0
    """Counts its lives: what was begun in an earlier one ends with that."""
    leases: int = 0
    asked_since: float = 0.0
    ready_since: float = 0.0
    last_used: float = 0.0
    warmth: float = 0.0
    """Recent requests, older ones counting less, at `warm_at`."""
    warm_at: float = 0.0

    @property
    def id(self) -> str:
        """The deployment's."""
        return self.ware.deployment.id

    @property
    def demand(self) -> Demand:
        """How the placement sees that it wants a node."""
        ware, priority = self.ware, Priority.LOW if self.extra else Priority.NORMAL
        return Demand(
            deployment=ware.deployment,
            weight=ware.weight,
            since=self.asked_since,
            priority=priority,
            evicts=not self.extra,
        )

    def standing(self, size: Footprint, now: float) -> Standing:
        """How the policy sees it."""
        return Standing(
            id=self.id,
            size=size,
            priority=Priority.LOW if self.extra else Priority.NORMAL,
            busy=self.leases > 0,
            leaving=self.state is _DRAINING,
            loading=self.state is _LOADING,
            ready_since=self.ready_since,
            last_used=self.last_used,
            reload_seconds=self.ware.load_seconds,
            demand=self._warmth_now(now),
        )

    def lend(self, now: float) -> None:
        """One request more runs on it."""
        self.leases += 1
        self.warmth = self._warmth_now(now) + 1
        self.warm_at = now

    def _warmth_now(self, now: float) -> float:
        return self.warmth * 0.5 ** ((now - self.warm_at) / HALF_LIFE)


class Ground:
    """The one writer of the fleet and of every copy's state; no method waits.

    Args:
        nodes: that are there at the begin.
        rules: bounds of waiting and of taking turns.
        order: who leaves first.
        changed: called when a copy has become ready or is off again.
        noted: called with what happened: `decisions`, `evicted`, `expired`.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        rules: Rules,
        order: Order,
        agenda: Agenda,
        *,
        changed: Callable[[Copy], None],
        noted: Callable[[str, int], None],
    ) -> None:
        self._fleet = Fleet(rules)
        for node in nodes:
            self._fleet.join(node)
        self._order = order
        self._agenda = agenda
        self._changed = changed
        self._noted = noted
        self._copies: dict[str, Copy] = {}
        """Who has a node, or is promised room on one."""
        self._waiting: dict[str, Copy] = {}
        self._reviewed = False

    def load(self, copy: Copy) -> None:
        """It shall be in memory; one more copy of what is there already takes free room now or does not come."""
        copy.state, copy.asked_since = _LOADING, self._agenda.now
        if not self._place(copy):
            if copy.extra:
                copy.state = _OFF
            else:
                self._waiting[copy.id] = copy
                self._watch()

    def lend(self, copy: Copy) -> None:
        """One request more runs on it."""
        copy.lend(self._agenda.now)
        if copy.leases == 1:
            self._tell(copy)

    def give_back(self, copy: Copy) -> None:
        """One request less runs on it."""
        copy.leases -= 1
        copy.last_used = self._agenda.now
        if not copy.leases:
            self._tell(copy)
            if copy.state is _DRAINING:
                self._unload(copy)

    def lose(self, node_id: str) -> list[Copy]:
        """A node is gone, with all that was on it or was promised room there; who that was."""
        gone = [self._copies.pop(name) for name in self._fleet.lose(node_id)]
        for copy in gone:
            self._end(copy)
        return gone

    def join(self, node: Node) -> None:
        """One more node, empty."""
        self._fleet.join(node)

    # How it goes on

    def _place(self, copy: Copy) -> bool:
        """Whether there was a way."""
        demand = copy.demand
        placement = self._fleet.ask(demand, self._agenda.now)
        self._noted("decisions", 1)
        if placement is None or (copy.extra and placement.evictions):
            return False
        self._claim(copy, demand, placement)
        return True

    def _claim(self, copy: Copy, demand: Demand, placement: Placement) -> None:
        self._fleet.claim(placement, demand, self._agenda.now)
        self._copies[copy.id] = copy
        self._noted("evicted", len(placement.evictions))
        for name in placement.evictions:
            self._drain(self._copies[name])
        self._grant(placement.node)

    def _grant(self, node_id: str) -> None:
        for name in self._fleet.grants(node_id):
            copy = self._copies[name]
            self._agenda.after(copy.ware.load_seconds, partial(self._ready, copy, copy.life))

    def _ready(self, copy: Copy, life: int) -> None:
        if copy.life != life:  # its node was lost meanwhile
            return
        copy.state = _READY
        copy.ready_since = copy.last_used = self._agenda.now
        self._tell(copy)
        self._changed(copy)
        self._expire(copy, life)

    def _expire(self, copy: Copy, life: int) -> None:
        """It leaves when nobody has asked for it for its time to live."""
        if copy.life != life or copy.state is not _READY:
            return
        due = self._agenda.now + copy.ttl if copy.leases else copy.last_used + copy.ttl
        if due > self._agenda.now:
            self._agenda.at(due, partial(self._expire, copy, life))
        else:
            self._noted("expired", 1)
            self._drain(copy)
            self._tell(copy)

    def _drain(self, copy: Copy) -> None:
        copy.state = _DRAINING
        if not copy.leases:
            self._unload(copy)

    def _unload(self, copy: Copy) -> None:
        self._agenda.after(_UNLOAD_SECONDS, partial(self._unloaded, copy, copy.life))

    def _unloaded(self, copy: Copy, life: int) -> None:
        if copy.life != life:
            return
        node = self._fleet.node_of(copy.id)
        assert node is not None
        self._fleet.release(copy.id)
        del self._copies[copy.id]
        self._end(copy)
        self._grant(node)
        self._changed(copy)

    def _end(self, copy: Copy) -> None:
        copy.state, copy.leases = _OFF, 0
        copy.life += 1

    def _tell(self, copy: Copy) -> None:
        """The fleet hears how a copy stands, as the order in force judges it."""
        now = self._agenda.now
        size = self._fleet.held(copy.id).standing.size
        self._fleet.update(self._order(copy.standing(size, now)), now)

    def _watch(self) -> None:
        if not self._reviewed and self._waiting:
            self._reviewed = True
            self._agenda.after(_REVIEW_SECONDS, self._review)

    def _review(self) -> None:
        self._reviewed = False
        for name, copy in list(islice(self._waiting.items(), _REVIEWED)):
            if self._place(copy):
                del self._waiting[name]
        self._watch()
