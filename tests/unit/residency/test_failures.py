"""The failure rules that need no process, on a simulated clock: wedged engines, memory that runs out at load."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from enginehouse.errors import InsufficientMemory, ModelLoadFailed, OutOfMemory
from enginehouse.residency.base import Loaded, Terms
from enginehouse.residency.manager import Residency
from enginehouse.residency.memory import Footprints
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeEngine, FakeLauncher, simulate
from enginehouse.types import Deployment, EngineName, Kind, ResidentState

MIB = 1024 * 1024
BUDGET = 1000 * MIB


def deployment(name):
    return Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, flags=("--alias", name))


A, B, C = deployment("a"), deployment("b"), deployment("c")


class Listening(FakeEngine):
    """An engine whose silence the test writes down: the time since when it owes an answer, or None."""

    owing_since: float | None = None

    @property
    def silence(self):
        return 0.0 if self.owing_since is None else asyncio.get_running_loop().time() - self.owing_since


class Hungry(FakeLauncher):
    """Runs out of memory so many times for the models that are named."""

    def __init__(self, weights, failures):
        super().__init__(weights=weights)
        self.failures = failures

    @asynccontextmanager
    async def load(self, deployment, watcher):
        async with super().load(deployment, watcher) as loaded:
            if self.failures.get(deployment.id, 0):
                self.failures[deployment.id] -= 1
                raise OutOfMemory("cudaMalloc failed: out of memory")
            yield Loaded(engine=loaded.engine)


@asynccontextmanager
async def house_of(launcher, footprints=None, **given):
    how = {"max_memory_usage": 1, "utility_share": 0, "vram_multiplier": 1, "idle_timeout": 0, **given}
    launchers = {EngineName.LLAMA_SERVER: launcher}
    async with Residency(launchers, ResidencySettings(**how), ram=BUDGET, footprints=footprints) as house:
        yield house


def test_an_engine_that_owes_an_answer_too_long_is_replaced():
    async def main():
        engine = Listening()
        launcher = FakeLauncher(engine)
        async with house_of(launcher, wedge_timeout=120, health_interval=30) as house:
            await house.load(A)
            engine.owing_since = asyncio.get_running_loop().time()
            async with house.lease(A):
                await asyncio.sleep(119)
                assert house.status(A).state is ResidentState.READY
                await asyncio.sleep(2)
                assert house.status(A).state is ResidentState.FAILED
                assert "wrote nothing" in house.status(A).error
            engine.owing_since = None
            await house.load(A)
            assert launcher.loads == ["a", "a"]

    simulate(main())


@pytest.mark.parametrize("settings", [{"wedge_timeout": 0}, {"wedge_timeout": 5000}])
def test_an_engine_is_spared_when_told_so(settings):
    async def main():
        engine = Listening()
        async with house_of(FakeLauncher(engine), **settings) as house:
            await house.load(A)
            engine.owing_since = asyncio.get_running_loop().time()
            await asyncio.sleep(1000)
            assert house.status(A).state is ResidentState.READY

    simulate(main())


def test_an_engine_that_gives_signs_is_spared():
    async def main():
        engine = Listening()
        async with house_of(FakeLauncher(engine), wedge_timeout=120) as house:
            await house.load(A)
            for _ in range(20):
                engine.owing_since = asyncio.get_running_loop().time()
                await asyncio.sleep(100)
            assert house.status(A).state is ResidentState.READY

    simulate(main())


def test_who_asks_again_waits_for_a_wedged_engine_that_goes_slowly():
    async def main():
        engine = Listening()
        async with house_of(FakeLauncher(engine, unload_seconds=9), wedge_timeout=10) as house:
            await house.load(A)
            engine.owing_since = asyncio.get_running_loop().time()
            await asyncio.sleep(31)
            engine.owing_since = None
            assert house.status(A).state is ResidentState.DRAINING
            assert await house.came_down("a")
            # And the second who was on it, when the first has begun the next life already.
            loading = asyncio.ensure_future(house.load(A))
            await asyncio.sleep(0)
            assert await house.came_down("a")
            await loading
            assert not await house.came_down("a")

    simulate(main())


def test_out_of_memory_is_tried_once_more_with_more_room_and_others_stay():
    async def main():
        launcher = Hungry({"a": 400 * MIB, "b": 300 * MIB}, {"a": 1})
        footprints = Footprints(None, "")
        async with house_of(launcher, footprints) as house:
            await house.load(B)
            loading = asyncio.ensure_future(house.load(A))
            await asyncio.sleep(0.5)
            assert house.memory.entries["a"]["ram"] == 400 * MIB
            await asyncio.sleep(1)
            assert house.memory.entries["a"]["ram"] == 600 * MIB
            await loading
            assert launcher.loads == ["b", "a", "a"]
            assert launcher.resident == {"a", "b"}
            assert footprints.known(A).ram == 600 * MIB

    simulate(main())


def test_room_for_the_raised_estimate_is_made_of_what_is_idle():
    async def main():
        launcher = Hungry({"a": 500 * MIB, "b": 400 * MIB}, {"a": 1})
        async with house_of(launcher, min_residency=0) as house:
            await house.load(B)
            await asyncio.sleep(1)
            await house.load(A)
            assert launcher.resident == {"a"}

    simulate(main())


def test_out_of_memory_twice_is_a_failed_load_that_cools_down():
    async def main():
        launcher = Hungry({"a": 400 * MIB}, {"a": 2})
        async with house_of(launcher) as house:
            with pytest.raises(
                ModelLoadFailed, match=r"(?s)with 400 MiB.*So it did with 600 MiB.*cudaMalloc"
            ) as failed:
                await house.load(A)
            assert failed.value.retry_after == 10
            assert not house.memory.entries
            assert launcher.loads == ["a", "a"]
            await asyncio.sleep(10)
            await house.load(A)
            assert house.memory.entries["a"]["ram"] == 600 * MIB

    simulate(main())


def test_the_raise_ends_at_the_budget():
    async def main():
        launcher = Hungry({"a": 800 * MIB}, {"a": 9})
        async with house_of(launcher) as house:
            with pytest.raises(ModelLoadFailed, match="So it did with 1000 MiB"):
                await house.load(A)
            await asyncio.sleep(10)
            with pytest.raises(InsufficientMemory, match="all there is"):
                await house.load(A)
            assert launcher.loads == ["a", "a", "a"]

    simulate(main())


def test_what_is_pinned_is_told_when_it_leaves_no_room_for_more():
    async def main():
        launcher = Hungry({"a": 400 * MIB, "b": 500 * MIB}, {"a": 1})
        async with house_of(launcher) as house:
            await house.load(B, Terms(pinned=True))
            with pytest.raises(InsufficientMemory, match=r"ran out.*with 400 MiB.*at most 500 MiB"):
                await house.load(A)
            assert launcher.resident == {"b"}

    simulate(main())


def test_what_grew_beyond_the_budget_sends_idle_ones_away_and_no_busy_one():
    async def main():
        launcher = FakeLauncher(weights={"a": 300 * MIB, "b": 300 * MIB, "c": 300 * MIB})
        async with house_of(launcher, min_residency=0) as house:
            for model in (A, B, C):
                await house.load(model)
                await asyncio.sleep(1)
            async with house.lease(A), house.lease(C):
                house.memory.settle("a", {"ram": 600 * MIB, "models": 1})
                house._room.relieve("a")
                await asyncio.sleep(1)
                assert launcher.resident == {"a", "c"}
                house.memory.settle("a", {"ram": 900 * MIB, "models": 1})
                house._room.relieve("a")
                await asyncio.sleep(1)
                assert launcher.resident == {"a", "c"}

    simulate(main())


def test_the_end_of_an_engine_is_noticed_while_it_is_asked_how_it_is():
    async def main():
        launcher = FakeLauncher()
        launcher.engine.hesitates = 5
        async with house_of(launcher, health_interval=10) as residency:
            await residency.load(deployment("a"))
            await asyncio.sleep(11)
            launcher.watchers["a"].ended("Its node was lost.")
            await asyncio.sleep(0.1)
            assert residency.status(deployment("a")).state is ResidentState.FAILED

    simulate(main())


def test_who_asks_between_a_crash_and_its_end_waits_for_the_next_life():
    async def main():
        launcher = FakeLauncher(unload_seconds=1)
        async with house_of(launcher) as house:
            for _ in range(2):
                await house.load(A)
                launcher.watchers["a"].ended("The engine process was killed by signal 11.")
                await house.load(A)
                await asyncio.sleep(400)
            assert launcher.loads == ["a"] * 3  # one at first, one after each crash

    simulate(main())


def test_who_asks_between_the_third_crash_and_its_end_is_told():
    async def main():
        launcher = FakeLauncher(unload_seconds=1)
        async with house_of(launcher) as house:
            for _ in range(2):
                await house.load(A)
                launcher.watchers["a"].ended("killed by signal 11")
                await asyncio.sleep(2)
            await house.load(A)
            launcher.watchers["a"].ended("killed by signal 11")
            with pytest.raises(ModelLoadFailed, match="signal 11"):
                await house.load(A)

    simulate(main())
