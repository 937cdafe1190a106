"""What being followed, counted, kept and logged costs a request; and what is done for it beside the requests."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, redirect_stderr
from pathlib import Path
from time import perf_counter, process_time, time_ns

from msgspec import Struct

from enginehouse.api.meters import request_metrics
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.core.traces import Trace, Traces
from enginehouse.core.traces.keeping import Keeper, Keeping
from enginehouse.core.traces.lines import RequestLines
from enginehouse.core.traces.pulse import Pulse, Slow, Surroundings
from enginehouse.core.traces.trace import trace_id
from enginehouse.core.traces.way import own_time
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.telemetry.logs import configure_logs
from enginehouse.telemetry.metrics import Metrics
from enginehouse.types import Operation, Principal, Request, Timings
from enginehouse.types.phases import Span

__all__ = ["TelemetryCost", "in_one_step", "one_request", "telemetry_costs", "told_in"]

_PATH = "/v1/chat/completions"
_ANN = Principal(user="ann", key="key", tier="standard")
_MODELS = 20
_PHASES = ("limits", "queue", "load", "upstream", "ledger")


class TelemetryCost(Struct, frozen=True, kw_only=True):
    """What one part costs, in microseconds."""

    name: str
    mean: float
    p50: float
    p95: float


async def telemetry_costs(times: int = 9000) -> list[TelemetryCost]:
    """Each row after the first has all that stands in the rows above it; the last ones are beside the requests.

    Args:
        times: how many requests of each.
    """
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log, redirect_stderr(log):
        configure_logs("info", "json", for_good=False)
        costs = [
            _measured("told in one step at its end, and counted", Traces(), times, in_one_step),
            _measured("followed on its way, and counted", Traces(), times),
        ]
        async with told_in(Path(folder)) as (traces, keeper, pulse):
            costs.append(_measured("kept, and told to who watches", traces, times))
            beside = [await _written(keeper, times), await _beaten(pulse), _scraped(traces)]
            traces.listen(RequestLines(wanted=True).hear)
            costs.append(_measured("and a line of the log", traces, times))
        costs += beside
    configure_logs("info", "auto")
    assert sys.stderr is not log, "lines go where they went before"
    return costs


@asynccontextmanager
async def told_in(folder: Path) -> AsyncGenerator[tuple[Traces, Keeper, Pulse]]:
    """What follows requests, keeps them in a database in this folder, and tells of them."""

    async def ask() -> Slow:
        return Slow()

    async with open_database(database_url("", folder)) as database:
        await prepare(database)
        keeper, traces = Keeper(database, Keeping()), Traces()
        pulse = Pulse(traces, Surroundings, ask)
        traces.listen(keeper.hear)
        yield traces, keeper, pulse


def one_request(traces: Traces, number: int) -> None:
    """One request, as it calls what follows it on its way."""
    clock = asyncio.get_running_loop().time
    began, timings = clock(), Timings()
    way = traces.arrived(timings, f"request-{number}", _PATH, began)
    for name in ("identity", "limits", "queue", "load", "ledger"):
        with timings.phase(name):
            pass
    timings.spans.append(Span("upstream", began, clock() - began))
    timings.ttft = 0.1
    model = f"model-{number % _MODELS}"
    request = Request(
        operation=Operation.CHAT,
        model=model,
        principal=_ANN,
        request_id=f"request-{number}",
        face="openai.chat",
        stream=True,
        timings=timings,
    )
    traces.began(request)
    traces.ended(request, _record(model), None)
    traces.left(way, _ANN, 200, None)


def in_one_step(traces: Traces, number: int) -> None:
    """One request that is so plain that its trace is made when all is over."""
    traces.come()
    now, model = time_ns() // 1000, f"model-{number % _MODELS}"
    spans = (("limits", 1, 2), ("queue", 3, 0), ("load", 3, 0), ("upstream", 4, 90_000), ("ledger", 90_002, 5))
    trace = Trace(
        id=trace_id(now),
        time=now,
        request_id=f"request-{number}",
        user_id=_ANN.user,
        key_id=_ANN.key,
        tier=_ANN.tier,
        model=model,
        asked=model,
        deployment=model,
        engine="openai",
        provider="openai",
        face="openai.chat",
        path=_PATH,
        operation="chat",
        priority="normal",
        status=200,
        cache="miss",
        calls=1,
        input_tokens=100,
        output_tokens=20,
        cost=1000,
        total_us=90_010,
        gateway_us=own_time(90_010, spans),
        phases=_PHASES,
        times=tuple(time for _, *both in spans for time in both),
    )
    traces.went(trace)


def _measured(
    name: str, traces: Traces, times: int, ask: Callable[[Traces, int], None] = one_request
) -> TelemetryCost:
    took: list[float] = []
    for number in range(times):
        began = perf_counter()
        ask(traces, number)
        took.append((perf_counter() - began) * 1_000_000)
    return _cost(name, took[times // 10 :])


def _record(model: str) -> UsageRecord:
    return UsageRecord(
        id="record",
        request_id="request",
        time=0,
        user_id="ann",
        model=model,
        operation="chat",
        outcome="completed",
        input_tokens=100,
        output_tokens=20,
        cost=1000,
    )


async def _written(keeper: Keeper, times: int) -> TelemetryCost:
    """CPU time of writing them, by the request."""
    used = process_time()
    async with keeper:
        pass
    each = (process_time() - used) * 1_000_000 / times
    return TelemetryCost(name="beside: written into the database, CPU a request", mean=each, p50=each, p95=each)


async def _beaten(pulse: Pulse) -> TelemetryCost:
    took: list[float] = []
    for _ in range(200):
        began = perf_counter()
        await pulse.beat()
        took.append((perf_counter() - began) * 1_000_000)
    return _cost("beside: the figures, once a second", took)


def _scraped(traces: Traces) -> TelemetryCost:
    metrics = Metrics()
    metrics.add(request_metrics(traces))
    return _repeated(f"beside: what a scrape of {_MODELS} models takes of the loop", metrics.collect)


def _repeated(name: str, work: Callable[[], object], times: int = 50) -> TelemetryCost:
    took: list[float] = []
    for _ in range(times):
        began = perf_counter()
        work()
        took.append((perf_counter() - began) * 1_000_000)
    return _cost(name, took)


def _cost(name: str, took: list[float]) -> TelemetryCost:
    ordered = sorted(took)
    p50, p95 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
    return TelemetryCost(name=name, mean=sum(ordered) / len(ordered), p50=p50, p95=p95)
