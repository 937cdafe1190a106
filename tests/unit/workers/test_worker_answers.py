"""Kept answers of the owner, asked by workers: the contract, and questions that several workers ask at once."""

import asyncio

import pytest

from enginehouse.app.workers.linked import LinkedAnswers, LinkedFlights
from enginehouse.core.cache.flights import Landed, Turn
from enginehouse.stores.kv import MemoryAnswers
from tests.answers_contract import *  # noqa: F403 - the tests themselves
from tests.answers_contract import LIMIT, entry
from tests.unit.workers.desks import owner_of, until

KEY = (b"k" * 16, "normal")


class Swept(LinkedAnswers):
    """What only the owner does, it does."""

    def __init__(self, link, own):
        super().__init__(link)
        self.sweep, self.holding, self.adopt = own.sweep, own.holding, own.adopt


@pytest.fixture
async def answers(tmp_path):
    own = MemoryAnswers(LIMIT)
    async with owner_of(tmp_path, answers=own) as (_, (link,)):
        yield Swept(link, own)


@pytest.fixture
async def flights(tmp_path):
    async with owner_of(tmp_path, 2) as (on, links):
        yield on.cache.flights, [LinkedFlights(link) for link in links], links


async def test_one_asks_for_all_and_all_have_its_answer(flights):
    own, (here, there), _ = flights
    assert await here.turn(KEY) is Turn.LEAD
    waiting = [asyncio.ensure_future(one.turn(KEY)) for one in (here, there, there)]
    await until(lambda: own.joined == 3)
    landed = Landed(entry(1), "exact")
    with here.leading(KEY) as lead:
        lead.landed = landed
    assert await asyncio.gather(*waiting) == [landed] * 3


async def test_after_a_failure_each_asks_for_itself(flights):
    own, (here, there), _ = flights
    assert await here.turn(KEY) is Turn.LEAD
    waiting = asyncio.ensure_future(there.turn(KEY))
    await until(lambda: own.joined == 1)
    with here.leading(KEY) as lead:
        lead.failed = True
    assert await waiting is Turn.ALONE


async def test_who_leaves_and_who_dies_lets_the_next_one_lead(flights):
    own, (here, there), links = flights
    assert await here.turn(KEY) is Turn.LEAD
    waiting = [asyncio.ensure_future(there.turn(KEY)) for _ in range(2)]
    await until(lambda: own.joined == 2)
    with here.leading(KEY):
        pass
    assert await waiting[0] is Turn.LEAD
    third = asyncio.ensure_future(here.turn(KEY))
    await until(lambda: own.joined == 3)
    links[1]._line.hang_up()
    assert await third is Turn.LEAD
    waiting[1].cancel()
