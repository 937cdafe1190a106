"""The post in a real Redis: the contract."""

from contextlib import AsyncExitStack

import pytest

from enginehouse.stores.kv import RedisPost, RedisStore
from tests.integration.redis_server import RedisServer
from tests.post_contract import *  # noqa: F403 - the tests themselves


class Replicas:
    def __init__(self, server):
        self._server = server
        self._stack = AsyncExitStack()

    async def __aenter__(self):
        self._first = RedisStore(self._server.url, "a")
        await self._first.__aenter__()
        store = await self._stack.enter_async_context(RedisStore(self._server.url, "b"))
        self.a, self.b = RedisPost(self._first), RedisPost(store)
        return self

    async def __aexit__(self, *_):
        if self._first is not None:
            await self._first.__aexit__(None, None, None)
        await self._stack.aclose()

    async def kill_a(self):
        """As if it had not been heard of for a while."""
        await self._first.__aexit__(None, None, None)
        self._first = None
        self._server.client.delete("enginehouse:replica:a")

    async def cut_off(self):
        self._server.stop()


@pytest.fixture
async def replicas(tmp_path):
    with RedisServer(tmp_path) as server:
        async with Replicas(server) as found:
            yield found
