"""Which node a deployment is placed on: values in, values out; no clock, no tasks, no logging.

A node that has room is taken, the emptiest that may be; nodes that hold a copy of the same model already only when
no other will do. Where none has room, those leave whose dearest is worth least, by the policy's own order; who
answers leaves only for what has waited too long, and what is pinned never does. Decisions look at a bounded number
of nodes, found in trees and heaps, and so cost of the order of log n as the fleet grows.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct, structs

from enginehouse.engines.metadata import Weight
from enginehouse.residency.fleet.heights import Row
from enginehouse.residency.fleet.kinds import Kind
from enginehouse.residency.fleet.nodes import Health, Held, Node, Reach, Yard, row_of
from enginehouse.residency.placement import is_utility, places
from enginehouse.residency.policy import RANK, Footprint, Rules, Standing, Want, fits, plan
from enginehouse.types import Deployment, Priority

__all__ = ["Demand", "Fleet", "Placement"]

_TRIED = 8
"""Most nodes on which it asks the policy who would have to leave."""
_MOST_WAYS = 3
"""To lie on one GPU, on all of a node together, in its main memory alone."""
_TOP = max(RANK.values())


class Demand(Struct, frozen=True, kw_only=True):
    """A deployment that wants a node."""

    deployment: Deployment
    """What shall be placed; its labels are what the node has to have."""
    weight: Weight
    """Bytes it takes."""
    since: float
    """When its first waiter asked, in seconds."""
    priority: Priority = Priority.NORMAL
    evicts: bool = True
    """Whether others may have to leave for it."""


class Placement(Struct, frozen=True, kw_only=True):
    """Where it shall be."""

    node: str
    place: Footprint
    """Of that node's memories."""
    evictions: tuple[str, ...] = ()
    """Who has to leave there first, beside those who do already."""


class Fleet:
    """Every node, and who is where.

    Args:
        rules: bounds of waiting and of taking turns.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._yards: dict[str, Yard] = {}
        self._kinds: dict[tuple[frozenset[tuple[str, str]], bool], Kind] = {}
        self._where: dict[str, Yard] = {}
        self._homes: dict[str, Counter[str]] = {}

    @property
    def nodes(self) -> Mapping[str, Yard]:
        """Those that are not lost, by id; to be read."""
        return self._yards

    def node_of(self, deployment_id: str) -> str | None:
        """Where it is, or will be; None when it has no node."""
        yard = self._where.get(deployment_id)
        return yard.node.id if yard else None

    def is_there(self, deployment_id: str) -> bool:
        """Whether it has room, and is not only promised it."""
        yard = self._where.get(deployment_id)
        return yard is not None and deployment_id not in yard.claims

    def held(self, deployment_id: str) -> Held:
        """Who has a node, as it was last told.

        Raises:
            KeyError: it has none.
        """
        return self._where[deployment_id].held[deployment_id]

    # Nodes come and go

    def join(self, node: Node) -> None:
        """One more node, with nobody on it."""
        assert node.id not in self._yards, "a node joins once, and comes back under another id"
        kind = self._kinds.setdefault((frozenset(node.labels.items()), bool(node.gpus)), Kind(node))
        self._yards[node.id] = kind.add(node)

    def suspect(self, node_id: str, *, suspected: bool) -> None:
        """Nothing new comes to it while it is suspected; who is there stays."""
        if (yard := self._yards.get(node_id)) is not None:
            yard.health = Health.SUSPECT if suspected else Health.ALIVE
            self._kind(yard).renew(yard)

    def lose(self, node_id: str) -> tuple[str, ...]:
        """It is no more, nor is who was on it, or was promised room there; returns who that was."""
        yard = self._yards.pop(node_id, None)
        if yard is None:
            return ()
        gone = tuple(yard.held)
        yard.health = Health.LOST
        for deployment_id in gone:
            self.release(deployment_id)
        self._kind(yard).remove(yard)
        return gone

    # Deployments come and go

    def ask(self, demand: Demand, now: float) -> Placement | None:
        """Decide; nothing is changed by it.

        Args:
            now: seconds, on the clock of `since`.

        Returns:
            None when there is no way now: everything that could leave answers, or is young, pinned or of a higher
            class, or no node has the labels.
        """
        for reach in (Reach.FREE, Reach.LEAVING):
            for avoided in self._avoided(demand):
                if (found := self._roomy(demand, reach, avoided)) is not None:
                    return found
        if demand.evicts:
            for avoided in self._avoided(demand):
                if (found := self._cheapest(demand, avoided, now)) is not None:
                    return found
        return None

    def could_hold(self, demand: Demand) -> bool:
        """Whether it would fit on some node with all else gone but what is pinned."""
        return self._roomy(demand, Reach.EMPTY, frozenset()) is not None

    def claim(self, placement: Placement, demand: Demand, now: float) -> None:
        """It shall be so: the newcomer is promised its room, and who has to leave begins to."""
        for victim in placement.evictions:
            self.update(structs.replace(self.held(victim).standing, leaving=True), now)
        yard, deployment = self._yards[placement.node], demand.deployment
        standing = Standing(id=deployment.id, size=placement.place, priority=demand.priority, loading=True)
        yard.take(Held(standing=standing, model=deployment.model, node=placement.node, at=now))
        yard.claims[deployment.id] = placement.place
        self._where[deployment.id] = yard
        self._homes.setdefault(deployment.model, Counter())[placement.node] += 1
        self._kind(yard).renew(yard)

    def grants(self, node_id: str) -> tuple[str, ...]:
        """Who of those who were promised room there may load now, since it is free; asked after every change."""
        yard = self._yards.get(node_id)
        if yard is None:
            return ()
        granted: list[str] = []
        kept: set[str] = set()
        """Axes on which an earlier one waits: nobody who was promised room later may take what it waits for."""
        for deployment_id, place in list(yard.claims.items()):
            if kept.isdisjoint(place) and fits(place, yard.free):
                granted.append(deployment_id)
                del yard.claims[deployment_id]
            else:
                kept |= place.keys()
        return tuple(granted)

    def update(self, standing: Standing, now: float) -> None:
        """How one that has a node stands now; its size may have changed."""
        held, yard = self.held(standing.id), self._where[standing.id]
        assert standing.id not in yard.claims, "who is promised room has nothing to tell yet"
        yard.take(structs.replace(held, standing=standing, at=now))
        self._kind(yard).renew(yard, standing.id)

    def release(self, deployment_id: str) -> None:
        """Its room is free, or it wants none any more."""
        yard = self._where.pop(deployment_id, None)
        if yard is None:
            return
        homes = self._homes[yard.held[deployment_id].model]
        homes[yard.node.id] -= 1
        if not homes[yard.node.id]:
            del homes[yard.node.id]
        yard.leave(deployment_id)
        self._kind(yard).renew(yard, deployment_id)

    # How it is decided

    def _avoided(self, demand: Demand) -> Iterable[AbstractSet[str]]:
        """Nodes to leave out: at first those that hold a copy, then none."""
        if homes := self._homes.get(demand.deployment.model):
            yield homes.keys()
        yield frozenset()

    def _kind(self, yard: Yard) -> Kind:
        return self._kinds[frozenset(yard.node.labels.items()), bool(yard.node.gpus)]

    def _possible(self, demand: Demand) -> Sequence[Kind]:
        """Nodes with the labels; of these, those with GPUs alone for what wants one, if there are any."""
        wanted = demand.deployment.labels
        kinds = [k for k in self._kinds.values() if k.size and k.says(wanted)]
        with_gpus = [kind for kind in kinds if kind.gpus]
        return with_gpus if demand.weight.vram and with_gpus else kinds

    def _roomy(self, demand: Demand, reach: Reach, avoided: AbstractSet[str]) -> Placement | None:
        """The emptiest node that has room, if one goes so far to make it."""
        kinds, utility = self._possible(demand), is_utility(demand.deployment)
        for number in range(_MOST_WAYS):
            found: list[tuple[int, str, Footprint]] = []
            for kind in kinds:
                ways = _ways(demand, gpus=kind.gpus)
                need, lead = ways[min(number, len(ways) - 1)]
                for yard in kind.above(utility, reach, _TOP, need, lead):
                    if yard.node.id in avoided:
                        continue
                    room = yard.reachable(reach, _TOP)
                    if (place := _first(demand, yard, room)) is not None:
                        height = row_of(room, yard.node.gpus, utility=utility)[lead]
                        found.append((-height, yard.node.id, place))
                        break
            if found:
                _, node, place = min(found, key=lambda one: one[:2])
                return Placement(node=node, place=place)
        return None

    def _cheapest(self, demand: Demand, avoided: AbstractSet[str], now: float) -> Placement | None:
        """Where the dearest of those who leave is worth least.

        Residents are looked at from the least worthy on: once a node can be had for those seen so far, no node that
        is yet to be seen can be had for less.
        """
        best: _Way | None = None
        seen: set[str] = set()
        for held in self._least(demand):
            yard = self._yards[held.node]
            fresh = held.node not in avoided and held.node not in seen and yard.health is Health.ALIVE
            if fresh and len(seen) < _TRIED:
                seen.add(held.node)
                best = _cheaper(best, self._way(demand, yard, now))
            if best is not None and best.price <= (False, held.worth):
                break
        if best is not None:
            return best.placement
        overdue = now >= demand.since + self.rules.max_wait
        for reach in (Reach.IDLE, Reach.ALL) if overdue else (Reach.IDLE,):
            for yard in self._reached(demand, reach, avoided):
                best = _cheaper(best, self._way(demand, yard, now))
            if best is not None:
                return best.placement
        return None

    def _least(self, demand: Demand) -> Sequence[Held]:
        """The least worthy of those that might leave for it, the least first."""
        utility, rank = is_utility(demand.deployment), RANK[demand.priority]
        found = [one for kind in self._possible(demand) for one in kind.least(utility)]
        return sorted((one for one in found if RANK[one.standing.priority] <= rank), key=lambda one: one.worth)

    def _reached(self, demand: Demand, reach: Reach, avoided: AbstractSet[str]) -> Iterator[Yard]:
        """Nodes where so much could be had, those with the most of it first; no more than are looked at."""
        rank, utility = RANK[demand.priority], is_utility(demand.deployment)
        left = _TRIED
        for kind in self._possible(demand):
            for need, lead in _ways(demand, gpus=kind.gpus):
                for yard in kind.above(utility, reach, rank, need, lead):
                    if yard.node.id not in avoided:
                        yield yard
                    if not (left := left - 1):
                        return

    def _way(self, demand: Demand, yard: Yard, now: float) -> "_Way | None":
        """Whom the policy would let leave on one node; None when that is not enough."""
        room = yard.reachable(Reach.ALL, RANK[demand.priority])
        possible = [place for place in _places(demand, yard) if fits(place, room)]
        if not possible:
            return None
        need, *others = possible
        want = Want(
            id=demand.deployment.id,
            need=need,
            others=tuple(others),
            since=demand.since,
            priority=demand.priority,
        )
        victims = tuple(e.id for e in plan([want], yard.standings(now), yard.open, self.rules, now).evictions)
        if not victims:
            return None
        room = yard.reachable(Reach.LEAVING, _TOP)
        for victim in victims:
            for axis, amount in yard.held[victim].standing.size.items():
                room[axis] = room.get(axis, 0) + amount
        place = _first(demand, yard, room)
        assert place is not None, "the policy lets nobody leave in vain"
        price = max((yard.held[victim].standing.busy, yard.held[victim].worth) for victim in victims)
        return _Way(placement=Placement(node=yard.node.id, place=place, evictions=victims), price=price)


class _Way(Struct, frozen=True):
    """One way to make room, and what the dearest of those who leave is worth."""

    placement: Placement
    price: tuple[bool, tuple[int, float, float, str]]


def _ways(demand: Demand, *, gpus: bool) -> Sequence[tuple[Row, int]]:
    """What a node has to have at the least, the better way first, and which axis matters: on one GPU, on all of
    them together, in main memory alone."""
    weight = demand.weight
    without = ((weight.total, 0, 0), 0)
    if not (gpus and weight.vram):
        return (without,)
    if weight.fixed:
        return (((weight.ram, 0, 0), 1),)  # its flags divide it as they like, which no row foresees
    together = ((weight.ram, 0, weight.vram), 2)
    alone = ((weight.ram, weight.vram, 0), 1)
    return (alone, together, without) if is_utility(demand.deployment) else (alone, together)


def _places(demand: Demand, yard: Yard) -> tuple[Footprint, ...]:
    return places(demand.deployment, demand.weight, yard.node.gpus)


def _first(demand: Demand, yard: Yard, room: Footprint) -> Footprint | None:
    return next((place for place in _places(demand, yard) if fits(place, room)), None)


def _cheaper(one: _Way | None, other: _Way | None) -> _Way | None:
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda way: way.price)
