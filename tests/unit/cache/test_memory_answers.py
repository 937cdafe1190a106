"""Answers in memory: the contract, and that the bound holds whatever comes."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.stores.kv import MemoryAnswers
from tests.answers_contract import *  # noqa: F403 - the tests themselves
from tests.answers_contract import LIMIT, entry


@pytest.fixture
def answers():
    return MemoryAnswers(LIMIT)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6000), st.booleans()), max_size=60))
def test_what_is_counted_is_what_is_there(steps):
    async def main():
        store = MemoryAnswers(LIMIT)
        for number, size, goes in steps:
            await (store.drop([entry(number).key]) if goes else store.put(entry(number, size=size)))
            held = [one for one in await store.get([entry(n).key for n in range(10)]) if one]
            holding = await store.holding()
            assert (holding.entries, holding.bytes) == (len(held), sum(one.size for one in held))
            assert holding.bytes <= LIMIT

    asyncio.run(main())
