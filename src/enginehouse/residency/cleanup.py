"""The clean-up: while memory is fuller than it should be, models that nobody uses leave."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog
from msgspec import Struct

from enginehouse.residency.machine import Machine, Memory
from enginehouse.residency.manager import Residency
from enginehouse.residency.policy import Footprint, bytes_by_pool

__all__ = ["CleanedUp", "Cleanup", "excess_of"]

log = structlog.get_logger()


class CleanedUp(Struct, frozen=True, kw_only=True):
    """What one clean-up did; bytes are those of models, as the ledger has them."""

    at: datetime
    """When it ended, in UTC."""
    exceeded: bool
    """Whether memory was fuller than the threshold."""
    models: tuple[str, ...]
    """Deployments that left."""
    before: int
    after: int
    freed: int
    """What those who left had taken."""


class Cleanup:
    """Its owner, and its history.

    Args:
        residency: whose models leave.
        machine: what else takes memory.
    """

    def __init__(self, residency: Residency, machine: Machine) -> None:
        self._residency = residency
        self._machine = machine
        self.last: CleanedUp | None = None
        self.count = 0
        """Clean-ups that were asked for, or found memory too full."""
        self.freed = 0
        """Bytes, by all of them."""

    async def run(self) -> None:
        """One every `residency.cleanup_interval`, for ever; one that finds enough memory leaves no trace."""
        while True:
            await asyncio.sleep(self._residency.settings.cleanup_interval)
            if self._excess():
                await self.now()

    async def now(self, *, force: bool = False) -> CleanedUp:
        """One at once; returns when those who leave have left.

        Args:
            force: every idle model leaves, however much memory there is.
        """
        taken = dict(self._residency.memory.entries)
        excess = self._excess()
        leaving = self._residency.tidy(bytes_by_pool(taken.values()) if force else excess)
        for deployment_id in leaving:
            await self._residency.gone(deployment_id)
        done = CleanedUp(
            at=datetime.now(UTC),
            exceeded=bool(excess),
            models=tuple(leaving),
            before=_bytes(taken),
            after=_bytes(self._residency.memory.entries),
            freed=_bytes({deployment_id: taken[deployment_id] for deployment_id in leaving}),
        )
        self.last = done
        self.count += 1
        self.freed += done.freed
        log.info("cleaned_up", models=done.models, bytes=done.freed, exceeded=done.exceeded)
        return done

    def _excess(self) -> Footprint:
        taken = bytes_by_pool(self._residency.memory.entries.values())
        return excess_of(_pools(self._machine), taken, self._residency.settings.memory_threshold)


def excess_of(pools: Mapping[str, Memory], taken: Footprint, threshold: float) -> dict[str, int]:
    """By how many bytes each memory is fuller than it should be, where it is.

    What models take counts, and what is really in use by anybody, whichever is more: a model may not have touched
    all of what is its own yet, and others take memory too.

    Args:
        pools: what there is, by name.
        taken: bytes of models, by pool.
        threshold: the share that may be in use.
    """
    excess: dict[str, int] = {}
    for pool, memory in pools.items():
        over = max(taken.get(pool, 0), memory.used) - int(memory.total * threshold)
        if over > 0:
            excess[pool] = over
    return excess


def _pools(machine: Machine) -> dict[str, Memory]:
    return {"ram": machine.ram(), **{f"vram.{gpu.index}": gpu.memory for gpu in machine.gpus()}}


def _bytes(entries: Mapping[str, Footprint]) -> int:
    return sum(bytes_by_pool(entries.values()).values())
