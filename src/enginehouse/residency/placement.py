"""Where a model may lie: how its bytes are divided between main memory and GPUs, as footprints to choose from."""

from collections.abc import Iterable, Mapping

from enginehouse.engines.metadata import Weight
from enginehouse.residency.policy import Footprint
from enginehouse.types import Deployment, Kind

__all__ = ["elsewhere", "footprint_of", "gpus_of", "is_utility", "places"]

_UTILITY = {Kind.EMBEDDING, Kind.CLASSIFIER, Kind.RERANK}


def is_utility(deployment: Deployment) -> bool:
    """Whether it lies in the share of embedders, rerankers and classifiers."""
    return deployment.kind in _UTILITY


def footprint_of(deployment: Deployment, ram: int, vram: Mapping[int, int] | None = None) -> Footprint:
    """What a deployment of so many bytes takes; one that runs elsewhere takes nothing here.

    Args:
        vram: bytes by GPU.
    """
    if not deployment.engine.here:
        return {}
    suffix = ".utility" if is_utility(deployment) else ""
    on_gpus = {f"vram.{index}{suffix}": amount for index, amount in (vram or {}).items()}
    return {f"ram{suffix}": ram, f"models{suffix}": 1, **on_gpus}


def places(deployment: Deployment, weight: Weight, gpus: Mapping[int, int]) -> tuple[Footprint, ...]:
    """Where it may lie, the best place first: on one GPU, the first in order that has room, else over all of them.

    A utility may also lie in main memory alone: it is small, and its share of a GPU may be smaller still.

    Args:
        gpus: bytes of each visible GPU, by index; without any, everything lies in main memory.
    """
    if not gpus or not weight.vram:
        return (footprint_of(deployment, weight.total),)
    by_size = _spread(weight.vram, gpus)
    if weight.fixed:
        shares = dict(zip(sorted(gpus), weight.split, strict=False))
        there = _spread(weight.vram, shares) if any(shares.values()) else by_size
        return (footprint_of(deployment, weight.ram, there),)
    alone = [footprint_of(deployment, weight.ram, {index: weight.vram}) for index in sorted(gpus)]
    together = [footprint_of(deployment, weight.ram, by_size)] if len(gpus) > 1 else []
    without = [footprint_of(deployment, weight.total)] if is_utility(deployment) else []
    return (*alone, *together, *without)


def gpus_of(footprint: Footprint) -> dict[int, int]:
    """Bytes by GPU."""
    return {
        int(axis.split(".")[1]): amount for axis, amount in footprint.items() if axis.startswith("vram.") and amount
    }


def elsewhere(footprint: Footprint, gpus: Iterable[int]) -> Iterable[Footprint]:
    """The same again: where it lies, and, when that is one GPU, on each of the others."""
    yield footprint
    ours = [axis for axis in footprint if axis.startswith("vram.")]
    if len(ours) != 1:
        return
    rest = {axis: amount for axis, amount in footprint.items() if axis != ours[0]}
    _, here, *suffix = ours[0].split(".")
    for index in gpus:
        if str(index) != here:
            yield {**rest, ".".join(["vram", str(index), *suffix]): footprint[ours[0]]}


def _spread(amount: int, shares: Mapping[int, float]) -> dict[int, int]:
    """An amount divided in proportion; no byte is lost."""
    total = sum(shares.values())
    divided: dict[int, int] = {}
    before = 0.0
    for index, share in sorted(shares.items()):
        upto = before + share
        divided[index] = round(amount * upto / total) - round(amount * before / total)
        before = upto
    return {index: part for index, part in divided.items() if part}
