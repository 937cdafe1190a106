"""Runs one measurement: opens the connections, drives them through the window, weighs the processes."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count, cycle
from time import monotonic_ns, time_ns

from msgspec import Struct

from bench.load.connection import Connection
from bench.load.loops import Closed, Loop, Open
from bench.load.meter import Meter
from bench.load.work import Sample, Work
from bench.weight import cpu_seconds, resident_bytes

__all__ = ["generate", "requests"]

_CONNECT = 10.0
"""Seconds within which all connections must stand."""
_DRAIN = 5.0
"""Seconds that answers may come late after the window's end."""


async def generate(work: Work) -> Sample:
    """Measure once.

    Raises:
        ExceptionGroup: the address does not take the connections, or not in time.
    """
    meter = Meter()
    loop: Loop = Closed(meter) if work.rate is None else Open(work.rate, meter)
    async with _connections(work, meter, loop) as connections:
        meter.open(monotonic_ns(), work.warmup, work.seconds)
        with loop.running():
            weight = await _weigh(work, meter)
        await _drained(connections, loop, work.lasting + _DRAIN)
        loop.give_up()
    return _sample(work, meter, weight)


def requests(work: Work) -> Iterator[bytes]:
    """The requests of one measurement, whole and without end; each has a number in its body.

    Unless questions are to come again, no two are alike: numbers go on with the clock, so that they are not those
    of the measurement before.
    """
    length = len(work.body % 0)
    more = "".join(f"{name}: {value}\r\n" for name, value in work.headers.items()).replace("%", "%%")
    template = (
        f"POST {work.path} HTTP/1.1\r\nhost: 127.0.0.1:{work.port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer bench\r\n{more}content-length: {length}\r\n\r\n{work.body}"
    ).encode()
    if work.questions is not None:
        return cycle([template % number for number in range(work.questions)])
    return (template % number for number in count(time_ns() // 1000 % 10**11))


class _Weight(Struct):
    """What the processes used in the window."""

    gateway_cpu: float = 0
    bench_cpu: float = 0
    gateway_rss: int = 0


@asynccontextmanager
async def _connections(work: Work, meter: Meter, loop: Loop) -> AsyncGenerator[set[Connection]]:
    """As many connections as the work wants, kept until the context ends."""
    standing: set[Connection] = set()
    numbered = requests(work)
    chunks = work.chunks if work.stream else None

    async def connect() -> Connection:
        running = asyncio.get_running_loop()
        _, connection = await running.create_connection(
            lambda: Connection(numbered, chunks, meter, loop.ready), "127.0.0.1", work.port
        )
        standing.add(connection)
        return connection

    async with asyncio.TaskGroup() as tasks:
        async with asyncio.timeout(_CONNECT):
            first = [await connect() for _ in range(work.connections)]
        kept = [tasks.create_task(_keep(connection, connect, standing)) for connection in first]
        yield standing
        for task in kept:
            task.cancel()


async def _keep(
    connection: Connection, connect: Callable[[], Awaitable[Connection]], standing: set[Connection]
) -> None:
    """Keep one connection: when the other side closes it, open another."""
    while True:
        try:
            await connection.lost.wait()
        finally:
            standing.discard(connection)
            connection.close()
        connection = await connect()


async def _weigh(work: Work, meter: Meter) -> _Weight:
    """Wait until the window is over, and weigh the processes in it."""
    weight = _Weight()
    await _until(meter.begin)
    before = _cpu(work)
    while monotonic_ns() < meter.end:
        if work.gateway is not None:
            weight.gateway_rss = max(weight.gateway_rss, resident_bytes(work.gateway))
        await _until(min(meter.end, monotonic_ns() + 250_000_000))
    after = _cpu(work)
    weight.gateway_cpu, weight.bench_cpu = (late - early for late, early in zip(after, before, strict=True))
    return weight


def _cpu(work: Work) -> tuple[float, float]:
    """CPU seconds so far: the gateway's, and those of mock and load generator."""
    gateway = 0.0 if work.gateway is None else cpu_seconds(work.gateway)
    return gateway, cpu_seconds(work.upstream) + cpu_seconds(os.getpid())


async def _until(moment: int) -> None:
    await asyncio.sleep(max(moment - monotonic_ns(), 0) / 1e9)


async def _drained(connections: set[Connection], loop: Loop, seconds: float) -> None:
    """Wait for the last answers, but not for ever; asks now and then, since an event would cost every request."""
    deadline = monotonic_ns() + seconds * 1e9
    while (loop.waiting or any(c.busy for c in connections)) and monotonic_ns() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def _sample(work: Work, meter: Meter, weight: _Weight) -> Sample:
    return Sample(
        seconds=work.seconds,
        answers=meter.latency.count,
        failures=meter.failures,
        latency=meter.latency.spread(),
        first=meter.first.spread(),
        added=meter.added.spread(),
        chunks=meter.added.count,
        gateway_cpu=weight.gateway_cpu,
        bench_cpu=weight.bench_cpu,
        gateway_rss=weight.gateway_rss,
    )
