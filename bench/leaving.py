"""How soon a caller who leaves is noticed where his question is answered: the connection to the engine ends."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

from msgspec import Struct

from bench.histogram import Histogram, Spread
from bench.processes import BenchError, Cores, free_port, running
from bench.systems import configuration

__all__ = ["Noticed", "noticed"]

_MODEL = "endless"
_PATIENCE = 10.0
"""Seconds after which something that should have happened has not."""
_PACE = 0.05
"""Seconds from one word to the next."""
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WORD = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"word "},"finish_reason":null}]}\n\n'
)
_CASES = (
    ("before the first word of a stream", True, False),
    ("waiting for a whole answer", False, False),
    ("in the midst of a stream", True, True),
)
"""Name, whether a stream is wanted, and whether the engine says anything."""


class Noticed(Struct, frozen=True, kw_only=True):
    """What it took from the caller's leaving to the end of the connection to the engine."""

    case: str
    took: Spread


async def noticed(times: int) -> list[Noticed]:
    """Ask an engine whose answers never end, with everything on, and leave.

    Args:
        times: so often in each case.

    Raises:
        BenchError: the service did not come up, or what should have been noticed was not for seconds.
    """
    found: list[Noticed] = []
    async with _service() as (port, asked):
        for case, stream, speaks in _CASES:
            histogram = Histogram()
            for number in range(times):
                took = await _leave(port, asked, f"{case} {number}", stream=stream, speaks=speaks)
                histogram.record(int(took * 1e9))
            spread = histogram.spread()
            assert spread is not None, "somebody asked"
            found.append(Noticed(case=case, took=spread))
    return found


class _Endless(asyncio.Protocol):
    """One connection to an engine: it reads a question, and speaks without end or is silent, as it is asked to."""

    def __init__(self, asked: "asyncio.Queue[_Endless]") -> None:
        self._asked = asked
        self._received = b""
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self.over: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        """When the connection ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "it is TCP"
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"}]" not in self._received:
            return
        self._asked.put_nowait(self)
        if b"midst" in self._received:
            self._task = asyncio.get_running_loop().create_task(self._speak())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._task is not None:
            self._task.cancel()
        if not self.over.done():
            self.over.set_result(perf_counter())

    async def _speak(self) -> None:
        assert self._transport is not None, "somebody asks"
        self._transport.write(_HEAD)
        while True:
            self._transport.write(b"%x\r\n%b\r\n" % (len(_WORD), _WORD))
            await asyncio.sleep(_PACE)


@asynccontextmanager
async def _service() -> AsyncGenerator[tuple[int, "asyncio.Queue[_Endless]"]]:
    """The service's port, and connections to the engine on which something was asked."""
    asked: asyncio.Queue[_Endless] = asyncio.Queue()
    engine = await asyncio.get_running_loop().create_server(lambda: _Endless(asked), "127.0.0.1", 0)
    async with engine:
        with tempfile.TemporaryDirectory() as name:
            port, folder = free_port(), Path(name)
            file = folder / "enginehouse.json"
            there = engine.sockets[0].getsockname()[1]
            file.write_text(json.dumps(configuration(port, there, [_MODEL], folder, full=True)))
            command = [sys.executable, "-m", "enginehouse", "serve", "--config", str(file)]
            core, log = Cores.of_this_machine().gateway, folder / "service.log"
            with running(command, port=port, ready="/ready", core=core, log=log):
                yield port, asked


async def _leave(port: int, asked: "asyncio.Queue[_Endless]", text: str, *, stream: bool, speaks: bool) -> float:
    """Seconds until it was noticed."""
    body = {"model": _MODEL, "stream": stream, "temperature": 0.7, "messages": [{"role": "user", "content": text}]}
    said = json.dumps(body, separators=(",", ":")).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer bench\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(_PATIENCE):
            writer.write(f"{head}content-length: {len(said)}\r\n\r\n".encode() + said)
            connection = await asked.get()
            if speaks:
                await reader.readuntil(b"word ")
            left = perf_counter()
            writer.transport.abort()
            return await connection.over - left
    except (TimeoutError, asyncio.IncompleteReadError) as error:
        raise BenchError(f"Nobody noticed {text!r}, or nothing was answered.") from error
    finally:
        writer.transport.abort()
