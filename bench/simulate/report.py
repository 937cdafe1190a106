"""Results as they are kept: one JSON of what was simulated, one of what was timed, and charts of both."""

from collections.abc import Sequence
from math import log

import msgspec
from msgspec import Struct

from bench.machine import Machine
from bench.simulate.drawing import Axis, Chart, Curve, drawn
from bench.simulate.outcome import Outcome
from bench.simulate.price import Price, exponent
from bench.simulate.world import Scenario

__all__ = ["NAMES", "Decisions", "Simulation", "decisions_chart", "encoded", "simulation_charts", "table"]

NAMES = {"ours": "Enginehouse", "lru": "LRU", "fifo": "FIFO"}


class Simulation(Struct, frozen=True, kw_only=True):
    """What follows from the scenario alone: the same on every machine."""

    scenario: Scenario
    outcomes: tuple[Outcome, ...]


class Decisions(Struct, frozen=True, kw_only=True):
    """What was timed on one machine."""

    machine: Machine
    prices: tuple[Price, ...]
    ask_exponent: float
    """A decision takes the number of nodes to this power."""
    update_exponent: float

    @classmethod
    def of(cls, machine: Machine, prices: Sequence[Price]) -> "Decisions":
        """With the powers fitted."""
        return cls(
            machine=machine,
            prices=tuple(prices),
            ask_exponent=round(exponent([(p.nodes, p.ask) for p in prices]), 3),
            update_exponent=round(exponent([(p.nodes, p.update) for p in prices]), 3),
        )


def encoded(result: Simulation | Decisions) -> str:
    """JSON with a line for each value, so that a change is seen as one."""
    plain = msgspec.json.encode(result)
    return msgspec.json.format(plain, indent=1).decode() + "\n"


def table(outcomes: Sequence[Outcome]) -> str:
    """Orders side by side, as Markdown."""
    rows = [
        ("begun and ended within the callers' patience", [f"{o.good_share:.2%}" for o in outcomes]),
        ("goodput, answers/s", [f"{o.goodput:,.1f}" for o in outcomes]),
        *((f"wait {p}, s", [f"{o.waits[p]:.2f}" for o in outcomes]) for p in ("p50", "p95", "p99")),
        ("whose model was not in memory", [f"{o.cold_share:.2%}" for o in outcomes]),
        *((f"their wait {p}, s", [f"{o.cold[p]:.2f}" for o in outcomes]) for p in ("p50", "p95", "p99")),
        ("loads", [f"{o.loads:,}" for o in outcomes]),
        ("models evicted for others (swaps)", [f"{o.evictions:,}" for o in outcomes]),
        ("seconds of loading, in all", [f"{o.loading_seconds:,.0f}" for o in outcomes]),
        ("left while waiting", [f"{o.ends['left']:,}" for o in outcomes]),
        ("refused, their model's line being full", [f"{o.ends['refused']:,}" for o in outcomes]),
        ("broken off with their node", [f"{o.ends['broken']:,}" for o in outcomes]),
    ]
    head = f"| | {' | '.join(NAMES[o.order] for o in outcomes)} |"
    rule = f"| --- |{' ---: |' * len(outcomes)}"
    return "\n".join([head, rule, *(f"| {what} | {' | '.join(cells)} |" for what, cells in rows)])


def simulation_charts(result: Simulation) -> dict[str, str]:
    """By file name."""
    return {"waits.svg": drawn(_waits(result)), "over-time.svg": drawn(_over_time(result))}


def decisions_chart(result: Decisions) -> str:
    """Both kinds of decision over the number of nodes, and what the logarithm would make of the first of them."""
    first, last = result.prices[0], result.prices[-1]
    ask = [(float(p.nodes), p.ask) for p in result.prices]
    logarithm = [(nodes, first.ask * log(nodes) / log(first.nodes)) for nodes, _ in ask]
    low = min(p.update for p in result.prices) / 3
    high = max(p.ask_p95 for p in result.prices) * 3
    curves = (
        Curve(name="place, median", points=ask, dots=True),
        Curve(name="place, p95", points=[(p.nodes, p.ask_p95) for p in result.prices], dots=True),
        Curve(name="tell, median", points=[(p.nodes, p.update) for p in result.prices], dots=True),
        Curve(name="∝ log n", points=logarithm),
    )
    return drawn(
        Chart(
            title="What a decision costs as the fleet grows",
            x=Axis(title="nodes", low=first.nodes, high=last.nodes, log=True),
            y=Axis(title="microseconds of processor time", low=low, high=high, log=True),
            curves=curves,
        )
    )


def _waits(result: Simulation) -> Chart:
    curves = [
        Curve(
            name=NAMES[one.order],
            points=[(float(limit), 100 * share) for limit, share in one.begun_within.items()],
        )
        for one in result.outcomes
    ]
    low = min(share for curve in curves for _, share in curve.points)
    return Chart(
        title="Answers that have begun, by seconds since they were asked for",
        x=Axis(title="seconds", low=0.05, high=60, log=True),
        y=Axis(title="per cent of all requests", low=max(5 * (low // 5), 0), high=100),
        curves=curves,
    )


def _over_time(result: Simulation) -> Chart:
    curves = [
        Curve(
            name=NAMES[one.order],
            points=[
                ((n + 1) * one.moment_seconds / 60, float(moment.waiting)) for n, moment in enumerate(one.moments)
            ],
        )
        for one in result.outcomes
    ]
    scenario = result.scenario
    most = max((waiting for curve in curves for _, waiting in curve.points), default=1.0)
    marks = [(scenario.warm_up / 60, "counted from here")]
    if round(scenario.outage_share * scenario.nodes):
        marks.append((scenario.seconds / 72, f"{scenario.outage_share:.0%} of the nodes lost"))
    return Chart(
        title="Requests that wait, over time",
        x=Axis(title="minutes", low=0, high=scenario.seconds / 60),
        y=Axis(title="requests in lines", low=0, high=max(most * 1.1, 1)),
        curves=curves,
        marks=marks,
    )
