"""One model on three Ollama servers behind a real service: who is asked, over real connections."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import ClientSession

from tests.integration.ollama_server import FakeOllama
from tests.integration.service import Service, free_port

MODEL = "m:1b"
LOOKS = 0.2
SEEN = 0.8
"""Seconds after which every server has been looked at once more, on a busy machine too."""


class Host(FakeOllama):
    """A server that can be stopped, and started again where it was."""

    def __init__(self, *loaded):
        super().__init__(*loaded)
        self._port, self._life = free_port(), AsyncExitStack()

    async def start(self):
        self.url = await self._life.enter_async_context(self.serve(self._port))

    async def stop(self):
        self.let_go.set()
        await self._life.aclose()


class Fleet:
    """Three servers and the service before them."""

    def __init__(self, service, hosts, client):
        self.service, self.hosts, self._client = service, hosts, client

    async def ask(self, *questions):
        """A status; each question but the last has been answered before."""
        turns = [{"role": "user", "content": questions[0]}]
        for question in questions[1:]:
            turns += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": question}]
        body = {"model": "ours", "messages": turns}
        async with self._client.post("/v1/chat/completions", json=body) as answer:
            return answer.status

    async def told(self, event):
        """Wait until the log says so."""
        await self.until(lambda: f'"event":"{event}"' in self.service.log())

    async def until(self, condition):
        await asyncio.to_thread(self.service.wait_until, condition, 10)

    def chats(self):
        """How many each server was asked, by their first questions."""
        return [
            Counter(body["messages"][0]["content"] for path, body in host.asked if path == "/api/chat")
            for host in self.hosts
        ]


@asynccontextmanager
async def fleet(folder, *loaded):
    """Servers with these models in memory."""
    hosts = [Host(*names) for names in loaded]
    async with AsyncExitStack() as stack:
        for host in hosts:
            await host.start()
            stack.push_async_callback(host.stop)
        first, *rest = [{"base_url": host.url} for host in hosts]
        config = {
            "data_dir": str(folder),
            "default_models": False,
            "log": {"format": "json"},
            "routing": {"health_interval": LOOKS},
            "models": {"ours": {"engine": "ollama", "upstream_model": MODEL, **first, "deployments": rest}},
        }
        service = Service(folder, config)
        stack.push_async_callback(asyncio.to_thread, service.__exit__)
        await asyncio.to_thread(service.start)
        await asyncio.sleep(SEEN)
        yield Fleet(service, hosts, await stack.enter_async_context(ClientSession(service.url)))


async def test_the_server_that_has_the_model_in_memory_is_asked(tmp_path):
    async with fleet(tmp_path, ["x"], ["x"], [MODEL]) as house:
        assert {await house.ask(f"question {number}") for number in range(6)} == {200}
        assert [seen.total() for seen in house.chats()] == [0, 0, 6]
        house.hosts[2].loaded, house.hosts[0].loaded = {"x"}, {MODEL}
        await asyncio.sleep(SEEN)
        assert await house.ask("another") == 200
        assert [seen.total() for seen in house.chats()] == [1, 0, 6]


async def test_conversations_stay_with_their_servers_and_no_request_finds_one_gone(tmp_path):
    async with fleet(tmp_path, [MODEL], [MODEL], [MODEL]) as house:
        names = [f"conversation {number}" for number in range(9)]
        for turn in range(2):
            assert {await house.ask(name, *["more"] * turn) for name in names} == {200}
        own = house.chats()
        assert sum(own, Counter()) == dict.fromkeys(names, 2)
        assert sum(map(len, own)) == len(names)  # each at one server only
        gone = max(range(3), key=lambda at: len(own[at]))
        assert 0 < len(own[gone]) < len(names)

        await house.hosts[gone].stop()
        await house.told("server_away")
        assert {await house.ask(name, *["more"] * 2) for name in names} == {200}
        assert house.chats()[gone] == own[gone]
        assert "request_retried" not in house.service.log()
        for seen, before in zip(house.chats(), own, strict=True):
            assert not before - seen  # the others keep what they had, and share the rest

        await house.hosts[gone].start()
        await house.told("server_back")
        assert {await house.ask(name, *["more"] * 3) for name in names} == {200}
        assert house.chats()[gone] == Counter(dict.fromkeys(own[gone], 3))


async def test_one_popular_beginning_does_not_fill_one_server(tmp_path):
    async with fleet(tmp_path, [MODEL], [MODEL], [MODEL]) as house:
        asked = [asyncio.create_task(house.ask("hello", "hang")) for _ in range(12)]
        await house.until(lambda: sum(seen.total() for seen in house.chats()) == 12)
        assert max(seen.total() for seen in house.chats()) <= 6  # one and a half times a third
        for host in house.hosts:
            host.let_go.set()
        assert await asyncio.gather(*asked) == [200] * 12
