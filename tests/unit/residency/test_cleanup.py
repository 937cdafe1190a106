"""The clean-up: whom the policy lets go, and what its owner does on a simulated clock."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.residency.base import Terms
from enginehouse.residency.cleanup import Cleanup, excess_of
from enginehouse.residency.figures import Cause
from enginehouse.residency.machine import Memory
from enginehouse.residency.manager import Residency
from enginehouse.residency.policy import Rules, Standing, bytes_by_pool, tidy
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeLauncher, FakeMachine, simulate
from enginehouse.types import Deployment, EngineName, Kind, Priority, ResidentState

RULES = Rules(max_wait=30, min_residency=5)
NOW = 1000.0


def idle(name, ram=10, last_used=0.0, **more):
    return Standing(id=name, size={"ram": ram, "models": 1}, last_used=last_used, **more)


def leavers(standing, ram):
    return tidy(standing, {"ram": ram} if ram else {}, RULES, NOW)


def test_the_longest_unused_leave_until_it_is_enough():
    standing = [idle("new", last_used=3), idle("old", last_used=1), idle("middle", last_used=2)]
    assert leavers(standing, 11) == ("old", "middle")


def test_a_low_class_leaves_before_a_longer_unused_normal_one():
    standing = [idle("normal", last_used=1), idle("low", last_used=2, priority=Priority.LOW)]
    assert leavers(standing, 5) == ("low",)


def test_nobody_leaves_without_need():
    assert leavers([idle("a")], 0) == ()


@pytest.mark.parametrize(
    "held",
    [{"pinned": True}, {"busy": True}, {"loading": True}, {"leaving": True}, {"ready_since": NOW - 4}],
)
def test_who_is_held_stays(held):
    assert leavers([idle("a", **held)], 100) == ()


def test_what_is_leaving_already_is_counted_as_gone():
    assert leavers([idle("leaving", leaving=True), idle("idle")], 10) == ()


def test_no_more_leave_than_have_to():
    assert leavers([idle("small", ram=2, last_used=1), idle("large", ram=20, last_used=2)], 20) == ("large",)


def test_only_who_lies_in_the_memory_that_is_full_leaves():
    there = Standing(id="there", size={"vram.1": 10, "ram": 0}, last_used=2)
    assert tidy([idle("here"), there], {"vram.1": 1}, RULES, NOW) == ("there",)


def test_a_utility_lies_in_the_same_memory():
    embedder = Standing(id="embedder", size={"ram.utility": 10, "models.utility": 1})
    assert leavers([embedder], 5) == ("embedder",)
    assert bytes_by_pool([embedder.size, {"ram": 1, "vram.0": 2, "models": 1}]) == {"ram": 11, "vram.0": 2}


standings = st.builds(
    Standing,
    id=st.uuids().map(str),
    size=st.fixed_dictionaries({"ram": st.integers(0, 40), "vram.0": st.integers(0, 40), "models": st.just(1)}),
    priority=st.sampled_from(list(Priority)),
    pinned=st.booleans(),
    busy=st.booleans(),
    leaving=st.booleans(),
    loading=st.booleans(),
    ready_since=st.floats(0, NOW),
    last_used=st.floats(0, NOW),
)


@given(st.lists(standings, max_size=8), st.integers(0, 200), st.integers(0, 200))
def test_it_is_enough_or_nobody_who_would_help_is_left(standing, ram, vram):
    excess = {"ram": ram, "vram.0": vram}
    chosen = tidy(standing, excess, RULES, NOW)
    assert len(set(chosen)) == len(chosen)
    gone = [s for s in standing if s.id in chosen]
    for one in gone:
        assert not any((one.pinned, one.busy, one.leaving, one.loading))
        assert one.ready_since + RULES.min_residency <= NOW
    freed = bytes_by_pool(s.size for s in standing if s.leaving or s in gone)
    for pool, amount in excess.items():
        if freed.get(pool, 0) < amount:
            stay = [s for s in standing if s not in gone and not (s.pinned or s.busy or s.leaving or s.loading)]
            young = [s for s in stay if s.ready_since + RULES.min_residency > NOW]
            assert not [s for s in stay if s not in young and s.size[pool]]
    if all(freed.get(pool, 0) >= amount for pool, amount in excess.items()):
        for one in gone:
            without = bytes_by_pool(s.size for s in standing if s.leaving or (s in gone and s is not one))
            assert any(without.get(pool, 0) < amount for pool, amount in excess.items())
    assert chosen == tidy(tuple(reversed(standing)), excess, RULES, NOW)


def test_what_models_take_counts_and_what_is_really_used():
    pools = {"ram": Memory(total=100, available=70), "vram.0": Memory(total=50, available=5)}
    assert excess_of(pools, {"ram": 80}, 0.7) == {"ram": 10, "vram.0": 10}
    assert excess_of(pools, {"ram": 70}, 1.0) == {}


# Its owner --------------------------------------------------------------------------------------------------


def deployment(name):
    return Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER)


A, B, C = deployment("a"), deployment("b"), deployment("c")


@asynccontextmanager
async def cleaned_house(**given):
    how = {"max_memory_usage": 1, "utility_share": 0, "vram_multiplier": 1, "enable_idle_timeout": False, **given}
    launcher = FakeLauncher(weights={"a": 30, "b": 30, "c": 30})
    machine = FakeMachine(100)
    settings = ResidencySettings(memory_threshold=0.7, cleanup_interval=60, **how)
    async with Residency({EngineName.LLAMA_SERVER: launcher}, settings, ram=100) as house:
        cleanup = Cleanup(house, machine)
        task = asyncio.ensure_future(cleanup.run())
        try:
            yield house, cleanup, machine
        finally:
            task.cancel()


def in_a_cleaned_house(**given):
    def decorate(test):
        def run():
            async def main():
                async with cleaned_house(**given) as parts:
                    await test(*parts)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return decorate


def states(house):
    return [house.status(d).state for d in (A, B, C)]


READY, OFF = ResidentState.READY, ResidentState.OFF


@in_a_cleaned_house()
async def test_every_interval_idle_models_leave_until_the_threshold_holds(house, cleanup, machine):
    for one in (A, B, C):
        await house.load(one)
    async with house.lease(A):
        pass
    await asyncio.sleep(50)
    assert states(house) == [READY] * 3
    await asyncio.sleep(10)
    assert states(house) == [READY, OFF, READY]
    assert (cleanup.count, cleanup.freed, cleanup.last.models) == (1, 30, ("b",))
    assert (cleanup.last.before, cleanup.last.after, cleanup.last.freed) == (90, 60, 30)
    assert house.figures("b").departures == {Cause.CLEANUP: 1}
    await asyncio.sleep(600)
    assert cleanup.count == 1


@in_a_cleaned_house()
async def test_what_others_take_counts_too(house, cleanup, machine):
    await house.load(A)
    machine.used = 75
    await asyncio.sleep(61)
    assert states(house)[0] is OFF
    assert cleanup.last.exceeded


@in_a_cleaned_house()
async def test_who_answers_or_is_pinned_stays(house, cleanup, machine):
    await house.load(A, Terms(pinned=True))
    await house.load(C)
    async with house.lease(B):
        await asyncio.sleep(61)
        assert states(house) == [READY, READY, OFF]


@in_a_cleaned_house()
async def test_asked_for_below_the_threshold_it_leaves_everybody_alone(house, cleanup, machine):
    await house.load(A)
    await asyncio.sleep(10)
    done = await cleanup.now()
    assert (done.exceeded, done.models, done.freed, done.before, done.after) == (False, (), 0, 30, 30)
    assert states(house)[0] is READY
    assert cleanup.count == 1


@in_a_cleaned_house()
async def test_by_force_every_idle_one_leaves(house, cleanup, machine):
    await house.load(A)
    await house.load(B)
    async with house.lease(C):
        await asyncio.sleep(10)
        done = await cleanup.now(force=True)
    assert (set(done.models), done.before, done.after, done.exceeded) == ({"a", "b"}, 90, 30, True)
    assert states(house) == [OFF, OFF, READY]


@in_a_cleaned_house()
async def test_who_asks_while_it_leaves_gets_it_again(house, cleanup, machine):
    await house.load(A)
    await asyncio.sleep(10)
    async with asyncio.TaskGroup() as group:
        group.create_task(cleanup.now(force=True))
        await asyncio.sleep(0)
        await house.load(A)
    assert states(house)[0] is READY
