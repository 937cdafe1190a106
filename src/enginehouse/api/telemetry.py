"""What became of requests: reports, and one request's whole way."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from enginehouse.api.openapi import Responses
from enginehouse.core.traces.reports import Question, Reports
from enginehouse.errors import InvalidRequest, PermissionDenied
from enginehouse.types import Principal

__all__ = ["telemetry_router"]

_HOUR = 3600 * 1_000_000
_encode = msgspec.json.Encoder(decimal_format="number").encode

Since = Annotated[str | None, Query(description="Only requests from this time on, ISO; an hour ago for summaries.")]
Until = Annotated[str | None, Query(description="Only requests before this time, ISO; now.")]
User = Annotated[str | None, Query(description="Whose requests. Other users' want role admin, and so do all.")]
Key = Annotated[str | None, Query(description="Only those with this key, by its id.")]
ModelId = Annotated[str | None, Query(description="Only those of this model, by its id.")]
Limit = Annotated[int, Query(ge=1, le=500)]

_UNKNOWN: Responses = {404: {"description": "No such request of yours that is still known."}}


def telemetry_router(reports: Reports) -> APIRouter:
    """`/v1/telemetry/…`."""
    router = APIRouter(tags=["telemetry"])

    @router.get("/v1/telemetry/summary")
    async def telemetry_summary(
        request: Request,
        since: Since = None,
        until: Until = None,
        user_id: User = None,
        key_id: Key = None,
        model: ModelId = None,
    ) -> Response:
        """How requests did: how many, how they ended, where their time went, what they took; by model and user."""
        now = _now()
        question = _question(request, since, until, user_id, key_id, model, since_default=now - _HOUR)
        return _json(await reports.summary(question, now))

    @router.get("/v1/telemetry/requests")
    async def telemetry_requests(
        request: Request,
        *,
        since: Since = None,
        until: Until = None,
        user_id: User = None,
        key_id: Key = None,
        model: ModelId = None,
        outcome: Annotated[
            str | None, Query(description="`completed`, `cancelled`, `failed` or `refused`.")
        ] = None,
        status: Annotated[int | None, Query(description="Only those that were answered with this status.")] = None,
        error: Annotated[str | None, Query(description="Only those with this error code.")] = None,
        failed: Annotated[bool, Query(description="Only those that went wrong.")] = False,
        cache: Annotated[str | None, Query(description="`exact`, `semantic`, `miss` or `bypass`.")] = None,
        face: Annotated[str | None, Query(description="Only those that came in this dialect.")] = None,
        request_id: Annotated[str | None, Query(description="Only those of this `X-Request-ID`.")] = None,
        min_ms: Annotated[float | None, Query(ge=0, description="Only those that took at least so long.")] = None,
        cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
        limit: Limit = 50,
    ) -> Response:
        """Requests, the newest first."""
        question = msgspec.structs.replace(
            _question(request, since, until, user_id, key_id, model),
            outcome=outcome,
            status=status,
            error=error,
            failed=failed,
            cache=cache,
            face=face,
            request_id=request_id,
            slower_than=None if min_ms is None else round(min_ms * 1000),
            before=cursor,
        )
        return _json(await reports.page(question, limit))

    @router.get("/v1/telemetry/requests/{request_id:path}", responses=_UNKNOWN)
    async def telemetry_request(request: Request, request_id: str) -> Response:
        """One request's whole way, by its `id` or its `X-Request-ID`: every stay in a phase, and when it began."""
        question = Question(user=_whose(request.state.principal, None), request_id=request_id)
        return _json(await reports.one(question))

    @router.get("/v1/telemetry/errors")
    async def telemetry_errors(
        request: Request,
        since: Since = None,
        until: Until = None,
        user_id: User = None,
        key_id: Key = None,
        model: ModelId = None,
        limit: Limit = 50,
    ) -> Response:
        """What went wrong, the like taken together by code and cause, the most frequent first."""
        now = _now()
        question = _question(request, since, until, user_id, key_id, model, since_default=now - 24 * _HOUR)
        return _json(await reports.errors(question, now, limit))

    return router


def _question(
    request: Request,
    since: str | None,
    until: str | None,
    user_id: str | None,
    key_id: str | None,
    model: str | None,
    *,
    since_default: int | None = None,
) -> Question:
    return Question(
        user=_whose(request.state.principal, user_id),
        key=key_id or None,
        model=model or None,
        since=_moment("since", since) or since_default,
        until=_moment("until", until),
    )


def _whose(principal: Principal, user_id: str | None) -> str | None:
    """An admin may ask about anybody and everybody, anyone else about themselves."""
    if principal.role == "admin":
        return user_id or None
    if user_id not in (None, "", principal.user):
        raise PermissionDenied("The requests of other users want the role 'admin'.", param="user_id")
    return principal.user


def _moment(name: str, text: str | None) -> int | None:
    if not text:
        return None
    try:
        # A `+` of a query string that was not encoded has become a blank.
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"{name} is {text!r}; it has to be a time such as 2026-01-31T10:00:00Z.", param=name
        ) from None


def _now() -> int:
    return time.time_ns() // 1000


def _json(body: dict[str, Any]) -> Response:
    return Response(_encode(body), media_type="application/json")
