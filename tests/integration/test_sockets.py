"""WebSockets over real connections: who does not read is cut off and told why, and everybody else goes on."""

import asyncio
import json
import logging
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from enginehouse.cli.sockets import BoundedSocket
from enginehouse.settings.schema import ChatSettings
from enginehouse.types.answer import Began, Finish, Finished, TextDelta
from tests.unit.chat.house import Speaker, open_house

BUFFER, PATIENCE = 16_384, 0.5
FREE = {"tiers": {"standard": "unlimited"}, "requests_per_hour": 1_000_000}


class Flood(Speaker):
    """Says as many kilobytes as the question says, as fast as it can."""

    async def _events(self, generation):
        yield Began(id="x", model="theirs")
        for _ in range(int(generation.turns[-1].parts[0].text)):
            await asyncio.sleep(0)
            yield TextDelta(text="x" * 1024)
        yield Finished(reason=Finish.STOP)


class Server(uvicorn.Server):
    """One that leaves signals alone."""

    def capture_signals(self):
        return nullcontext()


@asynccontextmanager
async def serving(engine=None, *, ping=20.0, **chat):
    """A house behind real connections."""
    chat = {"socket_buffer": BUFFER, "slow_reader_timeout": PATIENCE, "max_answer_bytes": 2**24, **chat}
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        house = await stack.enter_async_context(open_house(engine, slots=1000, chat=chat, limits=FREE))
        config = uvicorn.Config(
            house.door,
            http="httptools",
            ws=partial(BoundedSocket, bounds=ChatSettings(**chat)),
            ws_max_size=100_000,
            ws_ping_interval=ping,
            ws_ping_timeout=PATIENCE,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
        )
        server = Server(config)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        tasks.create_task(server.serve([listener]))
        await until(lambda: server.started)
        house.url = f"ws://127.0.0.1:{listener.getsockname()[1]}/ws?token="
        house.connections = server.server_state.connections
        yield house
        house.stopping.set()
        server.should_exit = True


async def ask(client, prompt, request_id="r"):
    data = {"session_id": request_id, "prompt": prompt, "request_id": request_id}
    await client.send(json.dumps({"event": "stream_chat", "data": data}))


async def ends(client):
    """The names of events up to an end, and how many tokens there were."""
    tokens = 0
    async for message in client:
        event = json.loads(message)["event"]
        tokens += event == "stream_token"
        if event in {"stream_end", "stopped", "error"}:
            return event, tokens
    return None, tokens


class Stalled:
    """A WebSocket made by hand that reads nothing until it is told to; its receive buffer is small. A context."""

    def __init__(self, url):
        self._url = url

    async def __aenter__(self):
        address, _, query = self._url.removeprefix("ws://").partition("/")
        host, port = address.split(":")
        self._raw = socket.socket()
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._raw.settimeout(10)
        await asyncio.to_thread(self._raw.connect, (host, int(port)))
        head = f"GET /{query} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        await self.send(f"{head}{key}".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await asyncio.to_thread(self._raw.recv, 1)
        assert b" 101 " in answer
        return self

    async def __aexit__(self, *_):
        self._raw.close()

    async def send(self, data):
        await asyncio.to_thread(self._raw.sendall, data)

    async def ask(self, prompt):
        data = {"session_id": "s", "prompt": prompt, "request_id": "r"}
        await self.send(framed(1, json.dumps({"event": "stream_chat", "data": data}).encode()))

    async def frames(self):
        """Opcodes and payloads of all that it was sent, up to a farewell."""
        found, data, at = [], bytearray(), 0
        while chunk := await asyncio.to_thread(self._raw.recv, 65536):
            data += chunk
            while len(data) >= at + 4:
                size, start = data[at + 1], at + 2
                if size == 126:
                    size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
                if len(data) < start + size:
                    break
                found.append((data[at] & 15, bytes(data[start : start + size])))
                at = start + size
            if found and found[-1][0] == 8:
                break
        return found


def framed(opcode, payload):
    """A client's frame, masked with noughts."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


def unsent(house):
    """Bytes that the only socket has written and not sent."""
    [connection] = [one for one in house.connections if isinstance(one, BoundedSocket)]
    return connection.transport.get_write_buffer_size()


async def until(condition, seconds=10):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is watched is in another part of this process
            await asyncio.sleep(0.02)


async def test_who_does_not_read_is_cut_off_and_told_why_while_others_go_on():
    async with serving(Flood()) as house, Stalled(house.url + "ann") as stalled:
        await stalled.ask("8000")
        await until(lambda: unsent(house) > BUFFER / 2)
        async with connect(house.url + "bob", max_size=None) as other:
            began = time.monotonic()
            for number in range(3):
                await ask(other, "500", f"{number}")
                assert await ends(other) == ("stream_end", 500)
            assert time.monotonic() - began < 5
        await asyncio.sleep(PATIENCE + 0.2)
        frames = await stalled.frames()
        assert frames[-1] == (8, (1008).to_bytes(2, "big") + b"too_slow")
        assert sum(len(payload) for _, payload in frames) < 7_500_000  # it has not been told everything


async def test_a_stalled_reader_costs_no_more_than_its_buffer():
    async with serving(Flood(), slow_reader_timeout=30) as house, Stalled(house.url + "ann") as stalled:
        await stalled.ask("8000")
        await until(lambda: house.said("s") and house.said("s")[-1][1] == "complete", 60)
        assert BUFFER / 2 < unsent(house) <= BUFFER + 2048


async def test_pings_of_who_reads_nothing_do_not_fill_memory():
    async with serving(Flood(), slow_reader_timeout=30) as house, Stalled(house.url + "ann") as stalled:
        await stalled.ask("8000")
        await until(lambda: unsent(house) > BUFFER / 2)
        for _ in range(300):
            await stalled.send(framed(9, b"p" * 100) * 100)
        assert unsent(house) <= BUFFER + 2048


async def test_who_answers_no_ping_is_let_go_of():
    async with serving(Speaker(), ping=0.2) as house, Stalled(house.url + "ann") as stalled:
        frames = await stalled.frames()
        assert frames[-1][1][:2] == (1011).to_bytes(2, "big")
        await until(lambda: not house.connections)


async def test_a_message_that_is_too_large_closes_the_socket():
    async with serving() as house, connect(house.url + "ann") as client:
        await ask(client, "x " * 60_000)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1009


async def test_strangers_are_refused_at_the_handshake():
    async with serving() as house:
        with pytest.raises(InvalidStatus) as refused:
            await connect(house.url)
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["error"]["code"] == "invalid_api_key"


async def test_an_open_socket_is_told_when_the_service_stops():
    async with serving() as house, connect(house.url + "ann") as client:
        house.stopping.set()
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (1012, "shutting_down")


async def test_no_key_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets.client").setLevel(logging.WARNING)
    async with serving() as house, connect(house.url + "secretkey") as client:
        await ask(client, "hello")
        assert await ends(client) == ("stream_end", 1)
    assert "secretkey" not in caplog.text


async def test_three_hundred_sockets_at_once_are_all_answered():
    async with serving(Speaker(0.02)) as house, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(house.url + f"u{n}")) for n in range(300)]
        for client in clients:
            await ask(client, " ".join("abcdefghij"))
        assert await asyncio.gather(*map(ends, clients)) == [("stream_end", 10)] * 300
