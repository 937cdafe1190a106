"""Who has to leave so that another may come: values in, values out; no clock, no tasks, no logging.

Memory is counted on axes (`ram`, one a GPU; the number of models is one too), and a model fits when it fits
on every axis. Wants are served in the order in which they were asked for, but one that fits beside what an earlier
one waits for does not wait for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct, structs

from enginehouse.types import Priority

__all__ = [
    "HALF_LIFE",
    "QUICK",
    "RANK",
    "Eviction",
    "Footprint",
    "Plan",
    "Rules",
    "Standing",
    "Want",
    "bytes_by_pool",
    "fits",
    "plan",
    "tidy",
]

Footprint: TypeAlias = Mapping[str, int]
"""How much of each axis something takes; an axis that is not named is not touched."""

QUICK = 2.0
"""Seconds of loading below which models are not told apart by what they cost, but by how long they are unused."""

HALF_LIFE = 300.0
"""Seconds after which a request counts half as much for how much a model is in demand."""

RANK = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2}


class Want(Struct, frozen=True, kw_only=True):
    """A deployment that wants to be in memory."""

    id: str
    need: Footprint
    """Where it would rather be."""
    others: tuple[Footprint, ...] = ()
    """Where else it may be, the better place first."""
    since: float
    """When its first waiter asked, in seconds."""
    priority: Priority = Priority.NORMAL
    evicts: bool = True
    """Whether others may have to leave for it; without that it takes free room only."""


class Standing(Struct, frozen=True, kw_only=True):
    """A deployment that is in memory, or on its way in or out."""

    id: str
    size: Footprint
    priority: Priority = Priority.NORMAL
    pinned: bool = False
    busy: bool = False
    leaving: bool = False
    loading: bool = False
    ready_since: float = 0.0
    last_used: float = 0.0
    reload_seconds: float = 0.0
    """What loading it again would take."""
    demand: float = 0.0
    """Recent requests, older ones counting less."""


class Rules(Struct, frozen=True, kw_only=True):
    """Two bounds, in seconds."""

    max_wait: float
    """After this a want may drain what is busy or young."""
    min_residency: float
    """Until this has passed since it became ready a model is not evicted: two shall not take turns for nothing."""


class Eviction(Struct, frozen=True, kw_only=True):
    """Who shall leave, for whom and why."""

    id: str
    newcomer: str
    why: str


class Plan(Struct, frozen=True, kw_only=True):
    """What to do now."""

    grants: tuple[str, ...] = ()
    """Wants that may load: their room is free."""
    places: Mapping[str, Footprint] = {}
    """Where those may load that are granted another place than the one they would rather have."""
    evictions: tuple[Eviction, ...] = ()
    """Who shall leave."""
    waits: Mapping[str, str] = {}
    """Wants that nothing can be done for now, and what keeps them."""
    again_at: float | None = None
    """When time alone would change the plan."""


def fits(need: Footprint, free: Footprint) -> bool:
    """Whether there is room on every axis that is needed."""
    return all(amount <= free.get(axis, 0) for axis, amount in need.items())


def plan(wants: Sequence[Want], standing: Sequence[Standing], free: Footprint, rules: Rules, now: float) -> Plan:
    """Decide.

    Args:
        wants: in any order.
        standing: everything that takes room.
        free: room that nothing takes, by axis.
        now: seconds, on the clock of `since` and `ready_since`.
    """
    state = _State(standing, free)
    for want in sorted(wants, key=lambda want: (want.since, want.id)):
        state.serve(want, rules, now)
    return Plan(
        grants=tuple(state.grants),
        places=state.places,
        evictions=tuple(state.evictions),
        waits=state.waits,
        again_at=min(state.deadlines, default=None),
    )


def tidy(standing: Sequence[Standing], excess: Footprint, rules: Rules, now: float) -> tuple[str, ...]:
    """Who leaves so that less is taken: idle ones only, the least worth first, and no more than it takes.

    Args:
        standing: everything that takes room.
        excess: bytes too many, by pool; what is leaving already is counted as gone.
        rules: a model younger than `min_residency` stays.
        now: seconds, on the clock of `ready_since`.
    """
    left = _minus(excess, bytes_by_pool(s.size for s in standing if s.leaving))
    chosen: list[Standing] = []
    for one in sorted((s for s in standing if _is_spare(s, rules, now)), key=_worth):
        if any(left.get(pool, 0) > 0 for pool in bytes_by_pool([one.size])):
            chosen.append(one)
            left = _minus(left, bytes_by_pool([one.size]))
    # The dearest first: who turns out not to be needed stays.
    for one in reversed(tuple(chosen)):
        without = _plus(left, bytes_by_pool([one.size]))
        if all(without.get(pool, 0) <= 0 for pool in excess):
            chosen.remove(one)
            left = without
    return tuple(one.id for one in chosen)


def bytes_by_pool(sizes: Iterable[Footprint]) -> dict[str, int]:
    """Bytes by the memory they lie in: `ram.utility` is a share of `ram`; a number of models is no bytes."""
    pools: dict[str, int] = {}
    for axis, amount in _sum(sizes).items():
        if not axis.startswith("models") and amount:
            pool = axis.removesuffix(".utility")
            pools[pool] = pools.get(pool, 0) + amount
    return pools


class _State:
    """What is left while wants are served one after the other."""

    def __init__(self, standing: Sequence[Standing], free: Footprint) -> None:
        self._free = dict(free)
        self._coming = _sum(s.size for s in standing if s.leaving)
        staying = (s for s in standing if not (s.leaving or s.loading or s.pinned))
        self._staying = sorted(staying, key=_worth)
        self._fixed = [s for s in standing if s.leaving or s.loading or s.pinned]
        self.grants: list[str] = []
        self.places: dict[str, Footprint] = {}
        self.evictions: list[Eviction] = []
        self.waits: dict[str, str] = {}
        self.deadlines: list[float] = []

    def serve(self, want: Want, rules: Rules, now: float) -> None:
        if (place := _first(want, self._free)) is not None:
            self._grant(want, place)
        elif (place := _first(want, _plus(self._free, self._coming))) is not None:
            self._claim(place)
            self.waits[want.id] = "what leaves makes room for it"
        elif want.evicts and (cheapest := self._cheapest(want, rules, now)):
            place, victims = cheapest
            for victim in victims:
                self._staying.remove(victim)
                self._coming = _plus(self._coming, victim.size)
                why = _worth_told(victim, now)
                self.evictions.append(Eviction(id=victim.id, newcomer=want.id, why=why))
            self._claim(place)
            self.waits[want.id] = "what leaves makes room for it"
        else:
            self._wait(want, rules, now)

    def _grant(self, want: Want, place: Footprint) -> None:
        self.grants.append(want.id)
        if place is not want.need:
            self.places[want.id] = place
        self._free = _minus(self._free, place)

    def _cheapest(self, want: Want, rules: Rules, now: float) -> tuple[Footprint, list[Standing]] | None:
        """The place whose making costs least: where the dearest of those who leave is worth the least."""
        ways = [
            (place, victims)
            for place in _places(want)
            if (victims := self._victims(structs.replace(want, need=place, others=()), rules, now))
        ]
        return min(ways, key=lambda way: max(map(_worth, way[1])), default=None)

    def _victims(self, want: Want, rules: Rules, now: float) -> list[Standing]:
        """The cheapest set that makes room, or nothing."""
        room = {axis: self._free.get(axis, 0) + self._coming.get(axis, 0) for axis in want.need}
        chosen: list[Standing] = []
        for candidate in self._staying:
            if fits(want.need, room):
                break
            if _may_go(candidate, want, rules, now):
                chosen.append(candidate)
                _add(room, candidate.size, 1)
        if not fits(want.need, room):
            return []
        # The dearest first: who turns out not to be needed stays.
        for candidate in reversed(tuple(chosen)):
            _add(room, candidate.size, -1)
            if fits(want.need, room):
                chosen.remove(candidate)
            else:
                _add(room, candidate.size, 1)
        return chosen

    def _claim(self, need: Footprint) -> None:
        """Room that is about to come is promised to one want, and what it lacks is kept of the free room."""
        for axis, amount in need.items():
            promised = min(amount, self._coming.get(axis, 0))
            self._coming[axis] = self._coming.get(axis, 0) - promised
            self._free[axis] = self._free.get(axis, 0) - (amount - promised)

    def _wait(self, want: Want, rules: Rules, now: float) -> None:
        overdue_at = want.since + rules.max_wait
        grown_up = [s.ready_since + rules.min_residency for s in self._staying]
        self.deadlines += [at for at in (overdue_at, *grown_up) if at > now]
        in_the_way = [f"{s.id} {_obstacle(s, want, rules, now) or 'is too small'}" for s in self._staying]
        in_the_way += [f"{s.id} {_fixed(s)}" for s in self._fixed if _overlap(s, want)]
        self.waits[want.id] = "; ".join(sorted(in_the_way)) or "others asked first"
        if overdue_at <= now and want.evicts:
            # Nobody who came later may take what the overdue one is waiting for.
            kept = {axis for place in _places(want) for axis in place}
            self._free = {axis: 0 if axis in kept else left for axis, left in self._free.items()}


def _may_go(resident: Standing, want: Want, rules: Rules, now: float) -> bool:
    return _obstacle(resident, want, rules, now) is None


def _obstacle(resident: Standing, want: Want, rules: Rules, now: float) -> str | None:
    """Why a resident need not leave for a want; None when it has to, if it is chosen."""
    if not _overlap(resident, want):
        return "takes nothing of what is needed"
    if RANK[resident.priority] > RANK[want.priority]:
        return f"is of the higher class {resident.priority.value}"
    if now >= want.since + rules.max_wait:
        return None
    if resident.busy:
        return "is busy"
    if now < resident.ready_since + rules.min_residency:
        return "has only just been loaded"
    return None


def _fixed(resident: Standing) -> str:
    if resident.loading:
        return "is loading"
    return "is leaving" if resident.leaving else "is pinned"


def _overlap(resident: Standing, want: Want) -> bool:
    return any(resident.size.keys() & place.keys() for place in _places(want))


def _places(want: Want) -> tuple[Footprint, ...]:
    return (want.need, *want.others)


def _first(want: Want, room: Footprint) -> Footprint | None:
    """The best place that has room."""
    return next((place for place in _places(want) if fits(place, room)), None)


def _is_spare(resident: Standing, rules: Rules, now: float) -> bool:
    held = resident.pinned or resident.busy or resident.leaving or resident.loading
    return not held and now >= resident.ready_since + rules.min_residency


def _worth(resident: Standing) -> tuple[bool, int, float, float, str]:
    """Least first: idle, low class, cheap to bring back for what it is asked, longest unused."""
    cost = resident.reload_seconds * resident.demand if resident.reload_seconds >= QUICK else 0.0
    return resident.busy, RANK[resident.priority], cost, resident.last_used, resident.id


def _worth_told(resident: Standing, now: float) -> str:
    """The same for people."""
    how = "busy, but the newcomer has waited longer than allowed" if resident.busy else "idle"
    return (
        f"{how}; class {resident.priority.value}, {resident.reload_seconds:.3g} s to load, "
        f"demand {resident.demand:.2g}, last used {max(now - resident.last_used, 0):.3g} s ago"
    )


def _sum(sizes: Iterable[Footprint]) -> dict[str, int]:
    total: dict[str, int] = {}
    for size in sizes:
        total = _plus(total, size)
    return total


def _add(room: dict[str, int], size: Footprint, sign: int) -> None:
    """On those axes alone that the room is looked at on."""
    for axis in room:
        room[axis] += sign * size.get(axis, 0)


def _plus(one: Footprint, other: Footprint) -> dict[str, int]:
    return {axis: one.get(axis, 0) + other.get(axis, 0) for axis in {**one, **other}}


def _minus(one: Footprint, other: Footprint) -> dict[str, int]:
    return {axis: one.get(axis, 0) - other.get(axis, 0) for axis in {**one, **other}}
