"""The cache as people see it: how it does, why one request was answered as it was, and what shall go."""

from typing import Any

import msgspec

from enginehouse.core.cache.cache import Cache
from enginehouse.core.cache.decisions import Decision
from enginehouse.core.cache.rulings import Ruling, Tier
from enginehouse.core.cache.stats import PICODOLLARS
from enginehouse.errors import NotFound
from enginehouse.stores.kv import Holding
from enginehouse.types import Principal

__all__ = ["Managing"]


class Managing:
    """What can be asked of the cache, and told it.

    Args:
        cache: the cache.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def stats(self) -> dict[str, Any]:
        """How it does; counters are of this process since its start, sizes of the whole store."""
        cache = self._cache
        held = await cache.weigh()
        holding = dict.fromkeys(Holding.__struct_fields__) if held is None else msgspec.to_builtins(held)
        settings = cache.settings
        return {
            "enabled": settings.enabled,
            "status": "degraded" if held is None else "healthy",
            "backend": cache.answers.backend,
            **holding,
            "max_bytes": settings.max_bytes,
            "exact_ttl": settings.exact_ttl,
            "semantic_ttl": settings.semantic_ttl,
            **cache.stats.told(),
            "waited_for_another": cache.flights.joined,
            "semantic": {} if cache.meaning is None else dict(cache.meaning.stats()),
        }

    async def clear(
        self,
        *,
        tier: Tier | None = None,
        older_than: float = 0.0,
        **which: str | None,
    ) -> tuple[Ruling, int]:
        """Nothing like this is served from now on, here or by other replicas; how much of it was let go of.

        Args:
            tier: of which cache; both when left out.
            older_than: only what was asked so many seconds ago.
            which: `model`, `user`, `tenant`, `tag` or `entry`; what is left out does not matter.

        Raises:
            StoreUnavailable: it counts here, but may not be heard elsewhere.
        """
        ruling = await self._cache.rulings.purge(tier=tier, older_than=older_than, **which)
        return ruling, await self._cache.sweep()

    async def wrong(self, principal: Principal, request_id: str) -> Decision:
        """The answer to this request was wrong: this question and that entry never match again.

        Raises:
            NotFound: nobody knows of such a request of this caller's, or nothing of it was kept.
            StoreUnavailable: it counts here, but may not be heard elsewhere, or after a restart.
        """
        decision = self._decision(principal, request_id)
        entry = decision.entry or decision.question
        if not entry or decision.tier == "bypass":
            raise NotFound(f"The answer to {request_id!r} has nothing to do with the cache.", param="request_id")
        asked = decision.question if decision.tier == "semantic" else entry
        await self._cache.rulings.call_wrong(asked, entry)
        if asked == entry:
            await self._cache.answers.drop([bytes.fromhex(entry)])
            if self._cache.meaning is not None:
                await self._cache.meaning.forget([entry])
        return decision

    async def explain(self, principal: Principal, request_id: str) -> dict[str, Any]:
        """Why this request was answered as it was.

        Raises:
            NotFound: nobody knows of such a request of this caller's.
        """
        decision = self._decision(principal, request_id)
        explanation, meaning = decision.explanation, self._cache.meaning
        then = explanation is not None
        if explanation is None and meaning is not None and decision.scope:
            own = frozenset({decision.question})
            explanation = await meaning.explain(decision.scope, decision.words, without=own)
        return {
            "request_id": decision.request_id,
            "model": decision.model,
            "outcome": decision.tier,
            "reason": decision.reason or None,
            "question": decision.question or None,
            "entry": decision.entry or None,
            "saved": _saved(decision) if decision.tier in ("exact", "semantic") else None,
            "seen": None if explanation is None else "then" if then else "now",
            "semantic": None if explanation is None else msgspec.to_builtins(explanation),
        }

    def _decision(self, principal: Principal, request_id: str) -> Decision:
        decision = self._cache.decisions.of(principal, request_id)
        if decision is None:
            raise NotFound(f"There is no request {request_id!r} of yours among the latest.", param="request_id")
        return decision


def _saved(decision: Decision) -> dict[str, Any]:
    """What a hit did not take; US dollars, None where the price is unknown."""
    cost = None if decision.saved_cost is None else decision.saved_cost / PICODOLLARS
    return {"tokens": decision.saved_tokens, "cost": cost, "seconds": round(decision.saved_seconds, 3)}
