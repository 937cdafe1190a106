"""Room in memory: who holds it, who waits for it, and the moment in which it changes hands."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from enginehouse.engines.metadata import Weight
from enginehouse.errors import InsufficientMemory
from enginehouse.residency.base import Terms
from enginehouse.residency.decisions import Decisions
from enginehouse.residency.memory import ByteLedger
from enginehouse.residency.placement import footprint_of
from enginehouse.residency.policy import Footprint, Rules, Standing, Want, plan
from enginehouse.types import Deployment, Priority

__all__ = ["Places", "Room"]

log = structlog.get_logger()


class _Claim(Struct, frozen=True, eq=False):
    want: Want
    granted: "asyncio.Future[Footprint]"


class Places(Protocol):
    """Says where a deployment of some weight may lie, the best place first."""

    def __call__(self, deployment: Deployment, weight: Weight, gpus: Mapping[int, int], /) -> Sequence[Footprint]:
        """Footprints on this machine; an empty one takes nothing of it."""
        ...


class Room:
    """The one place where room is granted; it asks the pure policy and carries out what that says.

    Args:
        ledger: what there is and who has it.
        rules: bounds of waiting and of taking turns.
        gpus: bytes of each visible GPU, by index.
        places: where something may lie.
        standing: what is in memory now; asked at each review.
        evict: makes a resident leave.
        decisions: where reasons are kept.
    """

    def __init__(
        self,
        ledger: ByteLedger,
        rules: Rules,
        *,
        gpus: Mapping[int, int],
        places: Places,
        standing: Callable[[Mapping[str, Footprint]], Iterable[Standing]],
        evict: Callable[[str], None],
        decisions: Decisions,
    ) -> None:
        self.ledger = ledger
        self.rules = rules
        self._gpus = gpus
        self._places = places
        self._standing = standing
        self._evict = evict
        self._decisions = decisions
        self._kept_by: dict[str, str] = {}
        """What keeps those who wait, as it was last told."""
        self._claims: dict[str, _Claim] = {}
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def has_gpus(self) -> bool:
        """Whether models may lie on GPUs."""
        return bool(self._gpus)

    def most(self, deployment: Deployment) -> Weight:
        """Bytes that could be set aside for it in an empty house."""
        capacity = self.ledger.capacity
        own = footprint_of(deployment, 1, dict.fromkeys(self._gpus, 1))
        ram = sum(capacity[axis] for axis in own if axis.startswith("ram"))
        return Weight(ram=ram, vram=sum(capacity[axis] for axis in own if axis.startswith("vram")))

    def check(self, deployment: Deployment, weight: Weight) -> Sequence[Footprint]:
        """Those places where it could fit with all else gone but what is pinned.

        Raises:
            InsufficientMemory: it fits nowhere; tells what the last place needs and what there could be.
        """
        standing = self._standing(self.ledger.entries)
        kept = {one.id: one.size for one in standing if one.pinned}
        needs = self._places(deployment, weight, self._gpus)
        possible: list[Footprint] = []
        for need in needs:
            try:
                self.ledger.check(deployment.id, need, kept)
            except InsufficientMemory:
                if need is needs[-1] and not possible:
                    raise
            else:
                possible.append(need)
        return possible

    async def take(self, deployment: Deployment, weight: Weight, *, since: float, terms: Terms) -> Footprint:
        """Wait until there is room for it, and have it: it is reserved in the step that decides.

        Whoever leaves while waiting has to `give_back`, since the grant may have come in the same tick.

        Raises:
            InsufficientMemory: it could never fit.
        """
        deployment_id = deployment.id
        need, *others = self.check(deployment, weight)
        want = Want(
            id=deployment_id,
            need=need,
            others=tuple(others),
            since=since,
            priority=terms.priority,
            evicts=terms.evicts,
        )
        claim = _Claim(want, asyncio.get_running_loop().create_future())
        self._claims[deployment_id] = claim
        try:
            self.review()
            return await claim.granted
        finally:
            self._claims.pop(deployment_id, None)
            self._kept_by.pop(deployment_id, None)

    def note(self, deployment_id: str) -> None:
        """One that is in memory stands otherwise than before; how, is asked when it matters."""

    def kept_by(self, deployment_id: str) -> str | None:
        """What keeps one that waits for room; None when it does not."""
        return self._kept_by.get(deployment_id)

    def give_back(self, deployment_id: str) -> None:
        """Its memory is free again."""
        self.ledger.release(deployment_id)
        self.review()

    def relieve(self, grown: str) -> None:
        """Where something grew beyond the budget idle residents leave, if that helps; what answers stays."""
        free = self.ledger.free()
        over = {axis: 0 for axis, left in free.items() if left < 0}
        if not over:
            return
        log.warning("memory_over_budget", model=grown, bytes={axis: -free[axis] for axis in over})
        at = asyncio.get_running_loop().time()
        want = Want(id=grown, need=over, since=at, priority=Priority.HIGH)
        standing = tuple(self._standing(self.ledger.entries))
        for eviction in plan([want], standing, free, self.rules, at).evictions:
            self._decisions.note(eviction.id, "evicted", f"{grown!r} grew beyond the budget.", other=grown)
            self._evict(eviction.id)

    def review(self) -> None:
        """Something changed: who waits may get room now, or somebody may have to leave for them."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._claims:
            return
        wants = [claim.want for claim in self._claims.values() if not claim.granted.done()]
        if not wants:
            return
        loop = asyncio.get_running_loop()
        standing = tuple(self._standing(self.ledger.entries))
        decision = plan(wants, standing, self.ledger.free(), self.rules, loop.time())
        for granted in decision.grants:
            claim = self._claims[granted]
            place = decision.places.get(granted, claim.want.need)
            self.ledger.reserve(granted, place)
            claim.granted.set_result(place)
        for eviction in decision.evictions:
            self._decisions.note(eviction.id, "evicted", eviction.why, other=eviction.newcomer)
            self._evict(eviction.id)
        for waiting, why in decision.waits.items():
            if self._kept_by.get(waiting) != why:
                self._kept_by[waiting] = why
                self._decisions.note(waiting, "waits", f"No room in memory: {why}.")
        if decision.again_at is not None:
            self._alarm = loop.call_at(decision.again_at, self.review)
