"""The chronicle in a real Redis: the contract, and that it does not grow for ever."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from enginehouse.stores.kv import RedisChronicle, RedisStore
from tests.chronicle_contract import *  # noqa: F403 - the tests themselves
from tests.integration.redis_server import RedisServer


class Replicas:
    def __init__(self, server):
        self.server = server
        self._stack = AsyncExitStack()

    async def __aenter__(self):
        self.stores = [
            await self._stack.enter_async_context(RedisStore(self.server.url, name)) for name in ("a", "b")
        ]
        self.a, self.b = (RedisChronicle(store, "events") for store in self.stores)
        return self

    async def __aexit__(self, *_):
        await self._stack.aclose()

    async def cut_off(self):
        self.server.stop()

    async def let_back(self):
        await asyncio.to_thread(self.server.start)
        async with asyncio.timeout(5):
            while not self.b.up:  # noqa: ASYNC110 - it is another task that finds it again
                await asyncio.sleep(0.05)

    async def lose(self):
        self.server.client.flushall()


@pytest.fixture
async def replicas(tmp_path):
    with RedisServer(tmp_path) as server:
        async with Replicas(server) as found:
            yield found


async def test_the_newest_are_kept(replicas):
    for _ in range(30):
        await replicas.a.append([b"x"] * 100)
    assert 2000 <= replicas.server.client.xlen("enginehouse:chronicle:events") < 2200
