"""Many streams that are open at a time: what one weighs, apart from what the streams before it have left behind."""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from bench.processes import BenchError, Cores
from bench.systems import System, standing
from bench.weight import resident_bytes

__all__ = ["OpenCost", "open_cost"]

_CHUNKS, _INTERVAL_MS = 64, 200
_WARM = "mock-c64-b4"
_SLOW = f"mock-c{_CHUNKS}-i{_INTERVAL_MS}"
_AT_ONCE = 50
"""Streams that are begun at a time."""
_REST = 2.5
"""Seconds after which what was only under way to a file, or to another thread, has arrived."""
_PADDING = "The quick brown fox jumps over the lazy dog. " * 20
_END = b"\r\n0\r\n\r\n"


class OpenCost(Struct, frozen=True, kw_only=True):
    """So many streams, all of which came to their end."""

    system: str
    streams: int
    open_bytes: float
    """Resident memory for each while all are open and half of their words are there: the connections to the caller
    and to the engine, the request, and what is heard for the cache."""
    left_bytes: float
    """What of it is still there after the end of all: the kept answer, and memory that the allocator keeps."""


def open_cost(name: str, streams: int, warm: int) -> OpenCost:
    """Open them all at a process of their own, and weigh it before, within and after.

    Args:
        name: of the gateway, as `gateway_names` has it.
        streams: how many.
        warm: streams before them, so that everything is imported and made.

    Raises:
        BenchError: a process did not come up, or a stream did not end well.
    """
    if sys.platform != "linux":
        raise BenchError("The benchmark wants Linux, where it reads what a process weighs.")
    with (
        tempfile.TemporaryDirectory() as folder,
        standing([name], [_WARM, _SLOW], Path(folder), Cores.of_this_machine()) as systems,
    ):
        return asyncio.run(_measure(systems[-1], streams, warm))


async def _measure(system: System, streams: int, warm: int) -> OpenCost:
    assert system.gateway is not None, "it is no baseline"
    pid = system.gateway.pid
    for begin in range(0, warm, _AT_ONCE):
        await asyncio.gather(*(_read(system, _WARM, begin + number) for number in range(_AT_ONCE)))
    await asyncio.sleep(_REST)
    before = resident_bytes(pid)
    began, reading = time.monotonic(), list[asyncio.Task[None]]()
    async with asyncio.TaskGroup() as tasks:
        for begin in range(0, streams, _AT_ONCE):
            many = range(begin, min(begin + _AT_ONCE, streams))
            reading += [tasks.create_task(_read(system, _SLOW, warm + number)) for number in many]
            await asyncio.sleep(_AT_ONCE / 1000)
        await asyncio.sleep(max(0.0, _CHUNKS * _INTERVAL_MS / 2000 - (time.monotonic() - began)))
        if any(task.done() for task in reading):
            raise BenchError("Streams had ended before all were open: the machine is too slow for so many.")
        within = resident_bytes(pid)
    await asyncio.sleep(_REST)
    return OpenCost(
        system=system.name,
        streams=streams,
        open_bytes=(within - before) / streams,
        left_bytes=(resident_bytes(pid) - before) / streams,
    )


async def _read(system: System, model: str, number: int) -> None:
    """Ask, and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", system.port)
    try:
        writer.write(_asked(model, number, system.headers))
        status = (await reader.readline()).split(b" ")[1:2]
        rest = await _ended(reader)
    finally:
        writer.close()
    if status != [b"200"] or b"data: [DONE]" not in rest:
        raise BenchError(f"A stream did not end well: {status}, {rest!r}")


async def _ended(reader: asyncio.StreamReader) -> bytes:
    """The last bytes of an answer."""
    rest = b""
    while not rest.endswith(_END):
        piece = await reader.read(65_536)
        if not piece:
            break
        rest = (rest + piece)[-256:]
    return rest


def _asked(model: str, number: int, headers: dict[str, str]) -> bytes:
    message = {"role": "user", "content": f"Question {number}: {_PADDING}"}
    options = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0.7}
    body = json.dumps({"model": model, "messages": [message], **options}).encode()
    lines = {"Host": "127.0.0.1", "Authorization": "Bearer bench", "Content-Type": "application/json", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST /v1/chat/completions HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
