"""What a long line costs: decisions a second, and memory of one who waits."""

import asyncio
import gc
import tracemalloc
from itertools import cycle, islice, product
from time import perf_counter

from msgspec import Struct

from enginehouse.core.admission import Admission
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.types import Deployment, EngineName, Kind, Priority

__all__ = ["LineCost", "line_cost"]

_TENANTS = tuple(f"tenant-{number}" for number in range(100))
_DEPLOYMENT = Deployment(id="m", model="m", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER)


class LineCost(Struct, frozen=True, kw_only=True):
    """A line of so many, from the first who ends to the last who has been let in."""

    waiters: int
    decisions_per_second: float
    """Including each waiter's own task, which wakes, takes its slot and gives it back."""
    bytes_per_waiter: float
    """Its task, coroutine, future, timer, ticket and place in the line."""


def line_cost(waiters: int, rounds: int = 5) -> LineCost:
    """The best of several rounds, since all that disturbs only adds; memory is measured in one of its own."""
    tracemalloc.start()
    held, _ = asyncio.run(_line(waiters))
    tracemalloc.stop()
    seconds = min(asyncio.run(_line(waiters))[1] for _ in range(rounds))
    return LineCost(waiters=waiters, decisions_per_second=waiters / seconds, bytes_per_waiter=held / waiters)


async def _line(waiters: int) -> tuple[int, float]:
    """Bytes held while all wait, and seconds until all have run."""
    admission = Admission(AdmissionSettings(max_queue_size=waiters))
    callers = islice(cycle(product(Priority, _TENANTS)), waiters)
    async with asyncio.TaskGroup() as tasks, admission.slot(_DEPLOYMENT):
        before = _held()
        for priority, tenant in callers:
            tasks.create_task(_wait(admission, priority, tenant))
        await asyncio.sleep(0)
        held = _held() - before
        started = perf_counter()
    return held, perf_counter() - started


async def _wait(admission: Admission, priority: Priority, tenant: str) -> None:
    async with admission.slot(_DEPLOYMENT, priority=priority, tenant=tenant):
        pass


def _held() -> int:
    if not tracemalloc.is_tracing():
        return 0
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
