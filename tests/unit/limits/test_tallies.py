"""Tallies in memory: the contract, and the law that no span ever holds more than the limit."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.stores.kv import MemoryTallies, Seats, Spent
from tests.tallies_contract import *  # noqa: F403 - the tests themselves
from tests.tallies_contract import BEGIN, SECOND, asked, window


@pytest.fixture
def clock():
    return [BEGIN]


@pytest.fixture
def tallies(clock):
    return MemoryTallies(lambda: clock[-1])


@given(
    limit=st.integers(1, 12),
    seconds=st.sampled_from([1, 7, 60]),
    steps=st.lists(st.tuples(st.integers(0, 9_000_000), st.integers(1, 5)), max_size=60),
)
def test_no_span_ever_holds_more_than_the_limit(limit, seconds, steps):
    """Against a plain log of all that was let in; and nobody waits longer than told, or a sixtieth too long."""
    now = [BEGIN]
    tallies, log = MemoryTallies(lambda: now[0]), []

    async def run():
        for pause, take in steps:
            now[0] += pause
            amount = min(take, limit)
            answer = await tallies.take(asked(window(limit=limit, seconds=seconds, need=amount, take=amount)))
            span = seconds * SECOND
            inside = sum(count for at, count in log if at > now[0] - span)
            if answer.admitted:
                log.append((now[0], amount))
                assert inside + amount <= limit
            else:
                late = sum(count for at, count in log if at > now[0] - span - span // 60 - 1)
                assert late + amount > limit
                assert 0 < answer.windows[0].wait <= span + span // 60

    asyncio.run(run())


async def test_what_counts_no_more_is_forgotten(clock):
    tallies = MemoryTallies(lambda: clock[-1])
    for number in range(1500):
        await tallies.take(
            asked(window(f"user{number}"), seats=(Seats(key=f"s{number}", limit=1),), id_=str(number))
        )
        await tallies.settle(Spent(id=str(number), seats=(f"s{number}",)))
    clock.append(clock[-1] + 3600 * SECOND)
    for _ in range(1000):
        await tallies.take(asked(window("last", limit=10**6)))
    assert (len(tallies._windows), len(tallies._seats)) == (1, 0)
