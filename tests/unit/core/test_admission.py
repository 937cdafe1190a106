"""Admission on a simulated clock: order, bounds, leaving."""

import asyncio

import pytest

from enginehouse.core.admission import Admission
from enginehouse.errors import QueueFull, QueueTimeout
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.testing import simulate
from enginehouse.types import Deployment, EngineName, Kind


def deployment(slots=1, name="a"):
    return Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, slots=slots)


def admission(**settings):
    return Admission(AdmissionSettings(**settings))


def test_first_come_first_served_and_never_more_than_the_slots():
    async def main():
        door, order, running, most = admission(), [], 0, 0

        async def work(number):
            nonlocal running, most
            async with door.slot(deployment(2)):
                order.append(number)
                running += 1
                most = max(most, running)
                await asyncio.sleep(1 + number % 3)
                running -= 1

        await asyncio.gather(*(work(n) for n in range(20)))
        assert order == list(range(20))
        assert most == 2

    simulate(main())


def test_waiting_time_is_told():
    async def main():
        door = admission()

        async def work(expected):
            async with door.slot(deployment()) as slot:
                assert slot.waited == pytest.approx(expected)
                await asyncio.sleep(5)

        await asyncio.gather(work(0), work(5), work(10))

    simulate(main())


def test_a_full_queue_refuses_at_once_with_a_measured_wait():
    async def main():
        door = admission(max_queue_size=2)

        async def work():
            async with door.slot(deployment()):
                await asyncio.sleep(10)

        await work()
        busy = [asyncio.ensure_future(work()) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as refused:
            await work()
        assert refused.value.retry_after > 1
        await asyncio.gather(*busy)

    simulate(main())


def test_other_models_do_not_wait():
    async def main():
        door = admission()
        async with door.slot(deployment()), door.slot(deployment(name="b")) as other:
            assert other.waited == 0

    simulate(main())


def test_a_waiter_who_leaves_lets_the_next_one_up():
    async def main():
        door, order = admission(), []

        async def work(name):
            async with door.slot(deployment()):
                order.append(name)
                await asyncio.sleep(1)

        tasks = {name: asyncio.ensure_future(work(name)) for name in "abcd"}
        await asyncio.sleep(0.5)
        tasks["b"].cancel()
        await asyncio.wait(tasks.values())
        assert order == ["a", "c", "d"]

    simulate(main())


def test_a_turn_that_comes_with_the_cancel_is_passed_on():
    async def main():
        door, order = admission(), []

        async def work(name):
            async with door.slot(deployment()):
                order.append(name)
                await asyncio.sleep(1)

        async with door.slot(deployment()):
            second = asyncio.ensure_future(work("b"))
            third = asyncio.ensure_future(work("c"))
            await asyncio.sleep(1)
        second.cancel()  # its turn was given to it one line ago, in this very tick
        await asyncio.wait([second, third])
        assert order == ["c"]

    simulate(main())


def test_nobody_waits_for_ever():
    async def main():
        door = admission(queue_timeout=3)

        async def work():
            async with door.slot(deployment()):
                await asyncio.sleep(100)

        first = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        with pytest.raises(QueueTimeout):
            await work()
        await first

    simulate(main())
