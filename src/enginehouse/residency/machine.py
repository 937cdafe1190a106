"""What the machine has and what is taken of it: main memory, and GPUs where NVIDIA's driver tells of them."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, TypeVar

import psutil
import structlog
from msgspec import Struct

__all__ = ["Driver", "Gpu", "Machine", "Memory", "ThisMachine", "open_driver", "this_machine"]

log = structlog.get_logger()

T = TypeVar("T")


class Memory(Struct, frozen=True, kw_only=True):
    """Bytes of one kind of memory at one instant."""

    total: int
    available: int
    """What could still be had, whoever has the rest."""

    @property
    def used(self) -> int:
        """What is taken by anybody."""
        return self.total - self.available


class Gpu(Struct, frozen=True, kw_only=True):
    """One GPU that engines may use."""

    index: int
    """As NVIDIA's tools number it: by its place on the bus."""
    name: str
    memory: Memory


class Machine(Protocol):
    """Where models run."""

    def ram(self) -> Memory:
        """Main memory now."""
        ...

    def gpus(self) -> Sequence[Gpu]:
        """The GPUs that engines may use, and their memory now; by index."""
        ...

    def on_gpus(self, pid: int) -> Mapping[int, int]:
        """Bytes a process takes on GPUs, by index; a GPU where nobody can tell is left out."""
        ...


class ThisMachine:
    """The machine this runs on. Without NVIDIA's driver, or the package that asks it, it has no GPUs.

    Args:
        visible: indices of the GPUs that may be used; empty means all.
        driver: what tells of GPUs, if there is one.
    """

    def __init__(self, visible: Sequence[int], driver: "Driver | None") -> None:
        self._driver = driver
        self._visible = frozenset(visible)

    def ram(self) -> Memory:
        """As the system tells it."""
        memory = psutil.virtual_memory()
        return Memory(total=memory.total, available=memory.available)

    def gpus(self) -> Sequence[Gpu]:
        """As the driver tells them."""
        found = self._driver.gpus() if self._driver else ()
        return [gpu for gpu in found if not self._visible or gpu.index in self._visible]

    def on_gpus(self, pid: int) -> Mapping[int, int]:
        """As the driver tells it; in a container it may not know the process by this number."""
        return self._driver.used_by(pid) if self._driver else {}


def this_machine(devices: Sequence[int], environ: Mapping[str, str], nvml: Any = None) -> ThisMachine:
    """This one, with the GPUs that engines may see: those of the settings, else those of our own environment.

    An environment that names them by anything but their numbers hides them from us: then GPUs are not counted.

    Args:
        devices: indices from the settings; empty when they say nothing.
        environ: where `CUDA_VISIBLE_DEVICES` may be.
        nvml: what `open_driver` asks.
    """
    visible = _visible(devices, environ.get("CUDA_VISIBLE_DEVICES"))
    return ThisMachine((), None) if visible is None else ThisMachine(visible, open_driver(nvml))


def _visible(devices: Sequence[int], named: str | None) -> Sequence[int] | None:
    """Indices; empty means all, None means none."""
    if devices or named is None:
        return devices
    parts = [part.strip() for part in named.split(",")]
    return [int(part) for part in parts] if all(map(str.isdecimal, parts)) else None


def open_driver(nvml: Any = None) -> "Driver | None":
    """NVIDIA's driver, or None where there is none, or nothing to ask it with."""
    try:
        nvml = nvml or import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.debug("no_gpus", reason=str(error))
        return None
    return Driver(nvml)


class Driver:
    """NVML, through a library without types: `nvml` is that module."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml

    def gpus(self) -> Sequence[Gpu]:
        """Every GPU that answers."""
        return [gpu for index in self._indices() if (gpu := self._asked(index, self._describe)) is not None]

    def used_by(self, pid: int) -> Mapping[int, int]:
        """Bytes of one process, by GPU."""
        used = {index: self._asked(index, lambda gpu: self._used(gpu, pid)) for index in self._indices()}
        return {index: amount for index, amount in used.items() if amount}

    def _describe(self, index: int) -> Gpu:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        name = str(self._nvml.nvmlDeviceGetName(handle))
        return Gpu(index=index, name=name, memory=Memory(total=int(memory.total), available=int(memory.free)))

    def _used(self, index: int, pid: int) -> int:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        processes: Sequence[Any] = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        return sum(int(one.usedGpuMemory or 0) for one in processes if one.pid == pid)

    def _indices(self) -> range:
        return range(self._asked(0, lambda _: int(self._nvml.nvmlDeviceGetCount())) or 0)

    def _asked(self, index: int, question: Callable[[int], T]) -> T | None:
        """The answer, or None while the driver is in trouble, which must not stop what runs without it."""
        try:
            return question(index)
        except self._nvml.NVMLError as error:
            log.warning("gpu_not_readable", gpu=index, error=str(error))
            return None
