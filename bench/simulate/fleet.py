"""All nodes: where a model shall be loaded, and what becomes of it when a node is lost."""

from collections.abc import Callable, Sequence
from zlib import crc32

from bench.simulate.agenda import Agenda
from bench.simulate.node import Node, Resident
from bench.simulate.orders import Order
from bench.simulate.world import Machine, Ware
from enginehouse.residency.memory import capacity_of
from enginehouse.residency.placement import places
from enginehouse.residency.policy import Footprint, Rules, fits
from enginehouse.settings.schema import ResidencySettings

__all__ = ["Fleet"]


class Fleet:
    """Nodes side by side, each with a ledger of its own.

    Args:
        machines: what each node has.
        settings: the service's own; limits of memory, waiting and taking turns.
        order: who leaves first.
        changed: called when a resident has become ready or is off again.
        decided: called after each decision with the number of models it made leave.
    """

    def __init__(
        self,
        machines: Sequence[Machine],
        settings: ResidencySettings,
        order: Order,
        agenda: Agenda,
        *,
        changed: Callable[[Resident], None],
        decided: Callable[[int], None],
    ) -> None:
        rules = Rules(max_wait=settings.max_wait, min_residency=settings.min_residency)
        self._machines = machines
        self._capacities = [capacity_of(settings, machine.ram, machine.gpus) for machine in machines]
        self.nodes = [
            Node(capacity, rules, order, agenda, changed=changed, decided=decided)
            for capacity in self._capacities
        ]

    def load(self, resident: Resident, ware: Ware) -> bool:
        """Let it come into memory somewhere; False when it fits on no node that is there."""
        for number in self._order_of(resident):
            node = self.nodes[number]
            if node.alive and (ways := self._ways(number, ware)):
                node.want(resident, ways)
                return True
        return False

    def lose(self, number: int) -> list[Resident]:
        """A node is gone; who was there, off now."""
        return self.nodes[number].lose()

    def bring_back(self, number: int) -> None:
        """It is there again, empty."""
        self.nodes[number].alive = True

    def _order_of(self, resident: Resident) -> Sequence[int]:
        start = crc32(resident.id.encode()) % len(self.nodes)
        return [*range(start, len(self.nodes)), *range(start)]

    def _ways(self, number: int, ware: Ware) -> tuple[Footprint, ...]:
        """How it could lie on a node with all else gone."""
        ways = places(ware.deployment, ware.weight, self._machines[number].gpus)
        return tuple(way for way in ways if fits(way, self._capacities[number]))
