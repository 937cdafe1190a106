"""The byte ledger: what every resident takes, from the decision to load until its memory is seen to be free."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec
import psutil
import structlog

from enginehouse.engines.metadata import Weight
from enginehouse.errors import InsufficientMemory
from enginehouse.residency.policy import Footprint, fits
from enginehouse.settings.schema import ResidencySettings
from enginehouse.types import Deployment

__all__ = ["ByteLedger", "Footprints", "capacity_of", "measured"]

log = structlog.get_logger()

_MIB = 1024 * 1024


def capacity_of(settings: ResidencySettings, ram: int, gpus: Mapping[int, int]) -> Footprint:
    """What there is to share out, by axis.

    Embedders, rerankers and classifiers have axes of their own, so that they never push out a model that chats.

    Args:
        ram: bytes of main memory.
        gpus: bytes of each visible GPU, by index.
    """
    memories = {"ram": ram, **{f"vram.{index}": total for index, total in gpus.items()}}
    capacity = {"models": settings.max_models, "models.utility": settings.max_models}
    for name, size in memories.items():
        total = int(size * settings.max_memory_usage)
        utility = int(total * settings.utility_share)
        capacity |= {name: total - utility, f"{name}.utility": utility}
    return capacity


class ByteLedger:
    """Who takes what; the sum stays within the capacity but for `settle` and `resize`, which tell facts.

    Args:
        capacity: what there is, by axis.
    """

    def __init__(self, capacity: Footprint) -> None:
        self._capacity = capacity
        self._entries: dict[str, Footprint] = {}

    @property
    def capacity(self) -> Footprint:
        """What there is, by axis."""
        return self._capacity

    @property
    def entries(self) -> Mapping[str, Footprint]:
        """Who takes what, by deployment id."""
        return self._entries

    def free(self) -> dict[str, int]:
        """What nobody takes; negative where something grew beyond what was reserved for it."""
        left = dict(self._capacity)
        for entry in self._entries.values():
            for axis, amount in entry.items():
                left[axis] = left.get(axis, 0) - amount
        return left

    def check(self, deployment_id: str, need: Footprint, kept: Mapping[str, Footprint]) -> None:
        """Refuse what could not fit with all else gone.

        Args:
            kept: what is never evicted, by id.

        Raises:
            InsufficientMemory: tells what is needed and what there could be.
        """
        room = dict(self._capacity)
        for owner, entry in kept.items():
            for axis, amount in entry.items():
                room[axis] -= amount if owner != deployment_id else 0
        for axis, amount in need.items():
            if amount > room.get(axis, 0):
                raise InsufficientMemory(_too_big(deployment_id, axis, amount, room.get(axis, 0)))

    def reserve(self, deployment_id: str, need: Footprint) -> None:
        """Take room from the decision on."""
        assert fits(need, self.free()), "room is reserved only where the policy has seen it"
        self._entries[deployment_id] = need

    def settle(self, deployment_id: str, size: Footprint) -> None:
        """What was measured takes the place of what was estimated."""
        if deployment_id in self._entries:
            self._entries[deployment_id] = size

    def release(self, deployment_id: str) -> None:
        """Its memory has been seen to be free again."""
        self._entries.pop(deployment_id, None)

    def resize(self, capacity: Footprint) -> None:
        """There is more or less to share out from now on."""
        self._capacity = capacity


Measured: TypeAlias = dict[str, int]
"""Bytes by kind of memory: `ram`, and `vram` on all GPUs together."""


class Footprints:
    """Measured bytes, remembered over restarts by what determines them: files, flags, context, slots, engine build.

    Args:
        file: where they are kept; None forgets them with the process.
        build: the engine's version, since another one may take more.
    """

    def __init__(self, file: Path | None, build: str) -> None:
        self._file = file
        self._build = build
        self._known: dict[str, Measured] = _read(file) if file else {}

    def known(self, deployment: Deployment) -> Weight | None:
        """Bytes it took last time."""
        known = self._known.get(self._key(deployment))
        return Weight(ram=known.get("ram", 0), vram=known.get("vram", 0)) if known is not None else None

    def remember(self, deployment: Deployment, size: Weight) -> None:
        """Keep what was measured; a few per cent more or less are not worth a write."""
        key, new = self._key(deployment), {"ram": size.ram, "vram": size.vram}
        before = self._known.get(key, {})
        if all(abs(amount - before.get(axis, 0)) * 50 <= before.get(axis, 0) for axis, amount in new.items()):
            return
        self._known[key] = new
        if self._file is not None:
            _write(self._file, self._known)

    def _key(self, deployment: Deployment) -> str:
        what = (deployment.source, deployment.sha256, deployment.flags, deployment.context_length, deployment.slots)
        return hashlib.sha256(msgspec.json.encode((deployment.engine, what, self._build))).hexdigest()[:32]


def measured(pid: int) -> int | None:
    """Bytes a process really takes (its proportional set size), or None where the system does not tell."""
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except (psutil.Error, AttributeError):
        return None


def _too_big(name: str, axis: str, need: int, room: int) -> str:
    if axis.startswith("models"):
        return (
            f"{name!r} cannot be loaded: every place in memory is pinned. Raise residency.max_models or unpin one."
        )
    where = f" of GPU {axis.split('.')[1]}" if axis.startswith("vram") else ""
    lighter = "offload fewer layers with -ngl, " if where else ""
    most = max(room, 0) // _MIB
    return (
        f"{name!r} needs about {need // _MIB} MiB{where}, and at most {most} MiB can be had with all else evicted. "
        f"Give it a smaller context or fewer slots, {lighter}or raise residency.max_memory_usage."
    )


def _read(file: Path) -> dict[str, Measured]:
    """Before GPUs were counted a plain number was kept: bytes of main memory."""
    try:
        known = msgspec.json.decode(file.read_bytes(), type=dict[str, int | Measured])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("footprints_unreadable", file=str(file), error=str(error))
        return {}
    return {key: {"ram": size} if isinstance(size, int) else size for key, size in known.items()}


def _write(file: Path, known: Mapping[str, Measured]) -> None:
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(known), encoding="utf-8")
        scratch.replace(file)
    except OSError as error:
        log.warning("footprints_not_kept", file=str(file), error=str(error))
