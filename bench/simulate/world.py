"""What there is: nodes with their memory, models with their sizes and times, drawn from stated distributions."""

import random
from collections.abc import Sequence

from msgspec import Struct

from enginehouse.engines.metadata import Weight
from enginehouse.residency.fleet import Node
from enginehouse.residency.memory import capacity_of
from enginehouse.settings.schema import ResidencySettings
from enginehouse.types import Deployment, EngineName, Kind

__all__ = ["GIB", "Scenario", "Ware", "chance", "nodes", "wares"]

GIB = 1024**3

_MACHINES = ((0.70, 64, (24,)), (0.25, 256, (48, 48)), (0.05, 1024, (80,) * 8))
"""Share of the nodes, GiB of main memory, GiB of each GPU."""

_SIZES = ((0.5, 0.15), (1.5, 0.15), (3, 0.20), (8, 0.30), (14, 0.10), (32, 0.07), (70, 0.03))
"""Billions of numbers, and the share of models that have so many."""

_SOURCES = ((2.0, 0.5), (1.0, 0.3), (0.2, 0.2))
"""GiB a second at which a model's files are read, and the share of models that lie there: a fast disk, a usual one,
another machine's."""


class Scenario(Struct, frozen=True, kw_only=True):
    """One simulated stretch of time; the same values give the same events, byte for byte."""

    seed: int = 1
    nodes: int = 1000
    models: int = 10_000
    seconds: float = 1800.0
    """How long requests come."""
    warm_up: float = 1200.0
    """So many of them are not counted: memory is empty at first, and copies come one at a time."""
    rate: float = 0.25
    """Requests a second for each node."""
    skew: float = 0.9
    """Zipf's exponent: the model of rank r is asked for in proportion to r^-skew."""
    burst_every: float = 20.0
    """Seconds between two bursts, in the mean, for each 1,000 nodes."""
    burst_rate: float = 4.0
    """Requests a second that a burst adds, all for one model of any rank."""
    burst_seconds: float = 60.0
    lost_every: float = 60.0
    """Seconds between two losses of a node, in the mean, for each 1,000 nodes."""
    lost_seconds: float = 300.0
    """Until a node is back, with nothing in memory."""
    outage_share: float = 0.05
    """Part of all nodes that are lost in one instant, five sixths of the way."""
    patience: float = 60.0
    """Seconds after which whoever still waits has no use for an answer: what is begun later is no goodput."""


class Ware(Struct, frozen=True):
    """A model and what it takes; all its copies are alike."""

    deployment: Deployment
    weight: Weight
    load_seconds: float
    run_seconds: float
    """Mean seconds of an answer."""


def chance(seed: int, subject: str) -> random.Random:
    """Random numbers of their own for each subject, so that one does not disturb another."""
    return random.Random(f"{seed}/{subject}")


def nodes(scenario: Scenario, settings: ResidencySettings) -> list[Node]:
    """The nodes, of all kinds in their shares, shuffled; of each the models may take what the settings allow."""
    kinds = [kind for kind in _MACHINES for _ in range(max(round(kind[0] * scenario.nodes), 1))]
    chance(scenario.seed, "nodes").shuffle(kinds)
    return [_node(number, ram, gpus, settings) for number, (_, ram, gpus) in enumerate(kinds[: scenario.nodes])]


def _node(number: int, ram: int, gpus: Sequence[int], settings: ResidencySettings) -> Node:
    own = {index: size * GIB for index, size in enumerate(gpus)}
    return Node(id=f"n{number:04}", capacity=capacity_of(settings, ram * GIB, own), gpus=own)


def wares(scenario: Scenario) -> list[Ware]:
    """The models; neither size nor speed says anything of how often one is asked for."""
    draw = chance(scenario.seed, "models")
    return [_ware(draw, number) for number in range(scenario.models)]


def _ware(draw: random.Random, number: int) -> Ware:
    (billions,) = draw.choices([size for size, _ in _SIZES], [share for _, share in _SIZES])
    (speed,) = draw.choices([rate for rate, _ in _SOURCES], [share for _, share in _SOURCES])
    slots = draw.choice((2, 4, 8))
    # Four bits a number and some more, and the key-value cache of all slots.
    size = billions * 0.62 * draw.uniform(0.9, 1.2) + slots * 0.06 * billions**0.7
    name = f"m{number:05}"
    return Ware(
        Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, slots=slots),
        Weight(ram=GIB, vram=int(size * GIB)),
        load_seconds=round(1.5 + size / speed, 3),
        run_seconds=round(2.0 + billions**0.6, 3),
    )
