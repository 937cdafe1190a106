"""Answers in a real Redis: the contract, and what is counted after some have ended by themselves."""

import asyncio
import time

import pytest

from enginehouse.errors import StoreUnavailable
from enginehouse.stores.kv import RedisAnswers, RedisStore
from tests.answers_contract import *  # noqa: F403 - the tests themselves
from tests.answers_contract import LIMIT, entry
from tests.integration.redis_server import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
async def answers(server):
    server.client.flushall()
    async with RedisStore(server.url, "here") as store:
        yield RedisAnswers(store, LIMIT)


async def test_what_has_ended_by_itself_is_counted_no_more(answers):
    await answers.put(entry(1, size=3000, ends=0.05))
    await answers.put(entry(2, size=3000, ends=0.05))
    await asyncio.sleep(0.08)
    await answers.get([entry(1).key])
    assert (await answers.holding()).bytes == entry(2, size=3000).size
    await answers.sweep(lambda one: False)
    assert (await answers.holding()).bytes == 0


async def test_what_another_version_kept_is_not_there(answers, server):
    await answers.put(entry(1))
    server.client.set(f"enginehouse:cache:entry:{entry(1).id}", b"\x93old")
    assert await answers.get([entry(1).key]) == [None]
    assert await answers.sweep(lambda one: False) == [entry(1).id]


async def test_a_redis_that_is_away_says_so_at_once(tmp_path):
    with RedisServer(tmp_path) as server:
        async with RedisStore(server.url, "here") as store:
            answers = RedisAnswers(store, LIMIT)
            server.stop()
            with pytest.raises(StoreUnavailable):
                await answers.get([entry(1).key])
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await answers.put(entry(1))
            assert time.monotonic() - began < 0.1
            server.start()
