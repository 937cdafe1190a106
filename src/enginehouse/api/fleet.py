"""The fleet for admins and for Prometheus: its nodes, their memory, what is placed where, who waits for room."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric

from enginehouse.residency.fleet.nodes import Health
from enginehouse.residency.fleet.replica import FleetLauncher
from enginehouse.residency.fleet.views import NodeView, Stage
from enginehouse.telemetry.metrics import Reader, gauge
from enginehouse.types import Principal

__all__ = ["fleet_metrics", "fleet_of"]

_SHOWN = (Health.ALIVE, Health.SUSPECT)


def fleet_of(fleet: FleetLauncher | None, principal: Principal) -> dict[str, Any]:
    """The field `fleet` of `/v1/status`: what admins are told where there is one, as it was some seconds ago."""
    if fleet is None or principal.role != "admin":
        return {}
    sight = fleet.sight
    told: dict[str, Any] = {"owner": "up" if sight.away is None else "away", "detail": sight.away}
    if sight.view is not None:
        ago = asyncio.get_running_loop().time() - sight.at
        told = {**told, "seen_seconds_ago": round(ago, 1), **msgspec.to_builtins(sight.view)}
    return {"fleet": told}


def fleet_metrics(fleet: FleetLauncher) -> Reader:
    """How it is; every replica says the same."""

    def read() -> Iterator[Metric]:
        sight = fleet.sight
        answers = sight.away is None and sight.view is not None
        yield gauge("enginehouse_fleet_owner_up", "Whether the owner of the fleet answers", answers)
        if sight.view is not None:
            waiting = len(sight.view.waiting)
            yield gauge("enginehouse_fleet_waiting", "Copies of models that wait for room on a node", waiting)
            yield from _nodes(sight.view.nodes)

    return read


def _nodes(nodes: Sequence[NodeView]) -> Iterator[Metric]:
    count = GaugeMetricFamily("enginehouse_fleet_nodes", "Nodes, by how they are", labels=["health"])
    health = Counter(node.health for node in nodes)
    for one in _SHOWN:
        count.add_metric([one.value], health[one])
    placed = GaugeMetricFamily("enginehouse_fleet_placed", "Copies of models on nodes", labels=["stage"])
    stages = Counter(copy.stage for node in nodes for copy in node.placed)
    for stage in Stage:
        placed.add_metric([stage.value], stages[stage])
    yield from (count, placed, *_memories(nodes))


def _memories(nodes: Sequence[NodeView]) -> Iterator[Metric]:
    labels = ["node", "host", "memory"]
    budget = GaugeMetricFamily("enginehouse_fleet_node_memory_bytes", "Bytes that models may take", labels=labels)
    free = GaugeMetricFamily("enginehouse_fleet_node_free_bytes", "Bytes of them that none takes", labels=labels)
    for node in nodes:
        for name, memory in node.memory.items():
            budget.add_metric([node.id, node.host, name], memory.budget)
            free.add_metric([node.id, node.host, name], memory.free)
    yield from (budget, free)
