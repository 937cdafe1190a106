"""What one decision costs as the fleet grows: asked of full fleets of several sizes, and fitted to a power."""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import log
from statistics import linear_regression, median
from time import thread_time_ns

from msgspec import Struct, structs

from bench.simulate.world import Scenario, Ware, chance, nodes, wares
from enginehouse.residency.fleet import Demand, Fleet
from enginehouse.residency.policy import Rules, Standing
from enginehouse.settings.schema import ResidencySettings

__all__ = ["Price", "exponent", "prices"]

_ASKED = 200
"""Models for which room is asked in each fleet."""
_FULL = 50
"""So many models in a row that found no free room: then it is full."""
_NOW = 10_000.0


class Price(Struct, frozen=True, kw_only=True):
    """Microseconds of processor time, medians, in a fleet of so many nodes that is full."""

    nodes: int
    residents: int
    ask: float
    """Where something that wants room shall be placed, and who has to leave for it."""
    ask_p95: float
    update: float
    """One resident told anew: its last request has ended, or its first has come."""


def prices(seed: int, sizes: Sequence[int]) -> Iterator[Price]:
    """Each size in turn."""
    for size in sizes:
        yield _price(Scenario(seed=seed, nodes=size, models=size * 60 + 1000))


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """By which power of the first number the second one grows: the slope of a line through the logarithms."""
    return linear_regression([log(x) for x, _ in points], [log(y) for _, y in points]).slope


def _price(scenario: Scenario) -> Price:
    settings = ResidencySettings(max_models=10_000)
    fleet = Fleet(Rules(max_wait=settings.max_wait, min_residency=settings.min_residency))
    for node in nodes(scenario, settings):
        fleet.join(node)
    rest = iter(wares(scenario))
    standings = _filled(fleet, rest, scenario)
    asked = [_timed(fleet, ware) for ware in islice(rest, _ASKED)]
    told = [_told(fleet, standing) for standing in standings[:: max(len(standings) // _ASKED, 1)]]
    return Price(
        nodes=scenario.nodes,
        residents=len(standings),
        ask=round(median(asked), 1),
        ask_p95=round(sorted(asked)[int(0.95 * len(asked))], 1),
        update=round(median(told), 1),
    )


def _filled(fleet: Fleet, rest: Iterator[Ware], scenario: Scenario) -> list[Standing]:
    """Load models, each asked for now and then, until no more find free room; who is there."""
    draw, there, vain = chance(scenario.seed, "history"), list[Standing](), 0
    for ware in rest:
        demand = structs.replace(_demand(ware), evicts=False)
        placement = fleet.ask(demand, _NOW)
        if placement is None:
            vain += 1
            if vain == _FULL:
                break
            continue
        vain = 0
        fleet.claim(placement, demand, _NOW)
        fleet.grants(placement.node)
        standing = Standing(
            id=ware.deployment.id,
            size=placement.place,
            last_used=_NOW - draw.expovariate(1 / 300),
            reload_seconds=ware.load_seconds,
            demand=draw.expovariate(1 / 5),
            busy=draw.random() < 0.2,
        )
        fleet.update(standing, _NOW)
        there.append(standing)
    return there


def _timed(fleet: Fleet, ware: Ware) -> float:
    demand = _demand(ware)
    began = thread_time_ns()
    fleet.ask(demand, _NOW)
    return (thread_time_ns() - began) / 1000


def _told(fleet: Fleet, standing: Standing) -> float:
    changed = structs.replace(standing, busy=not standing.busy)
    began = thread_time_ns()
    fleet.update(changed, _NOW)
    return (thread_time_ns() - began) / 1000


def _demand(ware: Ware) -> Demand:
    return Demand(deployment=ware.deployment, weight=ware.weight, since=_NOW)
