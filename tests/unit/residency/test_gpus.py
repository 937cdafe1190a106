"""GPUs as axes of memory: places to choose from, room on them, and what was measured there."""

import asyncio
import json
import os
import random
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.engines.metadata import Weight
from enginehouse.errors import EnginehouseError, InsufficientMemory
from enginehouse.residency.base import Terms
from enginehouse.residency.machine import Memory
from enginehouse.residency.manager import Residency
from enginehouse.residency.memory import Footprints, capacity_of
from enginehouse.residency.placement import elsewhere, footprint_of, gpus_of, places
from enginehouse.residency.policy import Rules, Standing, Want, fits, plan
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeGpuLauncher, FakeMachine, simulate
from enginehouse.types import Deployment, EngineName, Kind

GPUS = {0: 100, 1: 300}


def deployment(name="a", kind=Kind.CHAT, **changes):
    return Deployment(id=name, model=name, kind=kind, engine=EngineName.LLAMA_SERVER, **changes)


A, B, C = deployment("a"), deployment("b"), deployment("c")


# Places -----------------------------------------------------------------------------------------------------


def test_one_gpu_before_all_of_them():
    assert places(A, Weight(ram=5, vram=40), GPUS) == (
        {"ram": 5, "models": 1, "vram.0": 40},
        {"ram": 5, "models": 1, "vram.1": 40},
        {"ram": 5, "models": 1, "vram.0": 10, "vram.1": 30},
    )


def test_without_gpus_everything_lies_in_main_memory():
    assert places(A, Weight(ram=5, vram=40), {}) == ({"ram": 45, "models": 1},)


def test_what_lies_on_no_gpu_has_one_place():
    assert places(A, Weight(ram=5), GPUS) == ({"ram": 5, "models": 1},)


def test_flags_that_say_where_leave_no_choice():
    assert places(A, Weight(ram=5, vram=40, fixed=True, split=(3, 1)), GPUS) == (
        {"ram": 5, "models": 1, "vram.0": 30, "vram.1": 10},
    )
    assert places(A, Weight(ram=5, vram=40, fixed=True, split=(0, 1)), GPUS) == (
        {"ram": 5, "models": 1, "vram.1": 40},
    )
    assert places(A, Weight(ram=5, vram=40, fixed=True), GPUS) == (
        {"ram": 5, "models": 1, "vram.0": 10, "vram.1": 30},
    )


def test_a_utility_has_its_own_share_of_a_gpu():
    embedder = deployment("e", Kind.EMBEDDING)
    assert places(embedder, Weight(ram=5, vram=40), {0: 100}) == (
        {"ram.utility": 5, "models.utility": 1, "vram.0.utility": 40},
        {"ram.utility": 45, "models.utility": 1},
    )
    assert gpus_of({"ram.utility": 5, "vram.0.utility": 40}) == {0: 40}


@given(st.integers(1, 10**12), st.lists(st.integers(1, 10**11), min_size=1, max_size=8))
def test_no_byte_is_lost_between_gpus(vram, sizes):
    gpus = dict(enumerate(sizes))
    for place in places(A, Weight(ram=1, vram=vram), gpus):
        assert sum(gpus_of(place).values()) == vram


def test_the_same_again_may_lie_on_another_gpu():
    one = {"ram": 5, "models": 1, "vram.0": 40}
    assert list(elsewhere(one, GPUS)) == [one, {"ram": 5, "models": 1, "vram.1": 40}]
    both = {"ram": 5, "vram.0": 10, "vram.1": 30}
    assert list(elsewhere(both, GPUS)) == [both]
    assert list(elsewhere({"vram.0.utility": 4}, GPUS)) == [{"vram.0.utility": 4}, {"vram.1.utility": 4}]


def test_every_gpu_has_a_budget_like_main_memory():
    limits = ResidencySettings(max_memory_usage=0.8, utility_share=0.25, max_models=3)
    assert capacity_of(limits, 1000, GPUS) == {
        "models": 3,
        "models.utility": 3,
        "ram": 600,
        "ram.utility": 200,
        "vram.0": 60,
        "vram.0.utility": 20,
        "vram.1": 180,
        "vram.1.utility": 60,
    }


# The policy -------------------------------------------------------------------------------------------------


NOW, RULES = 1000.0, Rules(max_wait=30, min_residency=5)


def on(gpu, amount):
    return {f"vram.{gpu}": amount}


def test_the_best_place_with_room_is_granted():
    want = Want(id="new", need=on(0, 10), others=(on(1, 10),), since=NOW)
    assert plan([want], [], {"vram.0": 10, "vram.1": 10}, RULES, NOW).places == {}
    decision = plan([want], [], {"vram.0": 9, "vram.1": 10}, RULES, NOW)
    assert (decision.grants, decision.places) == (("new",), {"new": on(1, 10)})


def test_who_is_worth_least_leaves_on_whichever_gpu():
    standing = [
        Standing(id="dear", size=on(0, 10), reload_seconds=60, demand=5),
        Standing(id="cheap", size=on(1, 10), reload_seconds=1, demand=5),
    ]
    want = Want(id="new", need=on(0, 10), others=(on(1, 10),), since=NOW)
    assert [e.id for e in plan([want], standing, {}, RULES, NOW).evictions] == ["cheap"]


def test_an_overdue_one_keeps_every_place_it_could_have():
    busy = [Standing(id=f"pinned{gpu}", size=on(gpu, 10), pinned=True) for gpu in (0, 1)]
    late = Want(id="late", need=on(0, 10), others=(on(1, 10),), since=NOW - 30)
    young = Want(id="young", need=on(1, 5), since=NOW)
    free = {"vram.0": 5, "vram.1": 5}
    assert plan([young], busy, free, RULES, NOW).grants == ("young",)
    assert plan([late, young], busy, free, RULES, NOW).grants == ()


sizes = st.fixed_dictionaries(
    {"ram": st.integers(1, 30)}, optional={"vram.0": st.integers(1, 30), "vram.1": st.integers(1, 30)}
)
wanted = st.builds(
    Want,
    id=st.uuids().map(str),
    need=sizes,
    others=st.lists(sizes, max_size=2).map(tuple),
    since=st.floats(NOW - 60, NOW),
)
standings = st.builds(
    Standing, id=st.uuids().map(str), size=sizes, busy=st.booleans(), pinned=st.booleans(), leaving=st.booleans()
)


@given(st.lists(wanted, max_size=5), st.lists(standings, max_size=5), sizes)
def test_grants_fit_wherever_they_are_placed(wants, standing, free):
    decision = plan(wants, standing, free, RULES, NOW)
    needs = {want.id: want for want in wants}
    granted = [decision.places.get(name, needs[name].need) for name in decision.grants]
    assert fits({axis: sum(g.get(axis, 0) for g in granted) for axis in ("ram", "vram.0", "vram.1")}, free)
    for name, place in decision.places.items():
        assert name in decision.grants
        assert place in needs[name].others
    assert not {e.newcomer for e in decision.evictions} & set(decision.grants)


# A house with two GPUs --------------------------------------------------------------------------------------


@asynccontextmanager
async def house_of(launcher, gpus=(100, 100), ram=1000, **given):
    how = {"max_memory_usage": 1, "utility_share": 0, "vram_multiplier": 1, **given}
    machine = FakeMachine(ram, gpus)
    launchers = {EngineName.LLAMA_SERVER: launcher}
    async with Residency(launchers, ResidencySettings(**how), machine=machine) as house:
        yield house


def test_two_models_lie_side_by_side_on_two_gpus_and_a_third_evicts():
    launcher = FakeGpuLauncher({name: Weight(ram=1, vram=80) for name in "abc"})

    async def main():
        async with house_of(launcher) as house:
            await house.load(A)
            await house.load(B)
            assert launcher.places == {"a": {0: 80}, "b": {1: 80}}
            assert house.status(B).vram == 80
            await asyncio.sleep(10)
            async with house.lease(A):
                pass
            await house.load(C)
            assert launcher.resident == {"a", "c"}
            assert launcher.places["c"] == {1: 80}

    simulate(main())


def test_what_fits_on_no_single_gpu_is_divided():
    launcher = FakeGpuLauncher({"a": Weight(ram=1, vram=120)})

    async def main():
        async with house_of(launcher, gpus=(100, 50)) as house:
            await house.load(A)
            assert launcher.places["a"] == {0: 80, 1: 40}

    simulate(main())


def test_flags_that_say_where_are_not_overruled():
    launcher = FakeGpuLauncher({"a": Weight(ram=1, vram=80, fixed=True, split=(0, 1))})

    async def main():
        async with house_of(launcher) as house:
            await house.load(A)
            assert launcher.places == {}
            assert gpus_of(house.memory.entries["a"]) == {1: 80}

    simulate(main())


def test_more_than_all_gpus_is_refused_and_nobody_leaves():
    launcher = FakeGpuLauncher({"a": Weight(ram=1, vram=80), "b": Weight(ram=1, vram=201)})

    async def main():
        async with house_of(launcher) as house:
            await house.load(A)
            with pytest.raises(InsufficientMemory, match="GPU"):
                await house.load(B)
            assert launcher.resident == {"a"}

    simulate(main())


def test_an_embedder_that_fits_on_no_gpu_lies_in_main_memory():
    launcher = FakeGpuLauncher({"e": Weight(ram=1, vram=30)})

    async def main():
        async with house_of(launcher, gpus=(100,), utility_share=0.2) as house:
            await house.load(deployment("e", Kind.EMBEDDING))
            assert launcher.places == {"e": {}}
            assert house.memory.entries["e"] == {"ram.utility": 31, "models.utility": 1}

    simulate(main())


def test_an_engine_without_gpus_takes_main_memory():
    launcher = FakeGpuLauncher({"a": Weight(ram=10, vram=80)})
    launcher.offloaded = {}

    async def main():
        async with house_of(launcher) as house:
            await house.load(A)
            assert house.memory.entries["a"] == {"ram": 90, "models": 1}
            assert launcher.places == {}

    simulate(main())


def test_an_estimate_is_multiplied_on_every_axis_and_what_was_measured_is_not():
    footprints, known = Footprints(None, "1"), deployment("b", flags=("-c", "512"))
    footprints.remember(known, Weight(ram=20, vram=40))
    launcher = FakeGpuLauncher({name: Weight(ram=20, vram=40) for name in "ab"})

    async def main():
        how = ResidencySettings(max_memory_usage=1, utility_share=0, vram_multiplier=1.5)
        launchers = {EngineName.LLAMA_SERVER: launcher}
        async with Residency(launchers, how, footprints=footprints, machine=FakeMachine(1000, (100,))) as house:
            for model in (A, known):
                await house.load(model)
            assert house.memory.entries["a"] == {"ram": 30, "models": 1, "vram.0": 60}
            assert house.memory.entries["b"] == {"ram": 20, "models": 1, "vram.0": 40}

    simulate(main())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_axis_is_ever_over_its_budget(seed):
    chance = random.Random(seed)
    weights = {
        name: Weight(
            ram=chance.randint(1, 60),
            vram=chance.choice([0, chance.randint(1, 130)]),
            fixed=chance.choice([False, True]),
            split=chance.choice([(1.0, 1.0), (0.0, 1.0), ()]),
        )
        for name in "abcde"
    }
    launcher = FakeGpuLauncher(weights, load_seconds=0.5)
    launcher.unload_seconds = 0.2
    deployments = [deployment(name) for name in weights]

    async def main():
        async with house_of(launcher, gpus=(100, 60), ram=120, min_residency=0.5, max_wait=3) as house:

            def check():
                assert all(left >= 0 for left in house.memory.free().values()), house.memory.entries

            async def act():
                await asyncio.sleep(chance.random() * 20)
                one = chance.choice(deployments)
                try:
                    if chance.random() < 0.2:
                        await house.unload(one.id)
                    else:
                        async with house.lease(one, Terms()):
                            check()
                            await asyncio.sleep(chance.random() * 2)
                except EnginehouseError:
                    pass
                check()

            async with asyncio.TaskGroup() as group:
                for _ in range(40):
                    group.create_task(act())
                for _ in range(100):
                    await asyncio.sleep(0.25)
                    check()

    simulate(main())


# What was measured ------------------------------------------------------------------------------------------


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # a thread measures, and tells nobody


async def test_the_drivers_figures_replace_the_estimate(tmp_path):
    pid = os.getpid()
    file = tmp_path / "footprints.json"
    launcher = FakeGpuLauncher({"a": Weight(ram=10, vram=80)}, pid=pid, load_seconds=0)
    machine = FakeMachine(10**12, (100, 100))
    machine.processes[pid] = {0: 61, 7: 5}
    how = ResidencySettings(max_memory_usage=1, utility_share=0, vram_multiplier=1)
    footprints = Footprints(file, "1")
    launchers = {EngineName.LLAMA_SERVER: launcher}
    async with Residency(launchers, how, footprints=footprints, machine=machine) as house:
        await house.load(A)
        await until(lambda: gpus_of(house.memory.entries["a"]) == {0: 61})
        await until(file.exists)
        assert house.memory.entries["a"]["ram"] > 10
    kept = Footprints(file, "1").known(A)
    assert (kept.vram, kept.ram > 10) == (61, True)


async def test_what_was_set_aside_stays_where_the_driver_does_not_know_the_process():
    launcher = FakeGpuLauncher({"a": Weight(ram=10, vram=80)}, pid=os.getpid(), load_seconds=0)
    how = ResidencySettings(max_memory_usage=1, utility_share=0, vram_multiplier=1)
    machine = FakeMachine(10**12, (100, 100))
    async with Residency({EngineName.LLAMA_SERVER: launcher}, how, machine=machine) as house:
        await house.load(A)
        await until(lambda: house.memory.entries["a"]["ram"] > 10)
        assert gpus_of(house.memory.entries["a"]) == {0: 80}


def test_a_file_of_plain_numbers_is_still_read(tmp_path):
    file = tmp_path / "footprints.json"
    footprints = Footprints(file, "1")
    footprints.remember(A, Weight(ram=500))
    [key] = json.loads(file.read_text())
    file.write_text(json.dumps({key: 700}))
    assert Footprints(file, "1").known(A) == Weight(ram=700)


def test_a_few_per_cent_are_not_written_on_either_memory(tmp_path):
    footprints = Footprints(tmp_path / "footprints.json", "1")
    footprints.remember(A, Weight(ram=1000, vram=1000))
    footprints.remember(A, Weight(ram=1010, vram=990))
    assert footprints.known(A) == Weight(ram=1000, vram=1000)
    footprints.remember(A, Weight(ram=1000, vram=1100))
    assert footprints.known(A) == Weight(ram=1000, vram=1100)


@pytest.mark.parametrize(
    ("known", "taken"),
    [(Weight(ram=3, vram=50), {"ram": 3, "vram.0": 50}), (Weight(ram=90), {"ram": 1, "vram.0": 80})],
)
def test_what_was_measured_on_another_kind_of_machine_does_not_count(known, taken):
    footprints = Footprints(None, "1")
    footprints.remember(A, known)
    launcher = FakeGpuLauncher({"a": Weight(ram=1, vram=80)})

    async def main():
        how = ResidencySettings(max_memory_usage=1, utility_share=0, vram_multiplier=1)
        launchers = {EngineName.LLAMA_SERVER: launcher}
        async with Residency(launchers, how, footprints=footprints, machine=FakeMachine(1000, (100,))) as house:
            await house.load(A)
            assert house.memory.entries["a"] == {**taken, "models": 1}

    simulate(main())


def test_memory_by_gpu_is_what_the_machine_tells():
    machine = FakeMachine(1000, (100, 50))
    machine.processes[1] = {1: 20}
    assert [gpu.memory for gpu in machine.gpus()] == [
        Memory(total=100, available=100),
        Memory(total=50, available=30),
    ]
    assert footprint_of(A, 5) == {"ram": 5, "models": 1}
