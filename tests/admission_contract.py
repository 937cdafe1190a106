"""What every form of admission promises: scenes that run over the gate of one process and over shared ones.

Times are in units: a second on the simulated clock, a fraction of it where the clock is real.
"""

import asyncio

import pytest

from enginehouse.core.admission import Slot
from enginehouse.errors import QueueFull, QueueTimeout
from enginehouse.types import Deployment, EngineName, Kind, Priority

HIGH, NORMAL, LOW = Priority

SCENES = {}
"""Name → (settings in units, coroutine that takes a crowd)."""


def upstream(slots=1, name="a"):
    """Somewhere that replicas share."""
    return Deployment(
        id=name, model=name, kind=Kind.CHAT, engine=EngineName.OPENAI, base_url="http://up.invalid", slots=slots
    )


class Crowd:
    """Callers of one or more replicas, and a book of who ran when and how each request ended."""

    def __init__(self, *admissions, unit=1.0):
        self.admissions, self.unit = admissions, unit
        self.order, self.ends, self.tickets, self.running, self.most, self.errors = [], {}, {}, 0, 0, {}
        self.ran = {}

    @property
    def admission(self):
        return self.admissions[0]

    async def work(self, name, seconds=1.0, *, slots=1, priority=NORMAL, tenant="", at=0, model="a", limit=None):
        ticket = self.admissions[at].slot(upstream(slots, model), priority=priority, tenant=tenant, limit=limit)
        self.tickets[name], self.ends[name] = ticket, "cancelled"
        try:
            async with ticket as slot:
                assert isinstance(slot, Slot)
                self.order.append(name)
                self.ran[name] = slot.waited / self.unit
                self.running += 1
                self.most = max(self.most, self.running)
                try:
                    await self.pause(seconds)
                    self.ends[name] = "ran"
                finally:
                    self.running -= 1
        except QueueFull as error:
            self.ends[name], self.errors[name] = "full", error
        except QueueTimeout as error:
            self.ends[name], self.errors[name] = "late", error

    def start(self, *args, **named):
        return asyncio.ensure_future(self.work(*args, **named))

    async def come(self, *args, **named):
        """Start, and let it reach its place before the next one comes."""
        call = self.start(*args, **named)
        await self.pause(0.05)
        return call

    async def pause(self, units):
        await asyncio.sleep(units * self.unit)

    async def stats(self, at=0):
        await self.admissions[at].survey([upstream()])
        return self.admissions[at].stats("a")


def scene(**settings):
    def register(play):
        SCENES[play.__name__] = (settings, play)
        return play

    return register


def near(value):
    return pytest.approx(value, rel=0.2, abs=0.3)


@scene()
async def first_come_first_served_and_never_more_than_the_slots(crowd):
    await asyncio.gather(*(crowd.work(number, 0.5 + number % 3 / 4, slots=2) for number in range(20)))
    assert crowd.order == list(range(20))
    assert crowd.most == 2


@scene()
async def waiting_time_is_told(crowd):
    await asyncio.gather(*(crowd.work(number, 3) for number in range(3)))
    assert [crowd.ran[number] for number in range(3)] == [near(0), near(3), near(6)]


@scene()
async def high_goes_before_normal_before_low(crowd):
    calls = [await crowd.come("first")]
    calls += [await crowd.come(priority.value, 0.2, priority=priority) for priority in (LOW, NORMAL, HIGH)]
    await asyncio.gather(*calls)
    assert crowd.order == ["first", "high", "normal", "low"]


@scene(aging=2.0)
async def low_is_served_while_high_never_ends(crowd):
    calls = [await crowd.come("first", 0.5), await crowd.come("patient", 0.5, priority=LOW)]
    for number in range(14):
        calls.append(await crowd.come(number, 0.5, priority=HIGH))
        await crowd.pause(0.4)
    await asyncio.gather(*calls)
    assert 7 <= crowd.order.index("patient") <= 11  # in the top class after four units, behind two or less


@scene()
async def tenants_take_turns(crowd):
    calls = [await crowd.come(f"many {number}", 0.5, tenant="many") for number in range(6)]
    calls.append(await crowd.come("one", 0.5, tenant="one"))
    await asyncio.gather(*calls)
    assert crowd.order.index("one") == 2


@scene()
async def other_models_do_not_wait(crowd):
    await asyncio.gather(crowd.work("a", 2), crowd.work("b", 0.1, model="b"))
    assert crowd.ran == {"a": near(0), "b": near(0)}


@scene(max_queue_size=2)
async def a_full_line_refuses_at_once_with_a_measured_wait(crowd):
    await crowd.work("measured", 2)
    calls = [await crowd.come(number, 2) for number in range(3)]
    await crowd.work("refused")
    assert (crowd.ends["refused"], crowd.errors["refused"].position) == ("full", 3)
    assert crowd.errors["refused"].retry_after == pytest.approx(max(1.0, 3 * 2 * crowd.unit), rel=0.2)
    assert calls[0].done() is False
    await asyncio.gather(*calls)
    assert (await crowd.stats()).rejected == 1


@scene(max_queue_size=3)
async def who_has_a_limit_of_its_own_is_refused_at_the_smaller_one(crowd):
    calls = [await crowd.come(number, 0.5) for number in range(3)]
    await crowd.work("refused", limit=2)
    assert (crowd.ends["refused"], crowd.errors["refused"].position) == ("full", 3)
    calls.append(await crowd.come("let in", 0.1, limit=9))
    await crowd.work("refused too", limit=9)
    assert crowd.ends["refused too"] == "full"
    await asyncio.gather(*calls)
    assert crowd.order == [0, 1, 2, "let in"]


@scene()
async def a_ticket_remembers_where_it_stood_when_it_came(crowd):
    calls = [await crowd.come(number, 0.3) for number in range(4)]
    await asyncio.gather(*calls)
    assert [crowd.tickets[number].stood for number in range(4)] == [0, 1, 2, 3]


@scene(queue_timeout=1.5)
async def nobody_waits_for_ever(crowd):
    first = await crowd.come("runs", 3)
    await crowd.work("waits")
    assert crowd.ends["waits"] == "late"
    assert crowd.errors["waits"].retry_after >= 1
    await first
    await crowd.work("next", 0.1)
    await crowd.pause(0.1)
    stats = await crowd.stats()
    assert (stats.timed_out, stats.active, crowd.ends["next"]) == (1, 0, "ran")


@scene()
async def a_waiter_who_leaves_lets_the_next_one_up(crowd):
    calls = {name: await crowd.come(name, 0.5) for name in "abcd"}
    calls["b"].cancel()
    await asyncio.wait(calls.values())
    assert crowd.order == ["a", "c", "d"]
    stats = await crowd.stats()
    assert (stats.left, stats.served, stats.active) == (1, 3, 0)


@scene()
async def a_turn_that_comes_with_the_cancel_is_passed_on(crowd):
    runs = await crowd.come("a", 1)
    second, third = await crowd.come("b", 0.2), await crowd.come("c", 0.2)
    await runs
    second.cancel()
    await asyncio.wait([second, third])
    assert crowd.ends["c"] == "ran"
    assert (await crowd.stats()).active == 0


@scene()
async def a_cancel_at_any_stage_leaves_nothing(crowd):
    for ticks in range(12):
        first = crowd.start(("first", ticks), 0.1)
        if ticks > 5:
            await crowd.pause(0.1)
        victim, last = crowd.start(("victim", ticks), 0.1), crowd.start(("last", ticks), 0.1)
        for _ in range(ticks % 6):
            await asyncio.sleep(0)
        victim.cancel()
        await asyncio.wait([first, victim, last])
        assert crowd.ends["last", ticks] == "ran"
    await crowd.pause(0.1)
    stats = await crowd.stats()
    assert (stats.active, sum(stats.depth.values())) == (0, 0)
    assert crowd.most == 1


@scene()
async def a_waiter_sees_its_place_and_its_wait(crowd):
    await crowd.work("measured", 2)
    calls = [await crowd.come(number, 2) for number in range(4)]
    tickets = [crowd.tickets[number] for number in range(4)]
    assert [ticket.position for ticket in tickets] == [0, 1, 2, 3]
    assert [ticket.expected_wait / crowd.unit for ticket in tickets] == [near(0), near(2), near(4), near(6)]
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert [ticket.position for ticket in tickets] == [0, 0, 0, 0]


@scene()
async def more_slots_let_waiters_in_and_fewer_let_those_who_run_end(crowd):
    calls = [await crowd.come(number, 4) for number in range(5)]
    crowd.admission.resize("a", 3)
    await crowd.pause(0.3)
    assert crowd.running == 3
    crowd.admission.resize("a", 1)
    await crowd.pause(3.6)  # the first has ended, two of the old width still run
    assert crowd.running == 2
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await crowd.pause(0.1)
    assert (await crowd.stats()).active == 0


@scene()
async def what_is_counted(crowd):
    calls = [await crowd.come(n, 2, priority=priority) for n, priority in enumerate([NORMAL, HIGH, LOW, LOW])]
    stats = await crowd.stats()
    assert (stats.slots, stats.active, stats.depth) == (1, 1, {HIGH: 1, NORMAL: 0, LOW: 2})
    calls[3].cancel()
    await asyncio.wait(calls)
    await crowd.pause(0.1)
    stats = await crowd.stats()
    assert (stats.served, stats.rejected, stats.timed_out, stats.left) == (3, 0, 0, 1)
    assert stats.wait_p50 / crowd.unit == near(2)
    assert stats.wait_p95 / crowd.unit == near(4)
    assert stats.service_time / crowd.unit == near(2)
