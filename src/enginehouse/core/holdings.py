"""What each model holds of the machine's memory and how it is used, all of its copies taken together."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from enginehouse.core.copies import Copies, copies_of
from enginehouse.residency.figures import Figures
from enginehouse.residency.machine import Gpu, Machine, Memory
from enginehouse.residency.manager import Residency, ResidentStatus
from enginehouse.residency.policy import bytes_by_pool
from enginehouse.types import Model

__all__ = ["Holding", "Holdings"]


class Holding(Struct, frozen=True, kw_only=True):
    """One model's."""

    status: ResidentStatus
    pools: Mapping[str, int]
    """Bytes by memory: `ram`, `vram.0`, …; empty when it holds none."""
    usual: int
    """Bytes it holds, or held the last time it was measured; 0 when nobody knows."""
    figures: Figures

    @property
    def bytes(self) -> int:
        """All it holds."""
        return sum(self.pools.values())

    @property
    def is_held(self) -> bool:
        """Whether it holds any memory here."""
        return self.bytes > 0


class Holdings:
    """Reads the ledger, the figures and the machine; writes nothing.

    Args:
        residency: who holds what.
        copies: which deployments a model has.
        machine: what there is.
    """

    def __init__(self, residency: Residency, copies: Copies, machine: Machine) -> None:
        self._residency = residency
        self._copies = copies
        self._machine = machine

    def of(self, model: Model) -> Holding:
        """One model's."""
        copies = copies_of(model)
        entries = self._residency.memory.entries
        pools = bytes_by_pool(entries[copy.id] for copy in copies if copy.id in entries)
        return Holding(
            status=self._copies.status(model),
            pools=pools,
            usual=sum(pools.values()) or self._residency.known_bytes(model.deployments[0]),
            figures=Figures.sum(self._residency.figures(copy.id) for copy in copies),
        )

    def figures(self, models: Iterable[Model]) -> Figures:
        """Of some models together."""
        return Figures.sum(self.of(model).figures for model in models)

    def taken(self) -> Mapping[str, int]:
        """Bytes by memory that anything of ours takes, or has room reserved in."""
        return bytes_by_pool(self._residency.memory.entries.values())

    def budget(self) -> Mapping[str, int]:
        """Bytes by memory that models may take."""
        return bytes_by_pool([self._residency.memory.capacity])

    def free(self) -> int:
        """Bytes that models may still take without one of them leaving."""
        free = self._residency.memory.free()
        return sum(bytes_by_pool([{axis: max(left, 0) for axis, left in free.items()}]).values())

    def ram(self) -> Memory:
        """Main memory now, whoever takes it."""
        return self._machine.ram()

    def gpus(self) -> Sequence[Gpu]:
        """The GPUs now, whoever uses them."""
        return self._machine.gpus()
