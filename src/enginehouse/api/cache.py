"""The cache over HTTP: how it does, why a request was answered as it was, what was wrong, and what shall go."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from enginehouse.api.openapi import Responses, body_of
from enginehouse.api.reading import read_body
from enginehouse.core.cache.managing import Managing
from enginehouse.core.cache.rulings import Tier
from enginehouse.core.identity import require_admin
from enginehouse.errors import InvalidRequest
from enginehouse.types import Principal

__all__ = ["cache_router"]

_UNKNOWN: Responses = {404: {"description": "No such request of yours among the latest."}}
_TIERS: dict[str, Tier | None] = {
    "exact": "exact",
    "l1": "exact",
    "semantic": "semantic",
    "l2": "semantic",
    "all": None,
}


class ClearBody(BaseModel):
    """What shall go; all of it when nothing is said."""

    model_config = ConfigDict(extra="forbid")

    tier: str | None = Field(None, description="`exact` (or `l1`), `semantic` (or `l2`), or both when left out.")
    model: str | None = Field(None, description="Only this model's answers, by its id.")
    user: str | None = Field(None, description="Only what was kept for this user.")
    tenant: str | None = Field(None, description="Only this tenant's.")
    tag: str | None = Field(None, description="Only what was kept under this tag.")
    id: str | None = Field(None, description="Only this entry.", pattern="^[0-9a-f]{32}$")
    older_than: float = Field(0.0, ge=0, description="Only what was asked so many seconds ago.")


class FeedbackBody(BaseModel):
    """What was wrong."""

    model_config = ConfigDict(extra="forbid")

    request_id: str = Field(description="The request's `X-Request-ID`.")
    verdict: Literal["wrong"] = Field(description="Its answer was no answer to it.")


def cache_router(managing: Managing) -> APIRouter:
    """`/v1/cache/…`."""
    router = APIRouter(tags=["cache"])

    @router.get("/v1/cache/stats")
    async def cache_stats() -> dict[str, Any]:
        """Hits by tier, what they spared, what is kept; counters are of this process since its start."""
        return await managing.stats()

    @router.post("/v1/cache/clear", openapi_extra=body_of(ClearBody, required=False))
    async def clear_cache(request: Request) -> dict[str, Any]:
        """Nothing like this is served from now on, within a second by every replica.

        Wants role admin; anybody may clear what was kept for themselves, by naming themselves as `user`.
        """
        principal: Principal = request.state.principal
        wanted = await read_body(request, ClearBody)
        if wanted.user != principal.user or wanted.tenant not in (None, principal.tenant):
            require_admin(principal)
        if wanted.tier is not None and wanted.tier not in _TIERS:
            raise InvalidRequest(f"tier is {wanted.tier!r}; it may be exact, semantic or all.", param="tier")
        ruling, cleared = await managing.clear(
            tier=_TIERS[wanted.tier or "all"],
            older_than=wanted.older_than,
            model=wanted.model,
            user=wanted.user,
            tenant=wanted.tenant if principal.role == "admin" else principal.tenant,
            tag=wanted.tag,
            entry=wanted.id,
        )
        when = datetime.fromtimestamp(ruling.at, UTC).isoformat()
        return {"status": "ok", "cleared": cleared, "ruling": ruling.id, "timestamp": when}

    @router.post("/v1/cache/feedback", responses=_UNKNOWN, openapi_extra=body_of(FeedbackBody))
    async def cache_feedback(request: Request) -> dict[str, Any]:
        """The answer to one of your requests was wrong: that question and that entry never match again."""
        body = await read_body(request, FeedbackBody)
        decision = await managing.wrong(request.state.principal, body.request_id)
        return {"status": "ok", "request_id": body.request_id, "outcome": decision.tier}

    @router.get("/v1/cache/explain", responses=_UNKNOWN)
    async def explain_cache(
        request: Request,
        request_id: Annotated[str, Query(description="The `X-Request-ID` of one of your latest requests.")],
    ) -> dict[str, Any]:
        """Why it was answered from the cache or was not: candidates, vetoes, score and threshold."""
        return await managing.explain(request.state.principal, request_id)

    return router
