"""What the driver is asked, and what becomes of its answers; the driver itself is a fake."""

from types import SimpleNamespace

import pytest

from enginehouse.residency.machine import ThisMachine, open_driver, this_machine


class Trouble(Exception):
    pass


class FakeNvml:
    """As much of the library as is asked."""

    NVMLError = Trouble

    def __init__(self, *, there=True, lost=()):
        self.there, self.lost = there, set(lost)
        self.processes = {0: [(7, 100), (8, 30)], 1: [(7, None), (9, 50)], 2: [(7, 20), (7, 5)]}

    def nvmlInit(self):  # noqa: N802
        if not self.there:
            raise Trouble("no driver")

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 3

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if index in self.lost:
            raise Trouble("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(total=1000 * (handle + 1), free=900)

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return f"Card {handle}"

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes[handle]]


def machine(visible=(), **given):
    return ThisMachine(visible, open_driver(FakeNvml(**given)))


def test_the_gpus_and_their_memory():
    gpus = machine().gpus()
    assert [(gpu.index, gpu.name, gpu.memory.total, gpu.memory.used) for gpu in gpus] == [
        (0, "Card 0", 1000, 100),
        (1, "Card 1", 2000, 1100),
        (2, "Card 2", 3000, 2100),
    ]


def test_only_those_that_may_be_used():
    assert [gpu.index for gpu in machine([2, 0, 5]).gpus()] == [0, 2]


@pytest.mark.parametrize(
    ("devices", "environ", "seen"),
    [
        ((), {}, [0, 1, 2]),
        ((1,), {}, [1]),
        ((), {"CUDA_VISIBLE_DEVICES": "2, 0"}, [0, 2]),
        ((1,), {"CUDA_VISIBLE_DEVICES": "2,0"}, [1]),
        ((), {"CUDA_VISIBLE_DEVICES": ""}, []),
        ((), {"CUDA_VISIBLE_DEVICES": "GPU-8f2c"}, []),
    ],
)
def test_the_settings_say_which_may_be_used_and_else_the_environment(devices, environ, seen):
    assert [gpu.index for gpu in this_machine(devices, environ, FakeNvml()).gpus()] == seen


def test_what_one_process_takes_and_nothing_where_nobody_can_tell():
    assert machine().on_gpus(7) == {0: 100, 2: 25}
    assert machine().on_gpus(1) == {}


def test_a_gpu_in_trouble_does_not_hide_the_others():
    assert [gpu.index for gpu in machine(lost=[1]).gpus()] == [0, 2]
    assert machine(lost=[0]).on_gpus(7) == {2: 25}


def test_without_a_driver_there_are_none():
    assert machine(there=False).gpus() == []
    assert machine(there=False).on_gpus(7) == {}


def test_the_memory_of_this_machine():
    memory = machine(there=False).ram()
    assert 0 < memory.used < memory.total
