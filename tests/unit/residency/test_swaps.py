"""Several models and too little memory, on a simulated clock: what the written promises say of swaps."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.errors import EnginehouseError, InsufficientMemory
from enginehouse.residency.base import USUAL, Terms
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeLauncher, simulate
from enginehouse.types import Deployment, EngineName, Kind, Priority

BUDGET = 100


def deployment(name, kind=Kind.CHAT):
    return Deployment(id=name, model=name, kind=kind, engine=EngineName.LLAMA_SERVER)


A, B, C = deployment("a"), deployment("b"), deployment("c")


@asynccontextmanager
async def house_of(launcher, **given):
    how = {"max_memory_usage": 1, "utility_share": 0, "vram_multiplier": 1, **given}
    launchers = {EngineName.LLAMA_SERVER: launcher}
    async with Residency(launchers, ResidencySettings(**how), ram=BUDGET) as house:
        yield house


async def hold(house, deployment, seconds, terms=USUAL):
    async with house.lease(deployment, terms):
        await asyncio.sleep(seconds)


def test_a_streaming_model_ends_before_the_other_starts():
    launcher = FakeLauncher(weights={"a": 80, "b": 80})

    async def main():
        async with house_of(launcher) as house:
            streaming = asyncio.ensure_future(hold(house, A, 20))
            await asyncio.sleep(2)
            waiting = asyncio.ensure_future(house.load(B))
            await asyncio.sleep(17)
            assert launcher.resident == {"a"}
            await asyncio.gather(streaming, waiting)
            assert launcher.resident == {"b"}
            assert asyncio.get_running_loop().time() < 23  # as soon as it can, not when the waiter is overdue

    simulate(main())


def test_endless_traffic_for_one_model_does_not_starve_another():
    launcher = FakeLauncher(weights={"a": 80, "b": 80})

    async def main():
        async with house_of(launcher, max_wait=30) as house:
            clock = asyncio.get_running_loop().time

            async def traffic():
                while True:
                    await hold(house, A, 3)

            async with AsyncExitStack() as stack:
                tasks = []
                for _ in range(4):
                    tasks.append(asyncio.ensure_future(traffic()))
                    await asyncio.sleep(0.7)
                stack.callback(lambda: [task.cancel() for task in tasks])
                asked = clock()
                await house.load(B)
                assert clock() - asked <= 30 + 3 + 1

    simulate(main())


def test_twenty_alternating_requests_cause_few_swaps():
    launcher = FakeLauncher(weights={"a": 80, "b": 80})

    async def main():
        async with house_of(launcher) as house:
            await asyncio.gather(*(hold(house, (A, B)[n % 2], 0.5) for n in range(20)))

    simulate(main())
    assert len(launcher.loads) == 2


class Noting(FakeLauncher):
    """Remembers when each load began."""

    def __init__(self, **how):
        super().__init__(**how)
        self.at = []

    def load(self, deployment, watcher):
        self.at.append(asyncio.get_running_loop().time())
        return super().load(deployment, watcher)


@pytest.mark.parametrize("pause", [0.0, 0.1, 0.9, 7.0], ids="{} s between requests".format)
def test_two_models_that_are_always_wanted_swap_at_most_twice_a_window(pause):
    """Endless A, B, A, B: whichever is in memory stays `min_residency`, so no such window sees more than two."""
    launcher = Noting(weights={"a": 80, "b": 80}, load_seconds=0.1)
    answered = Counter()

    async def main():
        async with house_of(launcher, min_residency=5, max_wait=30) as house:

            async def client(number):
                while asyncio.get_running_loop().time() < 200:
                    model = (A, B)[number % 2]
                    await hold(house, model, 0.3)
                    answered[model.id] += 1
                    await asyncio.sleep(pause)

            await asyncio.gather(*(client(number) for number in range(20)))

    simulate(main())
    assert min(answered.values()) >= 20
    assert len(launcher.at) > 4
    assert all(later - earlier >= 5 for earlier, later in pairwise(launcher.at))


def test_a_model_that_takes_its_time_to_go_holds_up_nobody_else():
    launcher = FakeLauncher(weights={"a": 40, "b": 40}, unload_seconds=10)

    async def main():
        async with house_of(launcher) as house:
            await house.load(A)
            await house.load(B)
            unloading = asyncio.ensure_future(house.unload("a"))
            await asyncio.sleep(0.1)
            for _ in range(100):
                async with house.lease(B) as lease:
                    assert lease.waited == 0
                    await asyncio.sleep(0.05)
            assert not unloading.done()
            await unloading

    simulate(main())


def test_a_thousand_interleaved_requests_are_all_answered():
    launcher = FakeLauncher(weights={"a": 80, "b": 80}, load_seconds=0.1, unload_seconds=0.05)

    async def main():
        chance = random.Random(7)
        answered = 0
        async with house_of(launcher, min_residency=0.5, max_wait=5) as house:

            async def ask():
                nonlocal answered
                await asyncio.sleep(chance.random() * 100)
                await hold(house, chance.choice([A, B]), chance.random())
                answered += 1

            await asyncio.gather(*(ask() for _ in range(1000)))
        assert answered == 1000

    simulate(main())


def test_two_cold_models_with_room_for_one_never_load_together():
    launcher = FakeLauncher(weights={"a": 80, "b": 80}, load_seconds=5)
    most = 0

    async def main():
        nonlocal most
        async with house_of(launcher) as house:
            tasks = [asyncio.ensure_future(house.load(d)) for d in (A, B)]
            while not all(task.done() for task in tasks):
                entries = house.memory.entries
                most = max(most, len(entries))
                assert sum(entry["ram"] for entry in entries.values()) <= BUDGET
                await asyncio.sleep(0.25)

    simulate(main())
    assert most == 1


def test_what_can_never_fit_is_refused_at_once_and_nothing_leaves():
    launcher = FakeLauncher(weights={"a": 80, "b": 101})

    async def main():
        async with house_of(launcher) as house:
            await house.load(A)
            with pytest.raises(InsufficientMemory, match="'b'"):
                await house.load(B)
            assert asyncio.get_running_loop().time() == 1  # when the first was there
            assert launcher.resident == {"a"}
            assert launcher.loads == ["a"]

    simulate(main())


def test_what_is_pinned_counts_as_not_to_be_had():
    launcher = FakeLauncher(weights={"a": 80, "b": 80})

    async def main():
        async with house_of(launcher) as house:
            await house.load(A, Terms(pinned=True))
            with pytest.raises(InsufficientMemory):
                await house.load(B)

    simulate(main())


def test_the_number_of_models_is_bounded_too():
    launcher = FakeLauncher()

    async def main():
        async with house_of(launcher, max_models=2, min_residency=0) as house:
            for model in (A, B, C):
                await house.load(model)
                await asyncio.sleep(1)
            assert launcher.resident == {"b", "c"}

    simulate(main())


@pytest.mark.parametrize("kind", [Kind.EMBEDDING, Kind.CLASSIFIER, Kind.RERANK])
def test_an_embedder_or_classifier_never_evicts_a_chat_model(kind):
    launcher = FakeLauncher(weights={"a": 80, "e": 15, "f": 15})
    embedders = [deployment(name, kind) for name in "ef"]

    async def main():
        async with house_of(launcher, utility_share=0.2, min_residency=0) as house:
            await house.load(A)
            for embedder in embedders:
                await asyncio.sleep(1)
                await house.load(embedder)
            assert launcher.resident == {"a", "f"}

    simulate(main())


def test_a_warm_model_does_not_wait_behind_a_cold_load():
    launcher = FakeLauncher(weights={"a": 40, "b": 40}, load_seconds=50)

    async def main():
        async with house_of(launcher) as house:
            await house.load(A)
            loading = asyncio.ensure_future(house.load(B))
            await asyncio.sleep(1)
            async with house.lease(A) as lease:
                assert lease.waited == 0
            await loading

    simulate(main())


def test_a_waiter_who_leaves_takes_its_claim_along():
    launcher = FakeLauncher(weights={"a": 80, "b": 80})

    async def main():
        async with house_of(launcher) as house:
            holding = asyncio.ensure_future(hold(house, A, 50))
            await asyncio.sleep(2)
            waiting = asyncio.ensure_future(house.load(B))
            await asyncio.sleep(2)
            await house.unload("b")
            with pytest.raises(EnginehouseError):
                await waiting
            await holding
            await asyncio.sleep(60)
            assert launcher.resident == {"a"}
            assert set(house.memory.entries) == {"a"}

    simulate(main())


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32))
def test_random_work_keeps_the_budget_and_leaves_nothing_behind(seed):
    chance = random.Random(seed)
    names = "vwxyz"
    launcher = FakeLauncher(
        weights={name: chance.randint(10, 90) for name in names},
        load_seconds=chance.choice([0.0, 0.3, 3.0]),
        unload_seconds=chance.choice([0.0, 0.2]),
    )
    outcomes = []

    async def main():
        async with house_of(launcher, idle_timeout=30, max_wait=5, min_residency=chance.choice([0, 1])) as house:
            done = asyncio.Event()

            async def one():
                await asyncio.sleep(chance.random() * 60)
                name = chance.choice(names)
                try:
                    async with asyncio.timeout(chance.choice([2, 1000])):
                        priority = chance.choice(list(Priority))
                        await hold(house, deployment(name), chance.random() * 4, Terms(priority=priority))
                except (TimeoutError, EnginehouseError) as error:
                    outcomes.append(type(error).__name__)
                else:
                    outcomes.append("answered")

            async def meddle():
                for _ in range(20):
                    await asyncio.sleep(chance.random() * 5)
                    name = chance.choice(names)
                    if chance.random() < 0.5:
                        await house.unload(name)
                    elif launcher.resident & {name}:
                        launcher.watchers[name].ended("crashed")

            async def watch():
                while not done.is_set():
                    used = sum(entry["ram"] for entry in house.memory.entries.values())
                    assert used <= BUDGET
                    assert sum(launcher.weights[name] for name in launcher.resident) <= used
                    await asyncio.sleep(0.05)

            watching = asyncio.ensure_future(watch())
            await asyncio.gather(meddle(), *(one() for _ in range(200)))
            await asyncio.sleep(400)
            done.set()
            await watching
            assert all(house.status(deployment(name)).leases == 0 for name in names)
            assert not house.memory.entries

    simulate(main())
    assert len(outcomes) == 200
    assert not launcher.resident


def test_every_eviction_and_every_wait_can_be_explained():
    launcher = FakeLauncher(weights={"a": 80, "b": 80})

    async def main():
        async with house_of(launcher) as house:
            running = asyncio.ensure_future(hold(house, A, 20))
            await asyncio.sleep(3)
            waiting = asyncio.ensure_future(hold(house, B, 1))
            await asyncio.sleep(1)
            assert house.explain("b") == "It waits for room in memory: a is busy."
            assert house.explain("a") is None
            await asyncio.gather(running, waiting)
            told = [(e.event.id, e.event.what, e.event.other) for e in house.decisions.about("b")]
            assert told[0] == ("b", "waits", None)
            assert ("a", "evicted", "b") in told
            assert [event for event in told if event[0] == "b"][-2:] == [("b", "loads", None), ("b", "ready", None)]

    simulate(main())
