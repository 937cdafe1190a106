"""From samples to figures: each is computed within one round, then its median and range over the rounds."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal

from msgspec import Struct

from bench.histogram import Spread
from bench.load import Sample
from bench.run import Report
from bench.scenarios import Scenario
from bench.systems import DIRECT, YARDSTICK

__all__ = [
    "Band",
    "Figure",
    "Neighbours",
    "Value",
    "band",
    "core_share",
    "figures",
    "gather",
    "is_bench_bound",
    "over_direct",
    "own_point",
    "rate",
]

_BOUND = 0.95
"""Share of the core of mock and load generator from which on they, not the gateway, may set the pace."""


class Band(Struct, frozen=True):
    """A figure over the rounds."""

    median: float
    low: float
    high: float


class Neighbours(Struct, frozen=True):
    """What was measured side by side in one round: a system, the baseline and, if it took part, the yardstick."""

    own: Sample
    direct: Sample
    yardstick: Sample | None
    idle_rss: int = 0
    """Bytes of the system before its first request."""

    @property
    def is_baseline(self) -> bool:
        """Whether the system is the baseline itself."""
        return self.own is self.direct


Value = Callable[[Neighbours], float | None]
"""Computes a figure in one round; None where it has no meaning."""
_Spread = Literal["latency", "first", "added"]
_Point = Literal["p50", "p99"]


class Figure(Struct, frozen=True):
    """A column: what it is called, how it is computed in one round, how it is printed."""

    title: str
    value: Value
    form: str
    marks_bound: bool = False
    """Whether it says little once mock and load generator are at their own limit."""


def band(values: Sequence[float | None]) -> Band | None:
    """Median and range of the values that there are, or None when there are none."""
    known = [value for value in values if value is not None]
    return Band(median(known), min(known), max(known)) if known else None


def gather(report: Report, scenario: str, system: str) -> list[Neighbours]:
    """One system's samples with their neighbours, round by round; none if it did not take part."""
    samples = {(m.system, m.round): m.sample for m in report.measurements if m.scenario == scenario}
    idle = next((presence.idle_rss for presence in report.presences if presence.system == system), 0)
    return [
        Neighbours(samples[system, turn], samples[DIRECT, turn], samples.get((YARDSTICK, turn)), idle)
        for turn in range(report.plan.rounds)
        if (system, turn) in samples
    ]


def figures(scenario: Scenario) -> tuple[Figure, ...]:
    """The columns that make sense for a scenario."""
    match scenario.stream, scenario.paced:
        case False, False:
            return _SATURATION
        case False, True:
            return (Figure("requests/s", rate, "{:,.0f}"), *_LATENCY) if scenario.share else _LATENCY
        case True, False:
            return _STREAMS
        case _:
            return (*_PACED, *_crowd(scenario)) if scenario.lasting else _PACED


def _crowd(scenario: Scenario) -> tuple[Figure, ...]:
    """What many open streams cost by being open.

    The memory is all by which the process has grown since its start, with what the scenarios before have left and
    the kept answers of streams that have ended; `bench open-streams` weighs the open ones alone.
    """
    streams = (scenario.rate or 0) * scenario.lasting

    def memory(r: Neighbours) -> float | None:
        return None if r.is_baseline else (r.own.gateway_rss - r.idle_rss) / streams / 1024

    return Figure("KiB grown/stream", memory, "{:.0f}"), Figure("% of a core", core_share, "{:.0f}")


def is_bench_bound(rounds: Sequence[Neighbours]) -> bool:
    """Whether mock and load generator filled their core, so that the system could perhaps do more."""
    return median(r.own.bench_cpu / r.own.seconds for r in rounds) > _BOUND


def rate(r: Neighbours) -> float:
    """Answers a second."""
    return r.own.answers / r.own.seconds


def core_share(r: Neighbours) -> float | None:
    """Per cent of a core that the gateway took; None for the baseline."""
    return None if r.is_baseline else 100 * r.own.gateway_cpu / r.own.seconds


def _versus_yardstick(r: Neighbours) -> float | None:
    if r.is_baseline or r.yardstick is None or not r.yardstick.answers:
        return None
    return r.own.answers / r.yardstick.answers


def _cpu_per(counted: Literal["answers", "chunks"]) -> Value:
    """Microseconds of the gateway's CPU for one of them."""

    def value(r: Neighbours) -> float | None:
        count: int = getattr(r.own, counted)
        return None if r.is_baseline or not count else r.own.gateway_cpu / count * 1e6

    return value


def own_point(spread: _Spread, point: _Point) -> Value:
    """A point of one of the system's own distributions, in milliseconds."""
    return lambda r: _point(r.own, spread, point)


def over_direct(spread: _Spread, point: _Point) -> Value:
    """By how many milliseconds that point lies above the baseline's in the same round."""

    def value(r: Neighbours) -> float | None:
        own, direct = _point(r.own, spread, point), _point(r.direct, spread, point)
        return None if r.is_baseline or own is None or direct is None else own - direct

    return value


def _point(sample: Sample, spread: _Spread, point: _Point) -> float | None:
    found: Spread | None = getattr(sample, spread)
    return None if found is None else getattr(found, point)


_SATURATION = (
    Figure("requests/s", rate, "{:,.0f}", marks_bound=True),
    Figure("times a", _versus_yardstick, "{:.2f}"),
    Figure("CPU µs/request", _cpu_per("answers"), "{:,.0f}"),
    Figure("p50 ms", own_point("latency", "p50"), "{:.2f}"),
    Figure("p99 ms", own_point("latency", "p99"), "{:.2f}"),
)
_LATENCY = (
    Figure("p50 ms", own_point("latency", "p50"), "{:.2f}"),
    Figure("p99 ms", own_point("latency", "p99"), "{:.2f}"),
    Figure("added p50 ms", over_direct("latency", "p50"), "{:.2f}"),
    Figure("added p99 ms", over_direct("latency", "p99"), "{:.2f}"),
)
_STREAMS = (
    Figure("streams/s", rate, "{:,.0f}", marks_bound=True),
    Figure("times a", _versus_yardstick, "{:.2f}"),
    Figure("CPU µs/stream", _cpu_per("answers"), "{:,.0f}"),
    Figure("first chunk p50 ms", own_point("first", "p50"), "{:.2f}"),
    Figure("first chunk p99 ms", own_point("first", "p99"), "{:.2f}"),
)
_PACED = (
    Figure("chunk under way p50 ms", own_point("added", "p50"), "{:.3f}"),
    Figure("chunk under way p99 ms", own_point("added", "p99"), "{:.3f}"),
    Figure("added p50 ms", over_direct("added", "p50"), "{:.3f}"),
    Figure("added p99 ms", over_direct("added", "p99"), "{:.3f}"),
    Figure("first chunk added p50 ms", over_direct("first", "p50"), "{:.2f}"),
    Figure("CPU µs/chunk", _cpu_per("chunks"), "{:.1f}"),
)
