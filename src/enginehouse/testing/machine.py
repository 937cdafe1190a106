"""A machine with as much memory and as many GPUs as a test wants."""

from collections.abc import Mapping, Sequence

from enginehouse.residency.machine import Gpu, Memory

__all__ = ["FakeMachine"]


class FakeMachine:
    """Satisfies `Machine`.

    Args:
        ram: bytes of main memory.
        gpus: bytes of each GPU.
    """

    def __init__(self, ram: int, gpus: Sequence[int] = ()) -> None:
        self.total = ram
        self.used = 0
        """Bytes of main memory that somebody takes."""
        self.gpu_totals = tuple(gpus)
        self.processes: dict[int, Mapping[int, int]] = {}
        """Bytes on GPUs by index, by process."""

    def ram(self) -> Memory:
        """As told."""
        return Memory(total=self.total, available=self.total - self.used)

    def gpus(self) -> Sequence[Gpu]:
        """As told, less what the processes take."""
        return [
            Gpu(index=index, name=f"GPU {index}", memory=Memory(total=total, available=total - self._taken(index)))
            for index, total in enumerate(self.gpu_totals)
        ]

    def on_gpus(self, pid: int) -> Mapping[int, int]:
        """As told."""
        return self.processes.get(pid, {})

    def _taken(self, index: int) -> int:
        return sum(used.get(index, 0) for used in self.processes.values())
