"""Gates that replicas share, on a simulated clock: the contract of all gates, and what replicas add to it."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from msgspec.structs import replace

from enginehouse.core.admission import Admission, SharedGates
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.testing import MemoryLines, SharedMemory, simulate
from enginehouse.types import Priority
from tests.admission_contract import HIGH, LOW, SCENES, Crowd, upstream

LEASE = 6.0


class Replicas(Crowd):
    """A crowd at several replicas with one memory, each with its plug."""

    def __init__(self, memory, lines, admissions):
        super().__init__(*admissions)
        self.memory, self.lines = memory, lines

    def plug(self, at, *, up):
        self.lines[at].plug(up=up)


@asynccontextmanager
async def replicas(count=2, *, delay=0.0, share=1.0, up=True, **settings):
    memory = SharedMemory()
    lines = [MemoryLines(memory, f"r{number}", delay=delay) for number in range(count)]
    async with AsyncExitStack() as stack:
        admissions = []
        for each in lines:
            each.up = up
            shared = await stack.enter_async_context(SharedGates(each, lease=LEASE, share=share))
            admissions.append(Admission(AdmissionSettings(**settings), shared))
        yield Replicas(memory, lines, admissions)


def among(count=2, **named):
    """The test runs among replicas of its own; whatever goes wrong in a task nobody awaits is seen."""

    def wrap(test):
        async def main():
            errors = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
            async with replicas(count, **named) as crowd:
                await test(crowd)
            assert not errors

        def run():
            simulate(main())

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return wrap


@pytest.mark.parametrize("form", ["own", "shared", "shared and slow", "alone"])
@pytest.mark.parametrize("name", SCENES)
def test_contract(form, name):
    settings, play = SCENES[name]

    async def main():
        if form == "own":
            await play(Crowd(Admission(AdmissionSettings(**settings))))
            return
        delay = 0.002 if form == "shared and slow" else 0.0
        async with replicas(1, delay=delay, up=form != "alone", **settings) as crowd:
            await play(crowd)

    simulate(main())


@among(2)
async def test_two_replicas_have_one_line(crowd):
    calls = [await crowd.come(number, 1, at=number % 2, slots=2) for number in range(20)]
    await asyncio.gather(*calls)
    assert crowd.order == list(range(20))
    assert crowd.most == 2
    assert (await crowd.stats(0)).served == (await crowd.stats(1)).served == 20


@among(1)
async def test_nobody_overtakes_while_a_step_takes_long(crowd):
    calls = [await crowd.come("runs", 3)]
    crowd.lines[0].delay = 0.5
    calls.append(await crowd.come("first", 1))
    calls.append(await crowd.come("second", 1))
    crowd.lines[0].delay = 0.0
    await asyncio.gather(*calls)
    assert crowd.order == ["runs", "first", "second"]


@among(2, max_queue_size=3)
async def test_the_bound_and_the_places_are_those_of_all(crowd):
    calls = [await crowd.come(number, 2, at=number % 2) for number in range(4)]
    await crowd.work("too many", at=0)
    assert crowd.ends["too many"] == "full"
    assert [crowd.tickets[number].position for number in range(4)] == [0, 1, 2, 3]
    await asyncio.gather(*calls)


@among(2)
async def test_the_smallest_number_of_slots_counts(crowd):
    calls = [await crowd.come(number, 4, at=number % 2, slots=3 if number % 2 else 2) for number in range(6)]
    assert crowd.running == 2
    crowd.admissions[0].resize("a", 3)
    await crowd.pause(0.1)
    assert crowd.running == 3
    await asyncio.gather(*calls)


@among(2)
async def test_what_a_replica_said_of_slots_is_forgotten_after_its_lease(crowd):
    await crowd.work("narrow", 1, at=0, slots=1)
    calls = [crowd.start(number, 20, at=1, slots=2) for number in range(2)]
    await crowd.pause(LEASE - 0.5)
    assert crowd.running == 1
    await crowd.pause(1.5)
    assert crowd.running == 2
    await asyncio.gather(*calls)


async def die(crowd, at):
    """As kill -9 does it: nothing is said, and nothing is heard."""
    crowd.lines[at].up = False
    for tended in crowd.admissions[at]._shared._gates.values():
        tended.task.cancel()
    await asyncio.sleep(0)


@among(2)
async def test_what_a_dead_replica_held_is_free_within_the_lease(crowd):
    calls = [await crowd.come(f"dead {number}", 1000, at=0, slots=2) for number in range(6)]
    living = [await crowd.come(number, 1, at=1, slots=2) for number in range(4)]
    await crowd.pause(5.7)
    await die(crowd, 0)
    killed = asyncio.get_running_loop().time()
    await asyncio.gather(*living)
    assert asyncio.get_running_loop().time() - killed <= LEASE + 4 / 2 + 0.2
    assert crowd.order[2:] == [0, 1, 2, 3]
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)


@among(2)
async def test_a_dead_waiter_that_gets_a_turn_does_not_live_longer(crowd):
    runs = await crowd.come("runs", 4.5, at=1)
    dead = await crowd.come("dead", 1, at=0)
    waits = await crowd.come("waits", 1, at=1)
    await die(crowd, 0)
    killed = asyncio.get_running_loop().time()
    await waits  # the dead one's turn came 4.5 seconds after its last word
    assert asyncio.get_running_loop().time() - killed <= LEASE + 1.1
    dead.cancel()
    await asyncio.wait([runs, dead])


@among(1)
async def test_who_runs_or_waits_for_long_keeps_what_it_has(crowd):
    calls = [await crowd.come(number, 4 * LEASE) for number in range(3)]
    await asyncio.gather(*calls)
    assert crowd.most == 1
    assert crowd.order == [0, 1, 2]


@among(1)
async def test_waiting_is_not_polling(crowd):
    calls = [await crowd.come(number, 50) for number in range(3)]
    before = crowd.lines[0].steps
    await crowd.pause(40)
    assert crowd.lines[0].steps - before <= 2 * 40 / (LEASE / 3)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await crowd.pause(1)
    idle = crowd.lines[0].steps
    await crowd.pause(100)
    assert crowd.lines[0].steps == idle


@among(1)
async def test_a_turn_that_nobody_heard_of_is_found_at_the_next_renewal(crowd):
    runs, waits = await crowd.come("runs", 1), await crowd.come("waits", 1)
    crowd.memory.listeners.clear()
    await asyncio.gather(runs, waits)
    assert crowd.ran["waits"] <= 1 + LEASE / 3


@among(2, share=0.5)
async def test_without_the_store_each_replica_goes_on_with_its_share(crowd):
    calls = [await crowd.come(number, 2, at=number % 2, slots=4) for number in range(16)]
    crowd.plug(0, up=False)
    crowd.plug(1, up=False)
    await crowd.pause(2.5)
    assert crowd.running == 4
    calls += [crowd.start(f"new {number}", 1, at=number % 2, slots=4) for number in range(4)]
    await asyncio.gather(*calls)
    assert set(crowd.ends.values()) == {"ran"}
    assert crowd.order[:16] == list(range(16))
    assert crowd.most == 4


@among(2)
async def test_who_waits_when_the_store_goes_is_not_refused_by_a_smaller_bound(crowd):
    calls = [await crowd.come(number, 1, at=1) for number in range(10)]
    crowd.admissions[1].adopt(AdmissionSettings(max_queue_size=2))
    crowd.plug(1, up=False)
    crowd.plug(1, up=True)
    await asyncio.gather(*calls)
    assert crowd.order == list(range(10))
    assert set(crowd.ends.values()) == {"ran"}


@among(2, aging=3)
async def test_age_and_class_go_along_to_the_own_line(crowd):
    calls = [await crowd.come("runs", 8), await crowd.come("low", 1, priority=LOW)]
    await crowd.pause(6)
    calls.append(await crowd.come("high", 1, priority=HIGH))
    crowd.plug(0, up=False)
    await asyncio.gather(*calls)
    assert crowd.order == ["runs", "low", "high"]


@among(2, up=False)
async def test_a_store_that_was_never_there_is_no_obstacle(crowd):
    calls = [await crowd.come(number, 2, at=0) for number in range(3)]
    assert crowd.tickets[2].position == 2
    crowd.plug(0, up=True)
    crowd.plug(1, up=True)
    await crowd.pause(0.5)
    calls.append(await crowd.come("other", 2, at=1))
    await asyncio.gather(*calls)
    assert crowd.order == [0, 1, 2, "other"]
    assert crowd.most == 1


@pytest.mark.parametrize("forgets", [False, True])
def test_after_the_store_is_back_the_line_is_one_again_and_never_too_wide(forgets):
    @among(2, share=0.5)
    async def scene(crowd):
        calls = [await crowd.come(number, 3, at=number % 2, slots=4) for number in range(24)]
        crowd.plug(0, up=False)
        crowd.plug(1, up=False)
        await crowd.pause(5)
        if forgets:
            crowd.memory.clear()
        crowd.plug(0, up=True)
        await crowd.pause(1)  # the second finds it later
        crowd.plug(1, up=True)
        await asyncio.gather(*calls)
        assert set(crowd.ends.values()) == {"ran"}
        assert crowd.most == 4
        assert crowd.order == sorted(crowd.order)
        assert (await crowd.stats()).active == 0

    scene()


@among(1)
async def test_a_store_that_forgot_everything_hears_it_all_again(crowd):
    """It was started anew so quickly that nobody noticed."""
    calls = [await crowd.come(number, 3, slots=2) for number in range(6)]
    crowd.memory.clear()
    await asyncio.gather(*calls)
    assert crowd.order == list(range(6))
    assert crowd.most <= 4  # until the next renewal nobody knew of the two that ran
    assert (await crowd.stats()).active == 0


@among(2)
async def test_one_that_comes_and_goes_stops_nobody(crowd):
    calls = [await crowd.come(number, 0.5, at=0) for number in range(20)]
    for _ in range(20):
        crowd.plug(1, up=False)
        await crowd.pause(0.3)
        crowd.plug(1, up=True)
        await crowd.work(object(), 0.01, at=1)
    await asyncio.gather(*calls)
    assert set(crowd.ends.values()) == {"ran"}


@among(1)
async def test_who_goes_gives_back_what_it_holds(crowd):
    """The last one ends as the replica stops, and its slot is free without a lease having to end."""
    goes = SharedGates(MemoryLines(crowd.memory, "goes"), lease=LEASE, share=1.0)
    async with goes, Admission(AdmissionSettings(), goes).slot(upstream()):
        waits = await crowd.come("waits", 1)
    await waits
    assert crowd.ran["waits"] < 0.1


@among(2)
async def test_asking_for_the_numbers_is_a_step_that_may_let_somebody_in(crowd):
    dead = await crowd.come("dead", 1000, at=0)
    await die(crowd, 0)
    await crowd.pause(LEASE / 2)
    waits = await crowd.come("waits", 1, at=1)
    for tended in crowd.admissions[1]._shared._gates.values():
        tended.task.cancel()  # it asks nothing by itself
    await crowd.pause(LEASE * 0.75)
    await crowd.stats(1)
    await crowd.pause(0.1)
    assert crowd.order == ["dead", "waits"]
    dead.cancel()
    await asyncio.wait([dead, waits])


@among(1)
async def test_a_gate_is_forgotten_when_it_is_empty(crowd):
    runs = await crowd.come("runs", 1)
    crowd.admission.forget("a")
    assert crowd.admission.stats("a") is not None
    await runs
    await crowd.pause(0.1)
    crowd.admission.forget("a")
    assert crowd.admission.stats("a") is None
    assert not crowd.admission._shared._gates


@among(1)
async def test_models_that_run_here_stay_our_own(crowd):
    async with crowd.admission.slot(replace(upstream(), base_url=None)):
        assert crowd.lines[0].steps == 0


@among(1)
async def test_a_model_that_was_our_own_for_a_moment_has_the_same_line_as_before(crowd):
    calls = [await crowd.come("runs", 2), await crowd.come("waits", 1)]
    async with crowd.admission.slot(replace(upstream(), base_url=None)):
        assert crowd.admission.stats("a").scope == "replica"
    calls.append(await crowd.come("new", 1))
    await asyncio.gather(*calls)
    assert crowd.order == ["runs", "waits", "new"]
    assert crowd.ran["new"] == pytest.approx(2.9)


@among(2, share=0.5)
async def test_the_numbers_say_whose_they_are(crowd):
    calls = [await crowd.come(number, 2, at=number % 2, slots=4) for number in range(6)]
    stats = await crowd.stats(0)
    assert (stats.scope, stats.slots, stats.active, sum(stats.depth.values())) == ("shared", 4, 4, 2)
    crowd.plug(0, up=False)
    stats = await crowd.stats(0)
    assert (stats.scope, stats.slots, stats.active, sum(stats.depth.values())) == ("alone", 2, 2, 1)
    await asyncio.gather(*calls)


@among(1)
async def test_what_ended_as_the_store_went_holds_no_slot_when_it_is_back(crowd):
    calls = [await crowd.come("ends", 0.5), await crowd.come("runs", 0.2)]
    crowd.lines[0].delay = 0.01
    await crowd.pause(0.405)  # what the first has said of its end is lost on the way
    crowd.plug(0, up=False)
    await asyncio.gather(*calls)
    crowd.plug(0, up=True)
    await crowd.work("next", 0.1)
    assert crowd.ran["next"] < LEASE / 2
    await crowd.pause(0.1)
    assert (await crowd.stats()).active == 0


@pytest.mark.parametrize("_run", range(4))
def test_whatever_comes_everybody_ends_once(_run):
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)

    async def main():
        async with replicas(2, delay=0.01, share=0.5, max_queue_size=30, queue_timeout=8, aging=2) as crowd:
            await _random_day(crowd, dice)

    simulate(main())


async def _random_day(crowd, dice):
    calls = []
    for number in range(1500):
        at, priority, tenant = dice.randrange(2), dice.choice(list(Priority)), dice.choice("abc")
        seconds = dice.choice([0, 0.25, 1, 2])
        call = crowd.start(number, seconds, slots=4, priority=priority, tenant=tenant, at=at)
        calls.append(call)
        if dice.random() < 0.3:
            asyncio.get_running_loop().call_later(dice.choice([0, 0.01, 0.02, 0.5, 1, 5, 8]), call.cancel)
        if dice.random() < 0.02:
            crowd.plug(dice.randrange(2), up=dice.random() < 0.6)
        if dice.random() < 0.005:
            crowd.memory.clear()
        await asyncio.sleep(dice.choice([0, 0, 0.25, 0.5]))
    for at in range(2):
        crowd.plug(at, up=True)
    await asyncio.wait(calls)
    await crowd.pause(2 * LEASE)
    ends = Counter(crowd.ends.values())
    assert {"ran", "cancelled"} <= set(ends)
    assert len(crowd.order) == len(set(crowd.order))
    assert crowd.running == 0
    for at in range(2):
        stats = await crowd.stats(at)
        assert (stats.active, sum(stats.depth.values())) == (0, 0)
        assert all(tended.gate.idle for tended in crowd.admissions[at]._shared._gates.values())
        assert all(not tended.gate._tickets for tended in crowd.admissions[at]._shared._gates.values())
