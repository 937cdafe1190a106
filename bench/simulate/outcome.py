"""What came of it: waits, ends of requests, loads and evictions, in all and over time."""

from collections import Counter
from typing import Literal, TypeAlias

from msgspec import Struct

from bench.histogram import Histogram
from bench.simulate.world import Scenario

__all__ = ["End", "Moment", "Outcome", "Tally"]

End: TypeAlias = Literal["answered", "left", "broken", "refused"]
"""Of a request: to its last word; its caller's patience ended in the line; its node was lost in the midst of the
answer; the line was full."""

_BUCKET = 15.0
"""Seconds that one point in time stands for."""
_MARKED = ("asked", "begun", "gone", "loads", "evicted", "lost")
_WAITS = (0.5, 0.9, 0.95, 0.99, 0.999)
_LIMITS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
"""Seconds."""


class Moment(Struct, frozen=True, array_like=True):
    """What happened in so many seconds, the length of which is `Outcome.moment_seconds`."""

    asked: int
    waiting: int
    """Who stood in a line at its end."""
    loads: int
    evicted: int
    lost: int
    """Nodes."""


class Outcome(Struct, frozen=True, kw_only=True):
    """One order of eviction, after the warm-up."""

    order: str
    requests: int
    ends: dict[End, int]
    goodput: float
    """Answers a second, of those begun within the callers' patience and ended."""
    good_share: float
    """The same as a share of all who asked."""
    waits: dict[str, float]
    """Seconds from asking to the begin of the answer, by percentile, of those that were begun."""
    cold: dict[str, float]
    """The same of those whose model was not in memory when they asked."""
    cold_share: float
    begun_within: dict[str, float]
    """Share of all who asked, by seconds."""
    loads: int
    loading_seconds: float
    """Of all loads together: what swapping costs the fleet."""
    evictions: int
    expired: int
    """Models that left because nobody asked for them."""
    decisions: int
    """Questions where something shall be placed, those without an answer among them."""
    moment_seconds: float
    moments: tuple[Moment, ...]
    """From the begin, the warm-up too."""


class Tally:
    """Counts while it happens; what was asked in the warm-up is not counted."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.ends: Counter[End] = Counter()
        self.events: Counter[str] = Counter()
        self.loading_seconds = 0.0
        self._waits = Histogram()
        self._cold = Histogram()
        self._moments: dict[str, Counter[int]] = {name: Counter() for name in _MARKED}

    def asked(self, at: float) -> None:
        """Somebody came."""
        self._mark("asked", at)

    def begun(self, at: float, waited: float, *, cold: bool) -> None:
        """Somebody's answer begins."""
        self._mark("begun", at)
        if at - waited >= self._scenario.warm_up:
            duration = round(waited * 1e9)
            self._waits.record(duration)
            if cold:
                self._cold.record(duration)

    def gone(self, asked_at: float, at: float, end: End) -> None:
        """Somebody goes without an answer having begun."""
        self._mark("gone", at)
        self.ended(asked_at, end)

    def ended(self, asked_at: float, end: End) -> None:
        """Somebody goes."""
        if asked_at >= self._scenario.warm_up:
            self.ends[end] += 1

    def happened(self, what: str, at: float, times: int = 1) -> None:
        """Something else: `loads`, `evicted`, `expired`, `decisions` or `lost`."""
        if at >= self._scenario.warm_up:
            self.events[what] += times
        if what in _MARKED:
            self._mark(what, at, times)

    def loaded(self, at: float, seconds: float) -> None:
        """A load ended well."""
        self.happened("loads", at)
        if at >= self._scenario.warm_up:
            self.loading_seconds += seconds

    def outcome(self, order: str) -> Outcome:
        """All of it."""
        counted = self._scenario.seconds - self._scenario.warm_up
        total = max(self.ends.total(), 1)
        good = self.ends["answered"]
        return Outcome(
            order=order,
            requests=self.ends.total(),
            ends={end: self.ends[end] for end in ("answered", "left", "broken", "refused")},
            goodput=round(good / counted, 3),
            good_share=round(good / total, 5),
            waits=_percentiles(self._waits),
            cold=_percentiles(self._cold),
            cold_share=round(self._cold.count / max(self._waits.count, 1), 5),
            begun_within={
                f"{limit:g}": round(self._waits.within(round(limit * 1e9)) / total, 5) for limit in _LIMITS
            },
            loads=self.events["loads"],
            loading_seconds=round(self.loading_seconds, 1),
            evictions=self.events["evicted"],
            expired=self.events["expired"],
            decisions=self.events["decisions"],
            moment_seconds=_BUCKET,
            moments=self._timeline(),
        )

    def _mark(self, what: str, at: float, times: int = 1) -> None:
        self._moments[what][int(at / _BUCKET)] += times

    def _timeline(self) -> tuple[Moment, ...]:
        waiting, found = 0, list[Moment]()
        for n in range(int(self._scenario.seconds / _BUCKET)):
            asked, begun, gone, loads, evicted, lost = (self._moments[name][n] for name in _MARKED)
            waiting += asked - begun - gone
            found.append(Moment(asked, waiting, loads, evicted, lost))
        return tuple(found)


def _percentiles(waits: Histogram) -> dict[str, float]:
    return {f"p{share * 100:g}": round(waits.percentile(share) / 1e9, 3) for share in _WAITS}
