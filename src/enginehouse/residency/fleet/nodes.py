"""One node of a fleet: what it has, who takes it, and how much could be had there for a newcomer."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from math import inf, log2

from msgspec import Struct, structs

from enginehouse.residency.fleet.heights import Row
from enginehouse.residency.policy import HALF_LIFE, QUICK, RANK, Footprint, Standing

__all__ = ["AXES", "Health", "Held", "Node", "Reach", "Yard", "row_of"]


class Health(StrEnum):
    """Whether a node may be chosen."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    """Something there did not answer; nothing new comes to it until it is known how it is."""
    LOST = "lost"


class Node(Struct, frozen=True, kw_only=True):
    """A machine of the fleet."""

    id: str
    host: str = ""
    """Its address, for people."""
    capacity: Footprint
    """What models may take there, by axis, as `capacity_of` says it for one machine."""
    gpus: Mapping[int, int] = {}
    """Bytes of each GPU, by index."""
    labels: Mapping[str, str] = {}
    """What it says of itself, such as `accelerator: h100`."""


class Held(Struct, frozen=True, kw_only=True):
    """A deployment that has a node, as it was when it was last looked at."""

    standing: Standing
    model: str
    node: str
    at: float
    """When it was looked at, in seconds; its demand counts less since then."""

    def as_of(self, now: float) -> Standing:
        """How the policy sees it now."""
        faded = self.standing.demand * 0.5 ** ((now - self.at) / HALF_LIFE)
        return structs.replace(self.standing, demand=faded)

    @property
    def worth(self) -> tuple[int, float, float, str]:
        """What it is worth to keep, least first, in the policy's order. All demand fades alike, so that this
        order does not change with time, and need not be made anew."""
        one = self.standing
        heat = one.reload_seconds * one.demand if one.reload_seconds >= QUICK else 0.0
        return RANK[one.priority], log2(heat) + self.at / HALF_LIFE if heat > 0 else -inf, one.last_used, one.id


class Reach(IntEnum):
    """How far one goes to make room."""

    FREE = 0
    """Nobody has to leave."""
    LEAVING = 1
    """What leaves already is waited for."""
    IDLE = 2
    """Idle ones leave too."""
    ALL = 3
    """Those that answer end what they have, and leave."""
    EMPTY = 4
    """Everybody leaves but what is pinned: all there could ever be."""


class Yard:
    """The byte ledger of one node, which may be written by the fleet alone.

    Args:
        node: what it has.
        place: its number in the fleet, by which it is indexed.
    """

    def __init__(self, node: Node, place: int) -> None:
        self.node = node
        self.place = place
        self.health = Health.ALIVE
        self.held: dict[str, Held] = {}
        """Who has room there or is promised it, by deployment id."""
        self.claims: dict[str, Footprint] = {}
        """Who is promised room, in the order of the promises: it loads when the room is free."""
        self.open = dict(node.capacity)
        """What nobody takes and nobody is promised; negative where the promised room has yet to come free."""

    @property
    def free(self) -> dict[str, int]:
        """What nobody takes, promised or not."""
        left = dict(self.open)
        for claim in self.claims.values():
            _add(left, claim)
        return left

    def standings(self, now: float) -> tuple[Standing, ...]:
        """Who takes room there, as the policy sees it; who is promised room is not there yet."""
        return tuple(one.as_of(now) for id_, one in self.held.items() if id_ not in self.claims)

    def take(self, held: Held) -> None:
        """Somebody has room from now on, or another size of it than before."""
        self.leave(held.standing.id)
        self.held[held.standing.id] = held
        _add(self.open, held.standing.size, -1)

    def leave(self, deployment_id: str) -> None:
        """Its room is free."""
        self.claims.pop(deployment_id, None)
        if (before := self.held.pop(deployment_id, None)) is not None:
            _add(self.open, before.standing.size)

    def reachable(self, reach: Reach, rank: int) -> dict[str, int]:
        """What could be had by one of this rank who goes so far."""
        if reach is Reach.EMPTY:
            room = dict(self.node.capacity)
            for held in self.held.values():
                if held.standing.pinned:
                    _add(room, held.standing.size, -1)
            return room
        room = dict(self.open)
        if reach is not Reach.FREE:
            for id_, held in self.held.items():
                if id_ not in self.claims and _goes(held.standing, reach, rank):
                    _add(room, held.standing.size)
        return room


AXES = 3
"""Of the row that `row_of` makes."""


def row_of(room: Footprint, gpus: Mapping[int, int], *, utility: bool) -> Row:
    """What there is for one kind of model: main memory; on the best GPU; on all of them together, when it is
    divided by their sizes. A node that may have no further model has nothing, so nobody looks there in vain."""
    share = ".utility" if utility else ""
    if room.get(f"models{share}", 0) < 1:
        return (-1,) * AXES
    vram = {index: max(room.get(f"vram.{index}{share}", 0), 0) for index in gpus}
    together = min((vram[index] / size for index, size in gpus.items() if size), default=0) * sum(gpus.values())
    rounding = len(gpus)
    return max(room.get(f"ram{share}", 0), -1), max(vram.values(), default=0), int(together) + rounding


def _goes(one: Standing, reach: Reach, rank: int) -> bool:
    if one.leaving or reach is Reach.LEAVING:
        return one.leaving
    if one.loading or one.pinned or RANK[one.priority] > rank:
        return False
    return reach is Reach.ALL or not one.busy


def _add(room: dict[str, int], size: Footprint, sign: int = 1) -> None:
    for axis, amount in size.items():
        room[axis] = room.get(axis, 0) + sign * amount
