"""The gates on a simulated clock: many at once, leaving at any time, changing slots, what is told and counted."""

import asyncio
import random
from collections import Counter

import pytest

from enginehouse.core.admission import Admission, Slot
from enginehouse.errors import PermissionDenied, QueueFull, QueueTimeout
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.testing import simulate
from enginehouse.types import Deployment, EngineName, Kind, Principal, Priority

HIGH, NORMAL, LOW = Priority


def deployment(slots=1, name="a"):
    return Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, slots=slots)


class House:
    """An admission, and a book of who ran when and how each request ended."""

    def __init__(self, **settings):
        self.admission = Admission(AdmissionSettings(**settings))
        self.order, self.ends, self.tickets, self.running, self.most = [], {}, {}, 0, 0

    async def work(self, name, seconds=1.0, *, slots=1, priority=NORMAL, tenant=""):
        ticket = self.tickets[name] = self.admission.slot(deployment(slots), priority=priority, tenant=tenant)
        self.ends.setdefault(name, "cancelled")
        try:
            async with ticket as slot:
                assert isinstance(slot, Slot)
                self.order.append(name)
                self.running += 1
                self.most = max(self.most, self.running)
                try:
                    await asyncio.sleep(seconds)
                    self.ends[name] = "ran"
                finally:
                    self.running -= 1
        except QueueFull:
            self.ends[name] = "full"
        except QueueTimeout:
            self.ends[name] = "late"

    def start(self, *args, **named):
        return asyncio.ensure_future(self.work(*args, **named))

    @property
    def stats(self):
        return self.admission.stats("a")


def in_house(**settings):
    """The test runs in a house of its own, on the simulated clock."""

    def wrap(test):
        async def main():
            errors = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
            await test(House(**settings))
            assert not errors

        def run():
            simulate(main())

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return wrap


@in_house()
async def test_high_goes_before_normal_before_low(house):
    first = house.start("first")
    await asyncio.sleep(0)
    rest = [house.start(priority.value, priority=priority) for priority in (LOW, NORMAL, HIGH)]
    await asyncio.gather(first, *rest)
    assert house.order == ["first", "high", "normal", "low"]


@in_house(aging=5)
async def test_low_is_served_while_high_never_ends(house):
    calls = [house.start("first"), house.start("patient", priority=LOW)]
    for number in range(40):
        calls.append(house.start(number, priority=HIGH))
        await asyncio.sleep(0.9)
    await asyncio.wait(calls)
    assert 10 <= house.order.index("patient") <= 13  # in the top class after ten seconds, behind two or less


@in_house()
async def test_a_tenant_with_one_does_not_wait_for_a_tenant_with_many(house):
    calls = [house.start(f"many {number}", tenant="many") for number in range(10)]
    await asyncio.sleep(0.5)
    await asyncio.gather(*calls, house.start("one", tenant="one"))
    assert house.order.index("one") == 2


@in_house(max_queue_size=100)
async def test_a_hundred_at_once(house):
    await asyncio.gather(*(house.work(number, 1 + number % 3, slots=4) for number in range(100)))
    assert house.order == list(range(100))
    assert house.most == 4
    assert (house.stats.served, house.stats.active) == (100, 0)


@in_house()
async def test_a_waiter_sees_its_place_and_its_wait(house):
    await house.work("measured", 8)
    calls = [house.start(number, 8) for number in range(4)]
    await asyncio.sleep(0)
    tickets = [house.tickets[number] for number in range(4)]
    assert [ticket.position for ticket in tickets] == [0, 1, 2, 3]
    assert [ticket.expected_wait for ticket in tickets] == pytest.approx([0, 8, 16, 24])
    calls[1].cancel()
    await asyncio.sleep(0)
    assert [ticket.position for ticket in tickets] == [0, 0, 1, 2]
    await asyncio.wait(calls)
    assert [ticket.position for ticket in tickets] == [0, 0, 0, 0]


@in_house(max_queue_size=4)
async def test_retry_after_is_when_the_line_has_been_served(house):
    await asyncio.gather(*(house.work(f"measured {number}", 6, slots=2) for number in range(2)))
    calls = [house.start(number, 6, slots=2) for number in range(6)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull) as refused:
        async with house.admission.slot(deployment(2)):
            pass
    assert refused.value.retry_after == pytest.approx(15)  # four wait; the fifth after them, two every six seconds
    await asyncio.gather(*calls)
    assert house.stats.rejected == 1


@in_house(queue_timeout=3)
async def test_retry_after_is_never_later_than_all_who_wait_are_gone(house):
    await house.work("measured", 100)
    runs = house.start("runs", 100)
    await asyncio.sleep(0)
    with pytest.raises(QueueTimeout) as refused:
        async with house.admission.slot(deployment()):
            pass
    assert refused.value.retry_after == pytest.approx(3)
    assert house.stats.timed_out == 1
    await runs


@in_house()
async def test_more_slots_let_waiters_in_at_once(house):
    calls = [house.start(number, 10) for number in range(5)]
    await asyncio.sleep(1)
    house.admission.resize("a", 3)
    await asyncio.sleep(0)
    assert house.running == 3
    house.admission.resize("a", 1)
    await asyncio.sleep(9.5)  # the first has ended, two of the old width still run
    assert house.running == 2
    assert house.tickets[3].expected_wait == pytest.approx(2 * 10)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert house.stats.active == 0


@in_house(queue_timeout=5)
async def test_time_that_is_up_with_the_cancel_is_one_end(house):
    house.start("runs", 10)
    waits = house.start("waits")
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_at(5, waits.cancel)
    await asyncio.wait([waits])
    await asyncio.sleep(10)
    stats = house.stats
    assert (stats.served, stats.timed_out + stats.left, stats.active) == (1, 1, 0)


@in_house(queue_timeout=5)
async def test_time_that_is_up_with_the_turn_is_a_turn(house):
    runs = house.start("runs", 10)
    asyncio.get_running_loop().call_at(5, house.admission.resize, "a", 2)
    await asyncio.wait([runs, house.start("waits")])
    assert (house.stats.served, house.stats.timed_out, house.stats.active) == (2, 0, 0)


@in_house()
async def test_who_is_cancelled_in_the_tick_of_its_turn_takes_no_turn_of_its_tenant(house):
    async with house.admission.slot(deployment()):
        calls = [house.start(name, tenant=name[0]) for name in ("a1", "a2", "b1")]
        await asyncio.sleep(0)
        calls[0].cancel()
    await asyncio.wait(calls)
    assert house.order == ["a2", "b1"]


@in_house()
async def test_no_alarm_outlives_the_wait(house):
    await asyncio.gather(*(house.work(number) for number in range(3)))
    assert all(timer.cancelled() for timer in asyncio.get_running_loop()._scheduled)


@in_house(aging=1000)
async def test_a_new_rule_of_aging_counts_for_who_waits(house):
    calls = [house.start("runs", 10), house.start("low", priority=LOW)]
    await asyncio.sleep(5)
    calls.append(house.start("high", priority=HIGH))
    house.admission.adopt(AdmissionSettings(aging=1))
    await asyncio.sleep(1)
    calls.append(house.start("later", priority=HIGH))
    await asyncio.wait(calls)
    assert house.order == ["runs", "low", "high", "later"]


@pytest.mark.parametrize("ticks", range(6))
def test_a_cancel_at_any_stage_leaves_nothing(ticks):
    """Before it asks, while it waits, in the tick of its turn, while it runs, and after."""

    async def main():
        house = House()
        house.start("first", 1)
        victim, last = house.start("victim", 1), house.start("last", 1)
        await asyncio.sleep(1 if ticks > 2 else 0)
        for _ in range(ticks):
            await asyncio.sleep(0)
        victim.cancel()
        await asyncio.wait([victim, last])
        stats = house.stats
        assert house.ends["last"] == "ran"
        assert (stats.active, sum(stats.depth.values())) == (0, 0)
        assert stats.served + stats.left <= 3

    simulate(main())


@in_house()
async def test_what_is_counted(house):
    calls = [house.start(number, 10, priority=priority) for number, priority in enumerate([NORMAL, HIGH, LOW, LOW])]
    await asyncio.sleep(1)
    stats = house.stats
    assert (stats.slots, stats.active, stats.depth) == (1, 1, {HIGH: 1, NORMAL: 0, LOW: 2})
    calls[3].cancel()
    await asyncio.wait(calls)
    stats = house.stats
    assert (stats.served, stats.rejected, stats.timed_out, stats.left) == (3, 0, 0, 1)
    assert (stats.wait_p50, stats.wait_p95, stats.service_time) == pytest.approx((10, 20, 10))


@in_house()
async def test_a_line_is_forgotten_when_it_is_empty(house):
    runs = house.start("runs")
    await asyncio.sleep(0)
    house.admission.forget("a")
    assert house.stats.active == 1
    await runs
    house.admission.forget("b")
    assert house.stats is None


@in_house(max_queue_size=100)
async def test_who_waits_at_a_gate_that_leads_nowhere_does_not_wait_for_who_runs(house):
    runs = house.start("runs", 100)
    waits = [house.start(number, 0, priority=priority) for number, priority in enumerate([LOW, NORMAL, HIGH] * 10)]
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    house.admission.forget("a")
    await asyncio.gather(*waits)
    assert asyncio.get_running_loop().time() == began
    assert [house.ends[number] for number in range(30)] == ["ran"] * 30
    assert house.stats.active == 1
    await runs


@in_house()
async def test_a_model_that_comes_back_keeps_its_line(house):
    runs = house.start("runs")
    await asyncio.sleep(0)
    house.admission.forget("a")
    await asyncio.gather(runs, house.work("comes back"))
    house.admission.forget("b")
    assert house.stats.served == 2


def test_going_first_is_for_some_roles():
    admission, stranger = Admission(AdmissionSettings()), Principal(user="u", role="anonymous")
    admission.check_claim(Principal(user="u"), HIGH)
    admission.check_claim(stranger, NORMAL)
    with pytest.raises(PermissionDenied):
        admission.check_claim(stranger, HIGH)
    admission.adopt(AdmissionSettings(high_priority_roles=("anonymous",)))
    admission.check_claim(stranger, HIGH)


@pytest.mark.parametrize("_run", range(5))
def test_whatever_comes_everybody_ends_once(_run):
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    simulate(_random_day(random.Random(seed)))


async def _random_day(dice):
    house = House(max_queue_size=20, queue_timeout=8, aging=2)
    width, calls = 3, []
    for number in range(2000):
        if dice.random() < 0.02:
            width = dice.randint(1, 6)
        priority, tenant = dice.choice(list(Priority)), dice.choice("abc")
        call = house.start(number, dice.choice([0, 0.25, 1, 2]), slots=width, priority=priority, tenant=tenant)
        calls.append(call)
        if dice.random() < 0.3:
            asyncio.get_running_loop().call_later(dice.choice([0, 0.25, 0.5, 1, 5, 8]), call.cancel)
        await asyncio.sleep(dice.choice([0, 0, 0.25, 0.5]))
        stats = house.stats
        if stats is not None and stats.active < stats.slots:
            assert not any(
                house.tickets[n].position for n in list(house.tickets)[-60:] if not calls[n].cancelling()
            )
    await asyncio.wait(calls)
    _check_the_book(house)


def _check_the_book(house):
    ends, stats = Counter(house.ends.values()), house.stats
    assert house.most <= 6
    assert (stats.active, sum(stats.depth.values())) == (0, 0)
    assert stats.rejected == ends["full"]
    assert stats.timed_out == ends["late"]
    assert stats.served == len(house.order) == len(set(house.order))
    assert stats.served + stats.rejected + stats.timed_out + stats.left == len(house.tickets)
    assert {"ran", "cancelled"} <= set(ends)
