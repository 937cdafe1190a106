"""What a worker tells the owner of its requests, so that the figures of the whole are in one place."""

import asyncio
from typing import Any

from msgspec import structs

from enginehouse.app.workers.link import Asks
from enginehouse.app.workers.words import Report
from enginehouse.core.cache.decisions import Decision, Decisions
from enginehouse.core.cache.stats import CacheStats, Stage
from enginehouse.core.traces import Traces
from enginehouse.core.traces.trace import Trace
from enginehouse.types.cached import Entry

__all__ = ["Reporting", "TellingDecisions", "TellingStats"]

_LOOK = 0.25
"""Seconds between two looks at how many requests are on the way, where none has ended."""


class Reporting:
    """Gathers what happens within one step of the loop, and tells it at the end of the step.

    Args:
        link: to the owner.
        traces: the worker's own.
    """

    def __init__(self, link: Asks, traces: Traces) -> None:
        self._link, self._traces = link, traces
        self._report = Report()
        self._soon = False
        self._told = 0, 0
        traces.listen(self.trace)

    def trace(self, *traces: Trace) -> None:
        """Requests have ended."""
        self._next().traces += traces

    def decision(self, decision: Decision) -> None:
        """The cache has decided."""
        self._next().decisions.append(decision)

    def cached(self, name: str, *args: Any) -> None:
        """A figure of the cache."""
        self._next().cached.append((name, list(args)))

    def spared(self, entry: Entry) -> None:
        """An answer that no engine had to give; its words are of no interest."""
        self._next().spared.append(structs.replace(entry, answer=b"", question=""))

    def guarded(self, mode: str, outcome: str) -> None:
        """The guard has judged."""
        self._next().guarded.append((mode, outcome))

    async def run(self) -> None:
        """Tell how many are on the way also while none ends, and to an owner that has begun anew."""
        while True:
            await asyncio.sleep(_LOOK)
            if self._told != (self._link.lives, self._traces.on_the_way):
                self._next()

    def _next(self) -> Report:
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._tell)
        return self._report

    def _tell(self) -> None:
        report, self._report, self._soon = self._report, Report(), False
        report.on_the_way = self._traces.on_the_way
        self._told = self._link.lives, report.on_the_way
        self._link.tell("report", report)


class TellingStats(CacheStats):
    """Figures of the cache that are counted at the owner."""

    def __init__(self, reporting: Reporting) -> None:
        super().__init__()
        self._reporting = reporting

    def outcome(self, tier: str, reason: str = "") -> None:
        """A question was answered from this tier, or not."""
        self._reporting.cached("outcome", tier, reason)

    def spared(self, entry: Entry) -> None:
        """An engine need not give this answer again."""
        self._reporting.spared(entry)

    def kept(self) -> None:
        """An answer was kept."""
        self._reporting.cached("kept")

    def corroborated(self) -> None:
        """One became its whole tenant's."""
        self._reporting.cached("corroborated")

    def meaning_failed(self) -> None:
        """Nobody could say whether there is a question that means the same."""
        self._reporting.cached("meaning_failed")

    def unfit(self, kind: str) -> None:
        """An answer was not kept."""
        self._reporting.cached("unfit", kind)

    def stage(self, name: str) -> Stage:
        """One step's times."""
        return _TellingStage(name, self._reporting)


class _TellingStage(Stage):
    """One step of the cache, whose times are counted at the owner."""

    def __init__(self, name: str, reporting: Reporting) -> None:
        super().__init__()
        self._name = name
        self._reporting = reporting

    def took(self, *seconds: float) -> None:
        """So long, this time or some times."""
        self._reporting.cached("took", self._name, *seconds)


class TellingDecisions(Decisions):
    """Decisions that are remembered at the owner."""

    def __init__(self, reporting: Reporting) -> None:
        super().__init__()
        self._reporting = reporting

    def note(self, decision: Decision) -> None:
        """Remembered there."""
        self._reporting.decision(decision)
