"""What residency adds: to a request on a loaded model, to a cold load, and to a swap of two models.

The loads are those of the bundled engine with the default chat model; each is timed beside the launcher alone, in
turns, so that what disturbs the machine disturbs both.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from time import perf_counter

from msgspec import Struct

from bench.engine import chat_deployment, chat_launcher
from enginehouse.core.admission import Admission
from enginehouse.residency.launchers.llama import LlamaLauncher
from enginehouse.residency.manager import Residency
from enginehouse.residency.resident import Resident
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings
from enginehouse.testing import FakeLauncher
from enginehouse.types import Deployment, EngineName

__all__ = ["Turnover", "turnover"]

_WARM = 20_000
_A, _B = (chat_deployment(name, 512) for name in "ab")


class Turnover(Struct, frozen=True, kw_only=True):
    """Medians."""

    lease_microseconds: float
    """A lease on what is loaded, taken and given back."""
    seat_microseconds: float
    """The same with a slot before it."""
    load_seconds: float
    """The engine's own: files found, process started, answering."""
    load_added_milliseconds: float
    swap_seconds: float
    """One engine stopped and the other started, by the launcher alone."""
    swap_added_milliseconds: float


async def turnover(rounds: int) -> Turnover:
    """All of it; the loads so many times."""
    launcher = chat_launcher()
    alone, ours, stops, swaps = [list[float]() for _ in range(4)]
    for _ in range(rounds):
        load, stop = await _alone(launcher)
        alone.append(load)
        stops.append(stop)
        cold, swap = await _through_residency(launcher)
        ours.append(cold)
        swaps.append(swap)
    bare_swaps = [load + stop for load, stop in zip(alone, stops, strict=True)]
    return Turnover(
        lease_microseconds=await _warm(with_slot=False),
        seat_microseconds=await _warm(with_slot=True),
        load_seconds=median(alone),
        load_added_milliseconds=_added(ours, alone),
        swap_seconds=median(bare_swaps),
        swap_added_milliseconds=_added(swaps, bare_swaps),
    )


async def _alone(launcher: LlamaLauncher) -> tuple[float, float]:
    """Seconds to load and to stop without residency."""
    watcher = Resident()
    began = perf_counter()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(launcher.load(_A, watcher))
        loaded = perf_counter()
    return loaded - began, perf_counter() - loaded


async def _through_residency(launcher: LlamaLauncher) -> tuple[float, float]:
    """Seconds until a cold model can be used, and until the one that has to make room for it can."""
    settings = ResidencySettings(max_models=1, min_residency=0)
    async with Residency({EngineName.LLAMA_SERVER: launcher}, settings) as residency:
        began = perf_counter()
        async with residency.lease(_A):
            cold = perf_counter() - began
        began = perf_counter()
        async with residency.lease(_B):
            return cold, perf_counter() - began


async def _warm(*, with_slot: bool) -> float:
    async with _loaded() as (residency, admission, deployment):
        taken: list[float] = []
        for _ in range(_WARM):
            began = perf_counter()
            async with AsyncExitStack() as stack:
                if with_slot:
                    await stack.enter_async_context(admission.slot(deployment))
                await stack.enter_async_context(residency.lease(deployment))
            taken.append(perf_counter() - began)
    return median(taken) * 1e6


@asynccontextmanager
async def _loaded() -> AsyncGenerator[tuple[Residency, Admission, Deployment]]:
    launchers = {EngineName.LLAMA_SERVER: FakeLauncher(load_seconds=0)}
    async with Residency(launchers, ResidencySettings()) as residency:
        await residency.load(_A)
        yield residency, Admission(AdmissionSettings()), _A


def _added(ours: list[float], bare: list[float]) -> float:
    return median(mine - theirs for mine, theirs in zip(ours, bare, strict=True)) * 1000
