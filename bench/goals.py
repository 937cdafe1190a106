"""The goals of the hot path, beside what a bare prototype does in the same run.

They were set in absolute figures, on a machine of which the figures of bare ASGI over a small client of its own are
known. Another machine is faster or slower; what can be compared is which part of the bare prototype's figure each
goal was, and which part ours is.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from bench.check import BARE
from bench.figures import Value, band, core_share, gather, over_direct, own_point, rate
from bench.report import Table
from bench.run import Presence, Report
from bench.systems import FULL

__all__ = ["SCENARIOS_OF_GOALS", "Verdict", "goal_table", "verdicts"]

_MB = 1e6


class Goal(Struct, frozen=True, kw_only=True):
    """One figure that everything on shall come to."""

    title: str
    scenario: str
    value: Value
    most: bool = False
    """Whether less is better: it is the most that it may be."""
    goal: float
    bare: float | None = None
    """What bare ASGI over a client of its own did where the goal was set; None where nobody knows."""
    beside: str = ""
    """The scenario of the prototype's figure, where it cannot do the same."""
    form: str = "{:,.0f}"


class Verdict(Struct, frozen=True, kw_only=True):
    """What became of one goal."""

    goal: Goal
    here: float
    """The median of ours."""
    bare: float | None
    """That of the bare prototype in the same run."""
    share: float | None
    """Ours as a part of the bare prototype's in the same round: the median of the rounds."""

    @property
    def set_share(self) -> float | None:
        """The goal as a part of the bare prototype's figure where it was set."""
        return self.goal.goal / self.goal.bare if self.goal.bare else None

    @property
    def outcome(self) -> Literal["met", "met in proportion", "missed"]:
        """Whether it is met here, or would be where it was set."""
        if self._holds(self.here, self.goal.goal):
            return "met"
        share, wanted = self.share, self.set_share
        met = share is not None and wanted is not None and self._holds(share, wanted)
        return "met in proportion" if met else "missed"

    def _holds(self, found: float, wanted: float) -> bool:
        return found <= wanted if self.goal.most else found >= wanted


_GOALS = (
    Goal(title="requests/s, 1 KiB", scenario="saturation", value=rate, goal=8000, bare=16_400),
    Goal(title="requests/s, 64 KiB", scenario="body-64k", value=rate, goal=4000, bare=9430),
    Goal(title="exact hits/s", scenario="hits", value=rate, goal=10_000, bare=16_400, beside="saturation"),
    Goal(title="streams/s of 67 frames, a write each", scenario="frames", value=rate, goal=2000, bare=3790),
    Goal(
        title="added p99 ms at 30 %",
        scenario="share-30",
        value=over_direct("latency", "p99"),
        most=True,
        goal=2.0,
        bare=0.85,
        form="{:.2f}",
    ),
    Goal(
        title="p99 ms of hits at 30 %",
        scenario="hits-30",
        value=own_point("latency", "p99"),
        most=True,
        goal=2.0,
        bare=0.85,
        beside="share-30",
        form="{:.2f}",
    ),
    Goal(
        title="1,000 open streams: added p99 ms",
        scenario="crowd-1000",
        value=over_direct("added", "p99"),
        most=True,
        goal=1.5,
        bare=0.37,
        form="{:.2f}",
    ),
    Goal(
        title="1,000 open streams: % of a core",
        scenario="crowd-1000",
        value=core_share,
        most=True,
        goal=55,
        bare=43,
    ),
)
"""The bare figures are of November 2026, two cores, the gateway on one: uvicorn, bare ASGI, a small client over
httptools and, but for 64 KiB, a watcher for callers who leave."""

SCENARIOS_OF_GOALS = tuple(dict.fromkeys(goal.scenario for goal in _GOALS))


def verdicts(report: Report) -> list[Verdict]:
    """What became of each goal whose scenario was run."""
    found: list[Verdict] = []
    for goal in _GOALS:
        own = [goal.value(r) for r in gather(report, goal.scenario, FULL)]
        bare = [goal.value(r) for r in gather(report, goal.beside or goal.scenario, BARE)]
        if found_own := band(own):
            found.append(_verdict(goal, found_own.median, bare, own))
    return [*found, *_of_presence(report)]


def _verdict(goal: Goal, here: float, bare: Sequence[float | None], own: Sequence[float | None]) -> Verdict:
    middle = band(bare)
    pairs = zip(own, bare, strict=False)  # none of the bare prototype where it took no part
    shares = band([ours / theirs if ours is not None and theirs else None for ours, theirs in pairs])
    return Verdict(
        goal=goal,
        here=here,
        bare=None if middle is None else middle.median,
        share=None if shares is None else shares.median,
    )


def goal_table(report: Report) -> Table:
    """One row a goal."""
    columns = ["everything on", "goal", "here", "bare here", "of bare here", "goal of bare where set", ""]
    rows = [
        [
            one.goal.title,
            ("≤ " if one.goal.most else "≥ ") + one.goal.form.format(one.goal.goal),
            one.goal.form.format(one.here),
            _shown(one.bare, one.goal.form),
            _shown(one.share, "{:.2f}"),
            _shown(one.set_share, "{:.2f}"),
            one.outcome,
        ]
        for one in verdicts(report)
    ]
    return Table("Goals", columns, rows)


def _of_presence(report: Report) -> list[Verdict]:
    here = next((one for one in report.presences if one.system == FULL), None)
    if here is None:
        return []
    bare = next((one for one in report.presences if one.system == BARE), None)
    asked: list[tuple[str, float, str, Callable[[Presence], float]]] = [
        ("s until ready", 2.0, "{:.2f}", lambda one: one.ready_seconds),
        ("MB idle", 130, "{:,.0f}", lambda one: one.idle_rss / _MB),
    ]
    return [
        _verdict(
            Goal(title=title, scenario="", value=lambda _: None, most=True, goal=goal, form=form),
            value(here),
            [] if bare is None else [value(bare)],
            [value(here)],
        )
        for title, goal, form, value in asked
    ]


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
