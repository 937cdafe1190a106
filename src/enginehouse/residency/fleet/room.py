"""Room on many nodes: who waits for it, on which node it is promised, and the moment in which it changes hands."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog
from msgspec import Struct, structs

from enginehouse.engines.metadata import Weight
from enginehouse.errors import InsufficientMemory
from enginehouse.residency.base import Terms
from enginehouse.residency.decisions import Decisions
from enginehouse.residency.fleet.nodes import Health, Node
from enginehouse.residency.fleet.placement import Demand, Fleet, Placement
from enginehouse.residency.memory import ByteLedger
from enginehouse.residency.placement import places
from enginehouse.residency.policy import Footprint, Rules, Standing, Want, fits, plan
from enginehouse.types import Deployment, Priority

__all__ = ["FleetRoom"]

log = structlog.get_logger()

_LOOK_AGAIN = 1.0
"""Seconds after which who waits is looked at again, since time alone lets others grow old and waits overdue."""
_MIB = 1024 * 1024


class _Waiting(Struct, frozen=True, eq=False):
    demand: Demand
    granted: "asyncio.Future[Footprint]"


class FleetRoom:
    """What `Room` is for one machine, over the nodes of a fleet; the owner of residency is told of it by `serve`.

    Args:
        rules: bounds of waiting and of taking turns.
        patient: whether what fits on no node waits for one to come; else it is refused.
    """

    def __init__(self, rules: Rules, *, patient: bool = False) -> None:
        self.fleet = Fleet(rules)
        self.ledger: ByteLedger = _FleetLedger(self.fleet)
        self.patient = patient
        self._waiting: dict[str, _Waiting] = {}
        self._kept_by: dict[str, str] = {}
        self._survivors: dict[str, str] = {}
        """Nodes of those that were there before us, until they have their room."""
        self._alarm: asyncio.TimerHandle | None = None
        self._standing: Callable[[Mapping[str, Footprint]], Iterable[Standing]] = lambda _: ()
        self._evict: Callable[[str], None] = lambda _: None
        self._decisions = Decisions()

    def serve(
        self,
        standing: Callable[[Mapping[str, Footprint]], Iterable[Standing]],
        evict: Callable[[str], None],
        decisions: Decisions,
    ) -> None:
        """From now on for this owner.

        Args:
            standing: how residents stand, asked for some of them.
            evict: makes a resident leave.
            decisions: where reasons are kept.
        """
        self._standing, self._evict, self._decisions = standing, evict, decisions

    @property
    def rules(self) -> Rules:
        """Bounds of waiting and of taking turns."""
        return self.fleet.rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self.fleet.rules = rules

    @property
    def has_gpus(self) -> bool:
        """Whether models may lie on GPUs somewhere."""
        return any(yard.node.gpus for yard in self.fleet.nodes.values())

    # Nodes come and go

    def join(self, node: Node) -> None:
        """One more node; who waits may get it."""
        self.fleet.join(node)
        self.review()

    def lose(self, node_id: str) -> tuple[str, ...]:
        """It is gone; returns who was there. Who was only promised room there is promised it elsewhere."""
        gone = self.fleet.lose(node_id)
        self.review()
        return tuple(one for one in gone if one not in self._waiting)

    def suspect(self, node_id: str, *, suspected: bool) -> None:
        """Nothing new comes to it while it is suspected."""
        self.fleet.suspect(node_id, suspected=suspected)
        self.review()

    def settled(self, deployment_id: str, node_id: str) -> None:
        """It lies there already, since before we were: there it gets its room."""
        self._survivors[deployment_id] = node_id

    @property
    def has_suspects(self) -> bool:
        """Whether some nodes may yet turn out to be alive."""
        return any(yard.health is Health.SUSPECT for yard in self.fleet.nodes.values())

    def scout(self, deployment: Deployment) -> str | None:
        """A node on which to look at its files: one with its labels, one with a GPU rather than one without."""
        fitting = [
            (not yard.node.gpus, name)
            for name, yard in self.fleet.nodes.items()
            if yard.health is Health.ALIVE
            and all(yard.node.labels.get(label) == value for label, value in deployment.labels)
        ]
        return min(fitting, default=(False, None))[1]

    def unmet(self) -> Sequence[Demand]:
        """Who waits and has been promised nothing, the longest first."""
        return [one.demand for one in self._in_order() if self.fleet.node_of(one.demand.deployment.id) is None]

    # As in `Room`

    def most(self, deployment: Deployment) -> Weight:
        """Bytes that could be set aside for it on the node that has the most."""
        del deployment
        nodes = [yard.node.capacity for yard in self.fleet.nodes.values()]
        vram = [sum(size for axis, size in node.items() if axis.startswith("vram")) for node in nodes]
        return Weight(ram=max((node["ram"] for node in nodes), default=0), vram=max(vram, default=0))

    def check(self, deployment: Deployment, weight: Weight) -> None:
        """Refuse what no node could hold with all else gone but what is pinned.

        Raises:
            InsufficientMemory: tells what is needed.
        """
        demand = Demand(deployment=deployment, weight=weight, since=0.0)
        if not self.patient and not self.fleet.could_hold(demand):
            raise InsufficientMemory(_too_big(demand))

    async def take(self, deployment: Deployment, weight: Weight, *, since: float, terms: Terms) -> Footprint:
        """Wait until there is room for it on some node, and have it there; `fleet.node_of` says where.

        Whoever leaves while waiting has to `give_back`, since the grant may have come in the same tick.

        Raises:
            InsufficientMemory: no node could ever hold it.
        """
        if deployment.id not in self._survivors:
            self.check(deployment, weight)
        demand = Demand(
            deployment=deployment, weight=weight, since=since, priority=terms.priority, evicts=terms.evicts
        )
        waiting = _Waiting(demand, asyncio.get_running_loop().create_future())
        self._waiting[deployment.id] = waiting
        try:
            self.review()
            return await waiting.granted
        finally:
            self._waiting.pop(deployment.id, None)
            self._kept_by.pop(deployment.id, None)

    def note(self, deployment_id: str) -> None:
        """One that is in memory stands otherwise than before."""
        if self.fleet.is_there(deployment_id):
            size = self.fleet.held(deployment_id).standing.size
            for standing in self._standing({deployment_id: size}):
                self.fleet.update(standing, _now())

    def kept_by(self, deployment_id: str) -> str | None:
        """What keeps one that waits for room; None when it does not."""
        return self._kept_by.get(deployment_id)

    def give_back(self, deployment_id: str) -> None:
        """Its memory is free again."""
        self.fleet.release(deployment_id)
        self.review()

    def relieve(self, grown: str) -> None:
        """Where something grew beyond its node's budget idle residents leave there, if that helps."""
        node = self.fleet.node_of(grown)
        yard = self.fleet.nodes[node] if node else None
        over = {axis: 0 for axis, left in yard.open.items() if left < 0} if yard else {}
        if yard is None or not over:
            return
        log.warning("memory_over_budget", model=grown, node=node, bytes={axis: -yard.open[axis] for axis in over})
        want = Want(id=grown, need=over, since=_now(), priority=Priority.HIGH)
        for eviction in plan([want], yard.standings(_now()), yard.open, self.rules, _now()).evictions:
            self._decisions.note(eviction.id, "evicted", f"{grown!r} grew beyond the budget.", other=grown)
            self._evict(eviction.id)

    def review(self) -> None:
        """Something changed: who waits may be promised room now, or get what was promised."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for waiting in self._in_order():
            demand = waiting.demand
            if self.fleet.node_of(demand.deployment.id) is None:
                self._promise(demand)
            node = self.fleet.node_of(demand.deployment.id)
            for granted in self.fleet.grants(node) if node else ():
                place = self.fleet.held(granted).standing.size
                self._waiting[granted].granted.set_result(place)
        if any(not one.granted.done() for one in self._waiting.values()):
            self._alarm = asyncio.get_running_loop().call_later(_LOOK_AGAIN, self.review)

    def _in_order(self) -> Sequence[_Waiting]:
        waiting = [one for one in self._waiting.values() if not one.granted.done()]
        return sorted(waiting, key=lambda one: (one.demand.since, one.demand.deployment.id))

    def _promise(self, demand: Demand) -> None:
        name = demand.deployment.id
        placement = self._before(demand) or self.fleet.ask(demand, _now())
        if placement is None:
            self._tell(name, "no node has room for it that may be made free")
            return
        self.fleet.claim(placement, demand, _now())
        self._decisions.note(name, "placed", f"On node {placement.node}.")
        for victim in placement.evictions:
            self._decisions.note(victim, "evicted", "It is worth least of what is in the way.", other=name)
            self._evict(victim)

    def _before(self, demand: Demand) -> Placement | None:
        """Where it lies already."""
        node = self._survivors.pop(demand.deployment.id, None)
        yard = self.fleet.nodes.get(node) if node else None
        ways = places(demand.deployment, demand.weight, yard.node.gpus) if yard else ()
        place = next((way for way in ways if yard and fits(way, yard.open)), None)
        return Placement(node=node, place=place) if node and place is not None else None

    def _tell(self, name: str, why: str) -> None:
        if self._kept_by.get(name) != why:
            self._kept_by[name] = why
            self._decisions.note(name, "waits", f"No room in memory: {why}.")


class _FleetLedger(ByteLedger):
    """The books of all nodes, read as one."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__({})
        self._fleet = fleet

    @property
    def capacity(self) -> Footprint:
        return _total(yard.node.capacity for yard in self._fleet.nodes.values())

    @property
    def entries(self) -> Mapping[str, Footprint]:
        yards = self._fleet.nodes.values()
        return {
            name: held.standing.size
            for yard in yards
            for name, held in yard.held.items()
            if name not in yard.claims
        }

    def free(self) -> dict[str, int]:
        return _total(yard.free for yard in self._fleet.nodes.values())

    def settle(self, deployment_id: str, size: Footprint) -> None:
        if self._fleet.is_there(deployment_id):
            standing = self._fleet.held(deployment_id).standing
            self._fleet.update(structs.replace(standing, size=size), _now())

    def release(self, deployment_id: str) -> None:
        self._fleet.release(deployment_id)

    def resize(self, capacity: Footprint) -> None:
        """Nodes have what they said when they joined."""


def _total(rooms: Iterable[Footprint]) -> dict[str, int]:
    total: dict[str, int] = {}
    for room in rooms:
        for axis, amount in room.items():
            total[axis] = total.get(axis, 0) + amount
    return total


def _too_big(demand: Demand) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in demand.deployment.labels)
    of_kind = f" with the labels {labels}" if labels else ""
    return (
        f"{demand.deployment.id!r} needs about {demand.weight.total // _MIB} MiB, and no node{of_kind} could hold "
        "that with all else evicted. Give it a smaller context or fewer slots, or add a node that can."
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
