"""API keys over HTTP: a key is shown once, when it is made or rotated, and never again. All of it is for admins."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from enginehouse.api.openapi import Responses, body_of
from enginehouse.api.reading import read_body
from enginehouse.core.audit import Action, Audit
from enginehouse.core.identity import require_admin
from enginehouse.core.identity.keys import Key
from enginehouse.core.identity.management import Keys, Wanted
from enginehouse.core.ledger.usage import UsageReports
from enginehouse.errors import InvalidRequest
from enginehouse.settings.values import Dollars
from enginehouse.types import Allowance, Principal, Rate, Rates

__all__ = ["keys_router", "shown", "shown_used", "wanted"]

_GRACE = 86_400
_MOST_GRACE = 30 * 86_400
_REVOKED: Responses = {409: {"description": "The key is revoked for good."}}


class RatesBody(BaseModel):
    """How much a key may ask, beside what its tier says."""

    model_config = ConfigDict(extra="forbid")

    requests: str | None = Field(None, description="Such as `100/hour`.")
    tokens: str | None = Field(None, description="Such as `50000/minute`.")
    concurrent: int | None = Field(None, ge=1, description="Requests at the same time.")


class BudgetBody(BaseModel):
    """What a key may spend."""

    model_config = ConfigDict(extra="forbid")

    dollars: Dollars
    period: Literal["day", "month", "total"] = "month"


class KeyBody(BaseModel):
    """What may be said of a key; to change one, give only what shall change."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", description="For people.")
    user_id: str | None = Field(None, description="Whose usage it is; the key's own id when left out.")
    tenant: str = Field("", description="With whom it shares turns and cached answers.")
    role: str = Field("user", description="`admin` may manage models and keys.")
    tier: str = Field("standard", description="Which limits count.")
    models: list[str] = Field([], description="Models it may use, `*` for any ending; empty is all.")
    tags: list[str] = Field([], description="Labels under which its usage is also summed up.")
    limits: RatesBody | None = Field(None, description="Its own limits.")
    budget: BudgetBody | None = Field(None, description="Its own budget.")
    expires_at: datetime | None = Field(None, description="When it ends.")
    expires_in: int | None = Field(None, ge=1, description="Seconds after which it ends, instead of `expires_at`.")


class RotateBody(BaseModel):
    """How a key is rotated."""

    model_config = ConfigDict(extra="forbid")

    grace_seconds: int = Field(_GRACE, ge=0, le=_MOST_GRACE, description="How long the old one still counts.")


async def _admin(request: Request, response: Response) -> None:
    principal: Principal = request.state.principal
    require_admin(principal)
    response.headers["Cache-Control"] = "no-store"


def keys_router(keys: Keys, audit: Audit, usage: UsageReports) -> APIRouter:
    """`/v1/keys` and `/v1/audit`."""
    router = APIRouter(tags=["keys"], dependencies=[Depends(_admin)])

    async def told(key: Key) -> dict[str, Any]:
        return shown_used(key, await usage.last_used())

    @router.post("/v1/keys", status_code=201, openapi_extra=body_of(KeyBody, required=False))
    async def create(request: Request) -> dict[str, Any]:
        """Make a key; `key` is in this answer only."""
        principal: Principal = request.state.principal
        body = await read_body(request, KeyBody)
        key, text = await keys.create(wanted(body), principal.user)
        _note(request, key=key.id, user=key.user_id, role=key.role)
        return {**await told(key), "key": text}

    @router.get("/v1/keys")
    async def list_keys(
        user_id: Annotated[str | None, Query(description="Only this user's.")] = None,
    ) -> dict[str, Any]:
        """Every key, the oldest first, also those that have ended; none is told."""
        used = await usage.last_used()
        data = [shown_used(key, used) for key in await keys.all() if user_id in (None, key.user_id)]
        return {"object": "list", "data": data}

    @router.get("/v1/keys/{key_id}")
    async def get(key_id: str) -> dict[str, Any]:
        """One key."""
        return await told(await keys.get(key_id))

    @router.patch("/v1/keys/{key_id}", responses=_REVOKED, openapi_extra=body_of(KeyBody, required=False))
    async def change(request: Request, key_id: str) -> dict[str, Any]:
        """Change what is given; it counts within a second everywhere."""
        body = await read_body(request, KeyBody)
        _note(request, keys=sorted(body.model_fields_set))
        return await told(await keys.change(key_id, wanted(body)))

    @router.delete("/v1/keys/{key_id}")
    async def revoke(key_id: str) -> dict[str, Any]:
        """Revoke it for good; it counts within a second everywhere. It stays in the list."""
        return await told(await keys.revoke(key_id))

    @router.post("/v1/keys/{key_id}/rotate", responses=_REVOKED, openapi_extra=body_of(RotateBody, required=False))
    async def rotate(request: Request, key_id: str) -> dict[str, Any]:
        """A new text for the key, in this answer only; the old one counts until its grace is over."""
        body = await read_body(request, RotateBody)
        key, text = await keys.rotate(key_id, body.grace_seconds)
        return {**await told(key), "key": text}

    @router.get("/v1/audit")
    async def actions(
        before: Annotated[str | None, Query(description="The last `id` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """Who tried to manage what, the newest first."""
        found: list[Action] = await audit.latest(before=before, limit=limit)
        return {"object": "list", "data": [msgspec.to_builtins(action) for action in found]}

    return router


def wanted(body: KeyBody, now: datetime | None = None) -> Wanted:
    """What a body says, and nothing of what it leaves out.

    Raises:
        InvalidRequest: a rate that is none, or two ends.
    """
    given = body.model_fields_set
    plain: dict[str, Any] = {
        name: getattr(body, name) for name in ("name", "tenant", "role", "tier") if name in given
    }
    if body.user_id is not None:
        plain["user_id"] = body.user_id
    for name in ("models", "tags"):
        if name in given:
            plain[name] = tuple(dict.fromkeys(getattr(body, name)))
    if "limits" in given:
        plain["limits"] = _rates(body.limits)
    if "budget" in given:
        plain["budget"] = _allowance(body.budget)
    if given & {"expires_at", "expires_in"}:
        plain["expires"] = _end(body, now or datetime.now(UTC))
    return Wanted(**plain)


def shown_used(key: Key, used: Mapping[str, int]) -> dict[str, Any]:
    """A key as it may be told, and when it was last used."""
    return {**shown(key), "last_used_at": _when(used.get(key.id))}


def shown(key: Key) -> dict[str, Any]:
    """A key as it may be told."""
    rates = {name: getattr(key.limits, name) for name in ("requests", "tokens")}
    return {
        "id": key.id,
        "object": "api_key",
        "prefix": key.prefix,
        "status": key.status(datetime.now(UTC).timestamp()),
        "name": key.name,
        "user_id": key.user_id,
        "tenant": key.tenant,
        "role": key.role,
        "tier": key.tier,
        "models": key.models,
        "tags": key.tags,
        "limits": {
            **{name: str(rate) if rate else None for name, rate in rates.items()},
            "concurrent": key.limits.concurrent,
        },
        "budget": {"dollars": key.budget.dollars, "period": key.budget.period} if key.budget else None,
        "created_at": _when(key.created),
        "created_by": key.created_by,
        "expires_at": _when(key.expires),
        "revoked_at": _when(key.revoked),
        "rotated_at": _when(key.rotated),
        "old_key_until": _when(key.old_until),
    }


def _when(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _rates(body: RatesBody | None) -> Rates:
    if body is None:
        return Rates()
    try:
        requests, tokens = (Rate.of(text) if text else None for text in (body.requests, body.tokens))
    except ValueError as error:
        raise InvalidRequest(f"limits: {error}", param="limits") from None
    return Rates(requests=requests, tokens=tokens, concurrent=body.concurrent)


def _allowance(body: BudgetBody | None) -> Allowance | None:
    return None if body is None else Allowance(dollars=body.dollars, period=body.period)


def _end(body: KeyBody, now: datetime) -> int | None:
    if body.expires_at is not None and body.expires_in is not None:
        raise InvalidRequest("expires_at: give it or `expires_in`, not both.", param="expires_at")
    if body.expires_in is not None:
        return int(now.timestamp()) + body.expires_in
    if body.expires_at is None:
        return None
    moment = body.expires_at if body.expires_at.tzinfo else body.expires_at.replace(tzinfo=UTC)
    return int(moment.timestamp())


def _note(request: Request, **detail: Any) -> None:
    request.state.audit.update(detail)
