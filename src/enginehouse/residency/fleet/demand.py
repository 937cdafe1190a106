"""How many nodes there should be: values in, values out."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from enginehouse.residency.fleet.placement import Demand
from enginehouse.residency.policy import Footprint

__all__ = ["Bundle", "bundles"]


class Bundle(Struct, frozen=True, kw_only=True):
    """What one engine wants of a node, in Ray's words."""

    resources: Mapping[str, float]
    labels: Mapping[str, str] = {}


def bundles(
    placed: Iterable[tuple[Footprint, Mapping[str, str]]],
    unmet: Sequence[Demand],
    *,
    now: float,
    patience: float,
    cpus: float,
) -> tuple[Bundle, ...]:
    """What the cluster should hold: what it holds, and who has waited for room for too long.

    What is placed is named too, since Ray's autoscaler is told of all that should fit, not of what is missing.
    While nobody waits for long nothing is asked for, and nodes that are idle may go.

    Args:
        placed: what engines take of main memory and GPUs, and the labels they want.
        unmet: who waits for room and has been promised none.
        patience: seconds of waiting after which a node more is worth it.
        cpus: CPUs that an engine counts as.
    """
    late = [demand for demand in unmet if now - demand.since >= patience]
    if not late:
        return ()
    there = [Bundle(resources=_resources(_ram(size), _gpus(size), cpus), labels=dict(of)) for size, of in placed]
    more = [
        Bundle(
            resources=_resources(one.weight.ram, 1 if one.weight.vram else 0, cpus),
            labels=dict(one.deployment.labels),
        )
        for one in late
    ]
    return (*there, *more)


def _resources(ram: int, gpus: int, cpus: float) -> Mapping[str, float]:
    wanted = {"CPU": cpus, "memory": float(ram), "GPU": float(gpus)}
    return {name: amount for name, amount in wanted.items() if amount}


def _ram(size: Footprint) -> int:
    return sum(amount for axis, amount in size.items() if axis.startswith("ram"))


def _gpus(size: Footprint) -> int:
    return sum(1 for axis in size if axis.startswith("vram."))
