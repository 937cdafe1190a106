"""The event loop of the service."""

import asyncio
import time

from enginehouse.cli.serve import run_in_loop


def test_its_clock_goes_on_within_a_turn_and_is_the_machines():
    async def look():
        loop = asyncio.get_running_loop()
        before = time.monotonic()
        told = [loop.time() for _ in range(1000)]
        assert before <= told[0] <= told[-1] <= time.monotonic()
        assert len(set(told)) > 10

    run_in_loop(look())


def test_its_timers_keep_its_time():
    async def wait():
        loop = asyncio.get_running_loop()
        due = loop.time() + 0.002
        rung = loop.create_future()
        loop.call_at(due, rung.set_result, None)
        await rung
        assert loop.time() >= due - 0.001  # timers know whole milliseconds

    run_in_loop(wait())
