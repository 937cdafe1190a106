"""Room in memory: who holds it, who waits for it, and the moment in which it changes hands."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog
from msgspec import Struct

from enginehouse.errors import InsufficientMemory
from enginehouse.residency.base import Terms
from enginehouse.residency.decisions import Decisions
from enginehouse.residency.memory import ByteLedger
from enginehouse.residency.policy import Footprint, Rules, Standing, Want, plan
from enginehouse.types import Priority

__all__ = ["Room"]

log = structlog.get_logger()


class _Claim(Struct, frozen=True, eq=False):
    want: Want
    granted: "asyncio.Future[Footprint]"


class Room:
    """The one place where room is granted; it asks the pure policy and carries out what that says.

    Args:
        ledger: what there is and who has it.
        rules: bounds of waiting and of taking turns.
        standing: what is in memory now; asked at each review.
        evict: makes a resident leave.
        decisions: where reasons are kept.
    """

    def __init__(
        self,
        ledger: ByteLedger,
        rules: Rules,
        *,
        standing: Callable[[Mapping[str, Footprint]], Iterable[Standing]],
        evict: Callable[[str], None],
        decisions: Decisions,
    ) -> None:
        self.ledger = ledger
        self.rules = rules
        self._standing = standing
        self._evict = evict
        self._decisions = decisions
        self._kept_by: dict[str, str] = {}
        """What keeps those who wait, as it was last told."""
        self._claims: dict[str, _Claim] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def check(self, deployment_id: str, needs: Sequence[Footprint]) -> Sequence[Footprint]:
        """Those places where it could fit with all else gone but what is pinned.

        Raises:
            InsufficientMemory: it fits nowhere; tells what the last place needs and what there could be.
        """
        standing = self._standing(self.ledger.entries)
        kept = {one.id: one.size for one in standing if one.pinned}
        possible: list[Footprint] = []
        for need in needs:
            try:
                self.ledger.check(deployment_id, need, kept)
            except InsufficientMemory:
                if need is needs[-1] and not possible:
                    raise
            else:
                possible.append(need)
        return possible

    async def take(
        self, deployment_id: str, needs: Sequence[Footprint], *, since: float, terms: Terms
    ) -> Footprint:
        """Wait until there is room in one of these places, and have it: it is reserved in the step that decides.

        Whoever leaves while waiting has to `give_back`, since the grant may have come in the same tick.
        """
        need, *others = needs
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
