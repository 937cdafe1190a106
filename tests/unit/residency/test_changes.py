"""What residency tells of state changes, and the small verbs beside lease, load and unload."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from enginehouse.errors import ModelLoadFailed, ShuttingDown
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeLauncher, simulate
from enginehouse.types import Deployment, EngineName, Kind, ResidentState

A = Deployment(id="a", model="a", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER)


@asynccontextmanager
async def observed(launcher, **settings):
    told = []
    launchers = {EngineName.LLAMA_SERVER: launcher}
    async with Residency(launchers, ResidencySettings(**settings), on_change=told.append) as house:
        yield house, told


def states(told):
    return [status.state.value for status in told]


def test_every_change_is_told_once_and_whole():
    async def main():
        async with observed(FakeLauncher(load_seconds=2)) as (house, told):
            await house.load(A)
            await house.unload("a")
        assert states(told) == ["loading", "ready", "draining", "off"]
        assert told[1].load_seconds == pytest.approx(2)
        assert [(status.leases, status.waiting) for status in told] == [(0, 1), (1, 0), (0, 0), (0, 0)]
        assert {status.id for status in told} == {"a"}

    simulate(main())


def test_a_failure_is_told_with_its_reason_and_the_next_life_without():
    async def main():
        launcher = FakeLauncher(failure=ModelLoadFailed("bad magic"))
        async with observed(launcher) as (house, told):
            with pytest.raises(ModelLoadFailed):
                await house.load(A)
            launcher.failure = None
            await asyncio.sleep(60)
            await house.load(A)
            assert [status.error for status in told] == [None, "bad magic", None, None]
            assert states(told) == ["loading", "failed", "loading", "ready"]

    simulate(main())


def test_reset_forgets_a_failure_and_leaves_all_else():
    async def main():
        launcher = FakeLauncher(failure=ModelLoadFailed("bad magic"))
        async with observed(launcher) as (house, told):
            house.reset("a")  # never heard of: nothing happens
            with pytest.raises(ModelLoadFailed):
                await house.load(A)
            house.reset("a")
            assert house.status(A).state is ResidentState.OFF
            assert house.status(A).error is None
            assert states(told)[-1] == "off"
            launcher.failure = None
            await house.load(A)
            house.reset("a")
            assert house.status(A).state is ResidentState.READY

    simulate(main())


def test_load_soon_loads_for_nobody_and_keeps_its_failure_in_the_status():
    async def main():
        launcher = FakeLauncher()
        async with observed(launcher) as (house, _):
            house.load_soon(A)
            await asyncio.sleep(2)
            assert house.status(A).state is ResidentState.READY
            assert house.status(A).leases == 0
            await house.unload("a")
            launcher.failure = ModelLoadFailed("bad magic")
            house.load_soon(A)
            await asyncio.sleep(2)
            assert house.status(A).error == "bad magic"

    simulate(main())


def test_load_soon_while_it_drains_loads_it_again():
    async def main():
        launcher = FakeLauncher(unload_seconds=5)
        async with observed(launcher) as (house, _):
            await house.load(A)
            async with asyncio.TaskGroup() as group:
                group.create_task(house.unload("a"))
                await asyncio.sleep(1)
                house.load_soon(A)
            await asyncio.sleep(10)
            assert house.status(A).state is ResidentState.READY

    simulate(main())


def test_a_load_for_nobody_does_not_hold_up_the_end():
    async def main():
        async with observed(FakeLauncher(load_seconds=1000)) as (house, _):
            house.load_soon(A)
            await asyncio.sleep(1)
        assert asyncio.get_running_loop().time() == pytest.approx(1)
        with pytest.raises(ShuttingDown):
            house.load_soon(A)

    simulate(main())


def test_the_engine_is_there_while_it_is_loaded_and_its_words_stay():
    async def main():
        launcher = FakeLauncher()
        async with observed(launcher) as (house, _):
            assert house.engine("a") is None
            await house.load(A)
            assert house.engine("a") is launcher.engine
            launcher.watchers["a"].printed(["one", "two"])
            await house.unload("a")
            assert house.engine("a") is None
            assert [entry.event for entry in house.log("a").recent()] == ["one", "two"]

    simulate(main())
