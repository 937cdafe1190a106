"""The owner of a fleet and its replicas, on a simulated clock, with nodes that are made up."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from enginehouse.errors import InsufficientMemory, ModelLoadFailed
from enginehouse.residency.base import Terms
from enginehouse.residency.fleet.base import OwnerAway, Stay
from enginehouse.residency.fleet.owner import Owner
from enginehouse.residency.fleet.replica import FleetLauncher, places_beside_fleet
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import FleetSettings, ResidencySettings
from enginehouse.testing.clock import simulate
from enginehouse.testing.fleet import FakeGrid
from enginehouse.types import Deployment, EngineName, Kind, ResidentState

LIMITS = ResidencySettings(
    max_memory_usage=1.0, utility_share=0.0, vram_multiplier=1.0, min_residency=0.0, enable_idle_timeout=False
)


def deployment(name, **more):
    return Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, **more)


class Wire:
    """A line to an owner that may be cut, or lead to another one."""

    def __init__(self):
        self.owner = None

    async def hold(self, *asked):
        return await self._there().hold(*asked)

    async def release(self, *told):
        await self._there().release(*told)

    async def beat(self, *told):
        return await self._there().beat(*told)

    async def view(self):
        return await self._there().view()

    def _there(self):
        if self.owner is None:
            raise OwnerAway("cut")
        return self.owner


@asynccontextmanager
async def owning(grid, wire, **settings):
    """The owner, for as long as this lasts."""
    async with Owner(grid, grid.connect, LIMITS, FleetSettings(**settings)) as owner, asyncio.TaskGroup() as tasks:
        wire.owner = owner
        running = tasks.create_task(owner.run())
        try:
            yield owner
        finally:
            wire.owner = None
            running.cancel()


@asynccontextmanager
async def replica(grid, wire, name="one"):
    async with FleetLauncher(wire, grid.connect, name) as launcher:
        launchers = {EngineName.LLAMA_SERVER: launcher}
        async with Residency(launchers, LIMITS, places=places_beside_fleet, ram=0) as residency:
            launcher.serve(residency)
            yield residency


@asynccontextmanager
async def house(grid, **settings):
    """One owner and one replica."""
    wire = Wire()
    async with owning(grid, wire, **settings), replica(grid, wire) as residency:
        yield residency


async def used(residency, name, seconds=0.0):
    async with residency.lease(deployment(name)) as lease:
        await asyncio.sleep(seconds)
        return lease


def state(residency, name):
    return residency.status(deployment(name)).state


def test_models_lie_on_the_node_that_has_most_room_and_many_callers_cause_one_load():
    async def main():
        grid = FakeGrid({"a": 100, "b": 120}, {"m": 50, "n": 50})
        async with house(grid) as residency:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(5):
                    tasks.create_task(used(residency, "m"))
            await used(residency, "n")
            assert grid.starts == [("m", "b"), ("n", "a")]
            assert residency.memory.entries.get("m", {}) == {}

    simulate(main())


def test_two_replicas_share_one_engine_and_it_stays_until_both_have_let_go():
    async def main():
        grid, wire = FakeGrid({"a": 100}), Wire()
        async with owning(grid, wire, linger=5):
            async with replica(grid, wire, "one") as one:
                async with replica(grid, wire, "two") as two:
                    await used(one, "m")
                    await used(two, "m")
                    assert grid.starts == [("m", "a")]
                await asyncio.sleep(10)
                assert grid.homes() == {"m": "a"}
            await asyncio.sleep(10)
            assert grid.homes() == {}

    simulate(main())


def test_another_model_gets_the_room_of_an_idle_one_and_the_replica_hears_of_it():
    async def main():
        grid = FakeGrid({"a": 100}, {"old": 80, "new": 80})
        async with house(grid) as residency:
            await used(residency, "old")
            await used(residency, "new")
            assert grid.homes() == {"new": "a"}
            assert state(residency, "old") is ResidentState.OFF

    simulate(main())


def test_who_answers_is_not_interrupted_for_another_model():
    async def main():
        grid = FakeGrid({"a": 100}, {"old": 80, "new": 80})
        async with house(grid) as residency, asyncio.TaskGroup() as tasks:
            await used(residency, "old")
            running = tasks.create_task(used(residency, "old", 20))
            await asyncio.sleep(3)
            await used(residency, "new")
            assert running.done()

    simulate(main())


def test_a_lost_node_is_followed_by_its_models_and_by_who_waits():
    async def main():
        grid = FakeGrid({"a": 100, "b": 90}, {"m": 50})
        async with house(grid) as residency, asyncio.TaskGroup() as tasks:
            await used(residency, "m")
            waiting = tasks.create_task(used(residency, "n"))
            await asyncio.sleep(0.5)
            assert grid.starts == [("m", "a"), ("n", "b")]
            began = asyncio.get_running_loop().time()
            grid.lose("a")
            grid.lose("b")
            grid.facts |= FakeGrid({"c": 100}).facts
            await asyncio.sleep(0)
            await waiting
            await asyncio.sleep(began + 5 - asyncio.get_running_loop().time())
            assert grid.homes() == {"m": "c", "n": "c"}
            await used(residency, "m")
            assert [start for start in grid.starts if start[1] == "c"].count(("m", "c")) == 1

    simulate(main())


def test_a_crashed_engine_is_loaded_again_for_the_next_request():
    async def main():
        grid = FakeGrid({"a": 100})
        async with house(grid) as residency:
            await used(residency, "m")
            next(iter(grid.kept.values())).crash("it fell")
            await asyncio.sleep(2)
            assert state(residency, "m") is ResidentState.FAILED
            await used(residency, "m")
            assert grid.starts == [("m", "a")] * 2

    simulate(main())


def test_an_engine_that_only_the_replica_finds_out_of_order_is_replaced():
    async def main():
        grid = FakeGrid({"a": 100})
        async with house(grid) as residency:
            await used(residency, "m")
            grid.engine_of[next(iter(grid.engine_of))].well = False
            assert await residency.came_down("m")
            await used(residency, "m")
            assert grid.starts == [("m", "a")] * 2

    simulate(main())


def test_a_node_that_only_a_replica_finds_silent_is_left_alone_before_the_cluster_says_that_it_is_lost():
    async def main():
        grid = FakeGrid({"a": 120, "b": 100})
        async with house(grid) as residency:
            await used(residency, "m")
            grid.silent.add("a")
            grid.engine_of[next(iter(grid.engine_of))].well = False
            began = asyncio.get_running_loop().time()
            assert await residency.came_down("m")
            await used(residency, "m")
            assert grid.starts == [("m", "a"), ("m", "b")]
            assert "a" in grid.facts
            assert asyncio.get_running_loop().time() - began < 3

    simulate(main())


def test_the_load_of_a_replica_that_died_is_free_again():
    async def main():
        grid, wire = FakeGrid({"a": 100}, {"old": 80, "new": 80}), Wire()
        async with owning(grid, wire, lease=10, linger=1) as owner:
            assert isinstance(await owner.hold("dead", "t", deployment("old"), Terms()), Stay)
            await asyncio.sleep(5)
            assert grid.homes() == {"old": "a"}
            await asyncio.sleep(10)
            assert grid.homes() == {}

    simulate(main())


def test_an_owner_that_begins_anew_finds_what_lives_and_its_replicas_go_on():
    async def main():
        grid, wire = FakeGrid({"a": 100, "b": 90}, {"m": 50}), Wire()
        first = AsyncExitStack()
        await first.enter_async_context(owning(grid, wire, linger=5))
        async with replica(grid, wire) as residency, AsyncExitStack() as second:
            lease = await used(residency, "m")
            wire.owner, grid.owner_died = None, True
            await first.aclose()
            grid.owner_died = False
            owner = await second.enter_async_context(owning(grid, wire, linger=5))
            await asyncio.sleep(20)
            assert grid.starts == [("m", "a")]
            assert (await used(residency, "m")).engine is lease.engine
            assert [[one.id for one in node.placed] for node in (await owner.view()).nodes] == [["m"], []]
            residency.vacate("m")
            await asyncio.sleep(20)
            assert grid.homes() == {}

    simulate(main())


def test_what_survived_and_nobody_wants_leaves():
    async def main():
        grid, wire = FakeGrid({"a": 100}), Wire()
        first = AsyncExitStack()
        await first.enter_async_context(owning(grid, wire, linger=5))
        await wire.hold("dead", "t", deployment("m"), Terms())
        wire.owner, grid.owner_died = None, True
        await first.aclose()
        grid.owner_died = False
        async with owning(grid, wire, linger=5):
            await asyncio.sleep(2)
            assert grid.homes() == {"m": "a"}
            await asyncio.sleep(10)
            assert grid.homes() == {}

    simulate(main())


def test_what_no_node_could_hold_is_refused_and_nothing_leaves_for_it():
    async def main():
        grid = FakeGrid({"a": 100}, {"old": 80, "vast": 101})
        async with house(grid) as residency:
            await used(residency, "old")
            with pytest.raises(InsufficientMemory, match="no node could hold"):
                await used(residency, "vast")
            with pytest.raises(InsufficientMemory, match="check its labels"):
                async with residency.lease(deployment("special", labels=(("accelerator", "h100"),))):
                    pass
            assert grid.homes() == {"old": "a"}

    simulate(main())


def test_a_load_that_fails_on_its_node_answers_who_waits_at_every_replica():
    async def main():
        grid, wire = FakeGrid({"a": 100}), Wire()
        grid.failure = "no such file"
        async with owning(grid, wire), replica(grid, wire, "one") as one, replica(grid, wire, "two") as two:
            for residency in (one, two):
                with pytest.raises(ModelLoadFailed, match="no such file"):
                    await used(residency, "m")
            assert grid.starts == [("m", "a")]

    simulate(main())


def test_who_asks_no_more_is_forgotten_and_its_load_with_it():
    async def main():
        grid = FakeGrid({"a": 100}, load_seconds=30)
        async with house(grid, linger=1) as residency:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await used(residency, "m")
            await residency.unload("m")
            await asyncio.sleep(60)
            assert grid.homes() == {}

    simulate(main())


def test_requests_that_wait_for_a_node_make_the_cluster_grow_and_are_served_by_it():
    async def main():
        grid = FakeGrid({"a": 100}, {"m": 80, "n": 80})
        async with house(grid, autoscale=True) as residency, asyncio.TaskGroup() as tasks:
            tasks.create_task(used(residency, "m", 200))
            await asyncio.sleep(2)
            waiting = tasks.create_task(used(residency, "n"))
            await asyncio.sleep(1)
            assert grid.wanted == []
            await asyncio.sleep(3)
            assert grid.wanted == [{"memory": 80.0}, {"memory": 80.0}]
            grid.facts |= FakeGrid({"b": 100}).facts
            await waiting
            await asyncio.sleep(1)
            assert grid.wanted == []
            assert grid.homes()["n"] == "b"

    simulate(main())


def test_an_owner_ends_when_nobody_wants_it_and_not_while_a_replica_or_an_engine_is_there():
    async def main():
        grid = FakeGrid({"a": 100})
        async with Owner(grid, grid.connect, LIMITS, FleetSettings(lease=5, linger=20, orphan_timeout=30)) as owner:
            running = asyncio.create_task(owner.run())
            assert isinstance(await owner.hold("one", "t", deployment("m"), Terms()), Stay)
            for _ in range(60):
                await owner.beat("one", ["t"], [])
            await asyncio.sleep(5 + 20 + 29)
            assert grid.homes() == {}
            assert not running.done()
            await asyncio.sleep(3)
            assert running.done()
            assert running.exception() is None

    simulate(main())


def test_an_owner_that_does_not_see_the_nodes_any_more_ends():
    async def main():
        grid = FakeGrid({"a": 100})
        settings = FleetSettings(orphan_timeout=8)
        async with Owner(grid, grid.connect, LIMITS, settings) as owner, asyncio.TaskGroup() as tasks:
            running, using = tasks.create_task(gives_up(owner)), tasks.create_task(uses(owner))
            await asyncio.sleep(20)
            assert not running.done()
            grid.unseen = True
            await asyncio.sleep(6)
            assert running.done()
            using.cancel()

    simulate(main())


async def uses(owner):
    while True:
        await owner.beat("one", [], [])


async def gives_up(owner):
    with pytest.raises(OwnerAway):
        await owner.run()
