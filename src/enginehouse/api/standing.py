"""What is in force: the settings, for admins, and whom the caller is taken for."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request

from enginehouse.core.identity import require_admin
from enginehouse.settings import describe
from enginehouse.settings.schema import Settings
from enginehouse.types import Principal

__all__ = ["standing_router"]


def standing_router(settings: Callable[[], Settings]) -> APIRouter:
    """`GET /v1/config` and `GET /v1/me`.

    Args:
        settings: those in force now.
    """
    router = APIRouter(tags=["operation"])

    @router.get("/v1/config")
    async def config(request: Request) -> dict[str, Any]:
        """The settings in force, secrets masked, where each comes from and what it means. Wants role admin."""
        require_admin(request.state.principal)
        return {**describe.show(settings()), "keys": describe.meanings()}

    @router.get("/v1/me")
    async def me(request: Request) -> dict[str, Any]:
        """Whom the credentials belong to, and what they may."""
        principal: Principal = request.state.principal
        rates = principal.limits
        return {
            "user": principal.user,
            "role": principal.role,
            "tier": principal.tier,
            "tenant": principal.tenant,
            "key": principal.key or None,
            "tags": principal.tags,
            "models": principal.models,
            "limits": {
                "requests": str(rates.requests) if rates.requests else None,
                "tokens": str(rates.tokens) if rates.tokens else None,
                "concurrent": rates.concurrent,
            },
        }

    return router
