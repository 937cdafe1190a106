"""Tallies of the owner, asked by workers: the contract, and what becomes of seats whose worker has gone."""

import asyncio

import pytest

from enginehouse.app.workers.linked import LinkedTallies
from enginehouse.stores.kv import Asked, MemoryTallies, Seats, Spent
from tests.tallies_contract import *  # noqa: F403 - the tests themselves
from tests.tallies_contract import BEGIN, asked, window
from tests.unit.workers.desks import owner_of, until


@pytest.fixture
def clock():
    return [BEGIN]


@pytest.fixture
def own(clock):
    return MemoryTallies(lambda: clock[-1])


@pytest.fixture
async def tallies(tmp_path, own):
    async with owner_of(tmp_path, tallies=own) as (_, (link,)):
        yield LinkedTallies(link, here=False)


async def test_two_workers_together_never_take_more(tmp_path, own):
    async with owner_of(tmp_path, 2, tallies=own) as (_, links):
        both = [LinkedTallies(link, here=False) for link in links]
        answers = await asyncio.gather(*(both[number % 2].take(asked(window())) for number in range(200)))
    assert sum(answer.admitted for answer in answers) == 100


async def test_seats_of_a_worker_that_has_gone_are_free(tmp_path, own):
    wanted = (Seats(key="s", limit=1),)
    async with owner_of(tmp_path, 2, tallies=own) as (_, (first, second)):
        assert (await LinkedTallies(first, here=False).take(Asked(id="a", seats=wanted))).admitted
        other = LinkedTallies(second, here=False)
        assert not (await other.take(Asked(id="b", seats=wanted))).admitted
        first._line.hang_up()
        await until(lambda: not own._seats.get("s"))
        assert (await other.take(Asked(id="c", seats=wanted))).admitted


async def test_who_is_cancelled_while_it_asks_has_no_seat(tmp_path, own):
    wanted = (Seats(key="s", limit=1),)
    async with owner_of(tmp_path, tallies=own) as (_, (link,)):
        tallies = LinkedTallies(link, here=False)
        asking = asyncio.ensure_future(tallies.take(Asked(id="a", seats=wanted)))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert (await tallies.take(Asked(id="b", seats=wanted))).admitted


async def test_what_was_settled_is_not_settled_again_when_its_worker_goes(tmp_path, own):
    wanted = (Seats(key="s", limit=1),)
    async with owner_of(tmp_path, 2, tallies=own) as (_, (first, second)):
        here, there = LinkedTallies(first, here=False), LinkedTallies(second, here=False)
        await here.take(Asked(id="same", seats=wanted))
        await here.settle(Spent(id="same", seats=("s",)))
        await until(lambda: not own._seats)
        assert (await there.take(Asked(id="same", seats=wanted))).admitted
        first._line.hang_up()
        await until(lambda: first.lives == 2)
        assert not (await there.take(Asked(id="other", seats=wanted))).admitted
