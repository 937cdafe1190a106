"""What happens to the fleet: requests by Zipf's law with bursts, and nodes that are lost and come back.

All of it is known from the seed before anything is decided, so that every order of eviction meets the same events.
"""

import heapq
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from random import Random

from msgspec import Struct

from bench.simulate.world import Scenario, chance
from enginehouse.types import Priority

__all__ = ["Loss", "Request", "losses", "requests"]

_TENANTS = 50
_CLASSES = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
_SHARES = (0.1, 0.8, 1.0)
"""Running sums: a tenth of the requests is high, a fifth low."""
_SPREAD = 0.8
"""Sigma of an answer's length, which is log-normal around its model's mean."""


class Request(Struct, gc=False):
    """Somebody asks; told apart by identity."""

    at: float
    ware: int
    """Which model, as a number."""
    tenant: str
    priority: Priority
    length: float
    """Its answer's length as a multiple of the model's mean."""
    cold: bool = False
    """Whether its model was not in memory when it came."""


class Loss(Struct, frozen=True):
    """A node goes, with everything on it."""

    at: float
    node: int
    until: float
    """When it is back, empty."""


def requests(scenario: Scenario) -> Iterator[Request]:
    """Everybody who asks, in the order of time."""
    draw = chance(scenario.seed, "ranks")
    ranks = list(range(scenario.models))
    draw.shuffle(ranks)
    burst = chance(scenario.seed, "bursts")
    streams = [_steady(scenario, ranks), *_bursts(scenario, ranks, burst)]
    return heapq.merge(*streams, key=lambda each: each.at)


def losses(scenario: Scenario) -> list[Loss]:
    """Every loss of a node, in the order of time; the great one takes its share of all nodes at once."""
    draw = chance(scenario.seed, "losses")
    mean = scenario.lost_every * 1000 / scenario.nodes
    single = [(at, draw.randrange(scenario.nodes)) for at in _times(draw, 1 / mean, 0, scenario.seconds)]
    outage = scenario.seconds * 5 / 6
    many = draw.sample(range(scenario.nodes), round(scenario.outage_share * scenario.nodes))
    every = sorted([*single, *((outage, node) for node in many)])
    return [Loss(at, node, at + scenario.lost_seconds) for at, node in every]


def _steady(scenario: Scenario, ranks: list[int]) -> Iterator[Request]:
    draw = chance(scenario.seed, "arrivals")
    shares = list(accumulate((rank + 1) ** -scenario.skew for rank in range(scenario.models)))
    for at in _times(draw, scenario.rate * scenario.nodes, 0, scenario.seconds):
        rank = min(bisect(shares, draw.random() * shares[-1]), scenario.models - 1)
        yield _request(draw, at, ranks[rank])


def _bursts(scenario: Scenario, ranks: list[int], draw: Random) -> Iterator[Iterator[Request]]:
    mean = scenario.burst_every * 1000 / scenario.nodes
    for number, start in enumerate(_times(draw, 1 / mean, 0, scenario.seconds)):
        ware = ranks[draw.randrange(scenario.models)]
        yield _burst(chance(scenario.seed, f"burst {number}"), scenario, start, ware)


def _burst(draw: Random, scenario: Scenario, start: float, ware: int) -> Iterator[Request]:
    end = min(start + scenario.burst_seconds, scenario.seconds)
    for at in _times(draw, scenario.burst_rate, start, end):
        yield _request(draw, at, ware)


def _request(draw: Random, at: float, ware: int) -> Request:
    return Request(
        at=at,
        ware=ware,
        tenant=f"t{draw.randrange(_TENANTS)}",
        priority=_CLASSES[bisect(_SHARES, draw.random())],
        length=draw.lognormvariate(-_SPREAD * _SPREAD / 2, _SPREAD),
    )


def _times(draw: Random, rate: float, start: float, end: float) -> Iterator[float]:
    """A Poisson process: so many a second."""
    at = start + draw.expovariate(rate)
    while at < end:
        yield at
        at += draw.expovariate(rate)
