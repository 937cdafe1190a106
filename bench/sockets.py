"""Many WebSockets at a time, each with a slow answer: what a token is held up, and what a socket weighs."""

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import cast

from msgspec import Struct

from bench.histogram import Histogram, Spread
from bench.processes import BenchError, Child, free_port, running
from bench.systems import configuration
from bench.weight import cpu_seconds, resident_bytes, scheduled

__all__ = ["SocketCost", "socket_cost"]

_STAMP = re.compile(rb"~(\d{19})~")
_PING = re.compile(rb"\x89\x04(.{4})", re.DOTALL)
"""uvicorn's; all else that is sent is ASCII, and a ping comes in one piece."""
_REST = 256
"""Bytes that are kept for a stamp, or an end, cut in two by the network."""
_AT_ONCE = 50
"""Sockets that are opened at a time."""
_DIRECT = 100
"""Streams that come without the service."""
_PATIENCE = 120.0


class SocketCost(Struct, frozen=True, kw_only=True):
    """So many sockets, all of which were answered to the end."""

    sockets: int
    tokens: int
    """That came, over all sockets."""
    delay: Spread
    """From the upstream's writing of a token to its arrival at the client: both ways through the loopback, the
    service, and the client itself."""
    direct: Spread
    """The same at the same time without the service: some streams come to the client from the upstream itself."""
    idle_bytes: float
    """Resident memory for each open socket that does nothing."""
    streaming_bytes: float
    """For each one with its answer: socket, answer, session, its request to the upstream and that connection."""
    cpu_microseconds: float
    """Of the service, for each token."""
    cpu_wanted: float
    """Seconds for which the service's loop had a processor."""
    cpu_waited: float
    """Seconds for which it waited for one, because others had it: what a quiet machine would not hold up."""


def socket_cost(sockets: int, tokens: int, interval: float, spread: float) -> SocketCost:
    """Open them all, ask once over each, read to the end.

    Args:
        sockets: how many.
        tokens: of each answer.
        interval: seconds from one token to the next.
        spread: seconds over which the questions come.

    Raises:
        BenchError: a server did not come up, or an answer did not end well.
    """
    model = f"mock-c{tokens}-i{round(interval * 1000)}-d{round(interval * 1000)}"
    with tempfile.TemporaryDirectory() as folder, _standing(model, Path(folder)) as (upstream, service):
        return asyncio.run(_measure(model, upstream, service, sockets, tokens * interval, spread))


@contextmanager
def _standing(model: str, folder: Path) -> Generator[tuple[Child, Child]]:
    """A mock upstream, and the service before it."""
    upstream, port = free_port(), free_port()
    mock = [sys.executable, "-m", "bench.mock", "--port", str(upstream)]
    file = folder / "enginehouse.json"
    file.write_text(json.dumps(configuration(port, upstream, [model], folder)))
    serve = [sys.executable, "-m", "enginehouse", "serve", "--config", str(file)]
    with (
        running(mock, port=upstream, ready="/health", core=None, log=folder / "mock.log") as mocking,
        running(serve, port=port, ready="/ready", core=None, log=folder / "service.log") as service,
    ):
        yield mocking, service


async def _measure(
    model: str, upstream: Child, service: Child, sockets: int, length: float, spread: float
) -> SocketCost:
    seen, plain = _Seen(), _Seen()
    await _open(upstream.port, plain, partial(_Reader, plain, model), _DIRECT)
    await _open(service.port, seen, partial(_Client, seen), 1)
    await seen.ask(0)
    await seen.ended(1)  # everything is imported and warm
    began = resident_bytes(service.pid)
    await _open(service.port, seen, partial(_Client, seen), sockets)
    idle = resident_bytes(service.pid)
    seen.delays, worked, turns = Histogram(), cpu_seconds(service.pid), scheduled(service.pid)
    await asyncio.gather(seen.ask(spread), plain.ask(spread))
    await asyncio.sleep(max(0.0, length - spread) * 0.8)  # all of them are being answered
    streaming = resident_bytes(service.pid)
    await seen.ended(1 + sockets)
    await plain.ended(_DIRECT)
    seen.leave()
    ran, waited = (after - before for before, after in zip(turns, scheduled(service.pid), strict=True))
    delay, direct = seen.delays.spread(), plain.delays.spread()
    if delay is None or direct is None or seen.complaint:
        raise BenchError(f"Not all were answered well: {seen.complaint or 'no token came'}")
    return SocketCost(
        sockets=sockets,
        tokens=delay.count,
        delay=delay,
        direct=direct,
        idle_bytes=(idle - began) / sockets,
        streaming_bytes=(streaming - began) / sockets,
        cpu_microseconds=(cpu_seconds(service.pid) - worked) / delay.count * 1e6,
        cpu_wanted=ran,
        cpu_waited=waited,
    )


async def _open(port: int, seen: "_Seen", make: "Callable[[], _Client]", number: int) -> None:
    loop = asyncio.get_running_loop()
    for begin in range(0, number, _AT_ONCE):
        many = range(begin, min(begin + _AT_ONCE, number))
        made = await asyncio.gather(*(loop.create_connection(make, "127.0.0.1", port) for _ in many))
        await asyncio.gather(*(client.open.wait() for _, client in made))
        seen.clients += [client for _, client in made]


class _Seen:
    """What all clients have seen."""

    def __init__(self) -> None:
        self.delays = Histogram()
        self.clients: list[_Client] = []
        self.complaint = ""
        self._over = 0
        self._asked = 0
        self._news = asyncio.Event()

    async def ask(self, spread: float) -> None:
        """Over every socket that has not asked yet, at equal distances."""
        began, asking = asyncio.get_running_loop().time(), self.clients[self._asked :]
        for number, client in enumerate(asking):
            due = began + spread * number / len(asking)
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            client.ask(f"s{self._asked}")
            self._asked += 1

    def leave(self) -> None:
        """Hang up everywhere."""
        for client in self.clients:
            client.leave()

    def over(self, complaint: bytes | None = None) -> None:
        """An answer has ended, or a socket has."""
        self._over += 1
        if complaint is not None:
            self.complaint = complaint.decode(errors="replace")
        self._news.set()

    async def ended(self, number: int) -> None:
        """Wait for so many of them."""
        async with asyncio.timeout(_PATIENCE):
            while self._over < number:
                self._news.clear()
                await self._news.wait()


class _Client(asyncio.Protocol):
    """A WebSocket that costs almost nothing: it looks for stamps in whatever comes."""

    end = b'"stream_end"'

    def __init__(self, seen: _Seen) -> None:
        self.open = asyncio.Event()
        self._seen = seen
        self._rest = b""
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Too early, unless the answer has ended."""
        if not self._done:
            self._seen.over(str(exc).encode())

    def data_received(self, data: bytes) -> None:
        """Whatever comes."""
        now, data = monotonic_ns(), self._rest + data
        end = 0
        for found in _STAMP.finditer(data):
            self._seen.delays.record(now - int(found[1]))
            end = found.end()
        for ping in _PING.finditer(data, len(self._rest)):
            self._transport.write(b"\x8a\x84" + bytes(4) + ping[1])
        if not self.open.is_set() and b"\r\n\r\n" in data:
            self.open.set()
        if not self._done and (self.end in data or b'"error"' in data):
            self._done = True
            self._seen.over(data[-1000:] if b'"error"' in data else None)
        self._rest = data[max(end, len(data) - _REST) :]

    def ask(self, session_id: str) -> None:
        """In a session of its own."""
        said = {"event": "stream_chat", "data": {"session_id": session_id, "prompt": "Say something slowly."}}
        payload = json.dumps(said).encode()
        head = bytes([0x81, 0xFE]) + len(payload).to_bytes(2, "big")
        self._transport.write(head + bytes(4) + payload)  # masked with noughts

    def leave(self) -> None:
        """Hang up."""
        self._transport.abort()


class _Reader(_Client):
    """A stream of the upstream's own, over HTTP."""

    end = b"[DONE]"

    def __init__(self, seen: _Seen, model: str) -> None:
        super().__init__(seen)
        self._model = model

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing has to be agreed upon."""
        self._transport = cast("asyncio.Transport", transport)
        self.open.set()

    def ask(self, session_id: str) -> None:
        """The same question."""
        messages = [{"role": "user", "content": f"Say something slowly, {session_id}."}]
        body = json.dumps({"model": self._model, "stream": True, "messages": messages}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
