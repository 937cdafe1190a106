"""A lane behind a real server: over loopback, with callers that stay, leave, do not read, or see its end."""

import asyncio
import json
import socket
import time
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import aiohttp
import pytest
from websockets.asyncio.client import connect

from enginehouse.cli.http import Connection, Offers
from enginehouse.cli.serve import Server, run_in_loop
from enginehouse.settings.schema import Settings

pytestmark = pytest.mark.integration

PIECE = b"x" * 16_384
PIECES = 2_000


class Lane:
    """Answers at once, after a while, never, or with a flood, as its path says."""

    paths = ("/now", "/later", "/never", "/flood")

    def __init__(self):
        self.calls = []
        self.heard = []
        self.paused = 0

    def offer(self, call, /):
        self.calls.append(call)
        if call.path == "/now":
            if call.body == b"no":
                return False
            whole(call, b"lane " + call.body)
        elif call.path == "/later":
            task = asyncio.get_running_loop().create_task(self._later(call))
            call.adopt(task)
        elif call.path == "/flood":
            Flood(self, call)
        else:
            call.hear(lambda: self.heard.append(time.monotonic()))
        return True

    async def _later(self, call):
        await asyncio.sleep(0.3)
        whole(call, b"late")


class Flood:
    """A stream that is written as fast as it is read, and counts how often it had to wait."""

    def __init__(self, lane, call):
        self._lane, self._call, self._left, self._full = lane, call, PIECES, False
        call.write(call.opening() + b"content-length: %d\r\n\r\n" % (PIECES * len(PIECE)))
        call.full(self._tell)
        self._pour()

    def _tell(self, full):
        self._full = full
        if full:
            self._lane.paused += 1
        else:
            self._pour()

    def _pour(self):
        while self._left and not self._full:
            self._left -= 1
            self._call.write(PIECE)
        if not self._left:
            self._call.full(None)
            self._call.end()


def whole(call, words):
    call.write(call.opening() + b"content-length: %d\r\n\r\n" % len(words) + words)
    call.end()


async def application(scope, receive, send):
    """Says what it was asked, whoever asks."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})
        await receive()
        return
    words = b"asgi " + (await receive())["body"]
    head = [(b"content-length", str(len(words)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": words})


async def until(condition):
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.005)


@asynccontextmanager
async def serving():
    """A server with a lane; leaving the context stops it and waits until it has ended."""
    settings = Settings.model_validate({"server": {"drain_delay": 0, "shutdown_timeout": 5}})
    served = SimpleNamespace(settings=settings, leaving=asyncio.Event(), stopping=asyncio.Event(), asgi=application)
    lane = Lane()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(served, partial(Connection, offers=Offers(lane)))
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            await until(lambda: server.started)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield SimpleNamespace(url=url, lane=lane, server=server, port=listener.getsockname()[1])
            server.stop()


def run(scene):
    """In the loop that the service has."""

    async def main():
        async with asyncio.timeout(60), serving() as service, aiohttp.ClientSession(service.url) as client:
            await scene(service, client)

    run_in_loop(main())


async def asked(client, path, body=b"hello"):
    async with client.post(path, data=body) as answer:
        assert answer.headers["date"]
        return await answer.read()


def test_one_connection_carries_both_kinds_of_requests():
    async def scene(service, client):
        for number in range(20):
            body = json.dumps({"n": number}).encode()
            assert await asked(client, "/now", body) == b"lane " + body
            assert await asked(client, "/else", body) == b"asgi " + body
            assert await asked(client, "/now", b"no") == b"asgi no"
        large = b"y" * 500_000
        assert await asked(client, "/now", large) == b"lane " + large
        assert len(service.server.server_state.connections) == 1
        assert service.server.server_state.total_requests == 61

    run(scene)


def test_many_callers_at_once():
    async def scene(service, client):
        words = [b"%d" % number for number in range(200)]
        answers = await asyncio.gather(*(asked(client, "/now", word) for word in words))
        assert answers == [b"lane " + word for word in words]

    run(scene)


def test_who_leaves_is_noticed_at_once():
    async def scene(service, client):
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"POST /never HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: service.lane.calls)
        left = time.monotonic()
        writer.close()
        await until(lambda: service.lane.heard)
        assert service.lane.heard[0] - left < 0.1
        service.lane.calls[0].end()

    run(scene)


def test_a_flood_waits_for_its_reader():
    async def scene(service, client):
        async with client.post("/flood") as answer:
            await asyncio.sleep(0.3)
            (connection,) = service.server.server_state.connections
            assert connection.transport.get_write_buffer_size() <= 64 * 1024 + len(PIECE)
            assert len(await answer.read()) == PIECES * len(PIECE)
        assert service.lane.paused > 1
        assert await asked(client, "/now") == b"lane hello"

    run(scene)


def test_what_runs_is_answered_when_the_server_stops():
    async def scene(service, client):
        asks = [asyncio.ensure_future(asked(client, "/later")) for _ in range(3)]
        await until(lambda: len(service.lane.calls) == 3)
        service.server.stop()
        assert await asyncio.gather(*asks) == 3 * [b"late"]
        await until(lambda: not service.server.server_state.connections)

    run(scene)


def test_a_socket_may_begin_on_such_a_connection():
    async def scene(service, client):
        async with connect(f"{service.url.replace('http', 'ws')}/ws") as one:
            await one.send("hello")
            assert await one.recv() == "hello"

    run(scene)
