"""The fleet for people: its nodes, how much of their memory is free, and how what is placed on them stands."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from enginehouse.residency.fleet.nodes import Health, Held, Yard
from enginehouse.residency.fleet.placement import Fleet
from enginehouse.residency.policy import bytes_by_pool

__all__ = ["FleetView", "MemoryView", "NodeView", "PlacedView", "Stage", "Surveyed", "viewed"]


class Stage(StrEnum):
    """How something stands on its node."""

    PROMISED = "promised"
    """Its room has yet to come free."""
    LOADING = "loading"
    READY = "ready"
    RECALLED = "recalled"
    """Its room is wanted back: it takes no new requests, ends what it has, and leaves."""


class MemoryView(Struct, frozen=True, kw_only=True):
    """One memory of a node, in bytes."""

    budget: int
    """What models may take."""
    free: int
    """What none of them takes; negative where one grew beyond it."""


class PlacedView(Struct, frozen=True, kw_only=True):
    """One copy of a model on a node."""

    id: str
    model: str
    stage: Stage
    memory: Mapping[str, int]
    """Bytes by memory: `ram`, `vram.0`."""


class NodeView(Struct, frozen=True, kw_only=True):
    """A node that counts as alive."""

    id: str
    host: str
    health: Health
    labels: Mapping[str, str]
    memory: Mapping[str, MemoryView]
    """By memory: `ram`, and one for each GPU."""
    placed: tuple[PlacedView, ...]


class FleetView(Struct, frozen=True, kw_only=True):
    """All of it, at one instant."""

    nodes: tuple[NodeView, ...]
    replicas: int
    """How many were heard of lately."""
    waiting: tuple[str, ...]
    """Who waits for room and has been promised none, the longest first."""


class Surveyed(Struct, frozen=True, kw_only=True):
    """A node that counts as alive, and what was found there by whoever looks for mistakes."""

    host: str
    labels: Mapping[str, str] = {}
    ram: int = 0
    """Bytes it has for engines."""
    takes_engines: bool = True
    """Whether it is not left alone for its label, or for having no memory to give."""
    version: str | None = None
    """Of Enginehouse there; None when it could not be asked."""
    niceness: int = 0
    """At which what Ray starts there runs."""
    fault: str = ""
    """Why it could not be asked."""


def viewed(fleet: Fleet) -> tuple[NodeView, ...]:
    """Every node, as it stands now."""
    return tuple(_node(yard) for yard in fleet.nodes.values())


def _node(yard: Yard) -> NodeView:
    budget, free = bytes_by_pool([yard.node.capacity]), bytes_by_pool([yard.free])
    return NodeView(
        id=yard.node.id,
        host=yard.node.host,
        health=yard.health,
        labels=yard.node.labels,
        memory={pool: MemoryView(budget=most, free=free.get(pool, 0)) for pool, most in budget.items()},
        placed=tuple(_placed(held, promised=name in yard.claims) for name, held in yard.held.items()),
    )


def _placed(held: Held, *, promised: bool) -> PlacedView:
    one = held.standing
    return PlacedView(
        id=one.id, model=held.model, stage=_stage(held, promised=promised), memory=bytes_by_pool([one.size])
    )


def _stage(held: Held, *, promised: bool) -> Stage:
    if promised:
        return Stage.PROMISED
    if held.standing.leaving:
        return Stage.RECALLED
    return Stage.LOADING if held.standing.loading else Stage.READY
