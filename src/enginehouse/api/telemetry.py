"""What became of requests, and what happens now: reports, one request's whole way, and the stream of events."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from enginehouse.api.bodies import updated
from enginehouse.api.feed import Feed, Watch, frame
from enginehouse.api.openapi import EVENTS, Responses
from enginehouse.core.listing import Listed
from enginehouse.core.traces.pulse import Ended, Measured, Pulse, Queues
from enginehouse.core.traces.reports import Question, Reports
from enginehouse.core.traces.told import told
from enginehouse.errors import InvalidRequest, PermissionDenied
from enginehouse.residency.manager import ResidentStatus
from enginehouse.telemetry.events import Entry
from enginehouse.types import Principal

__all__ = ["events_router", "telemetry_router"]

_HOUR = 3600 * 1_000_000
_encode = msgspec.json.Encoder(decimal_format="number").encode

Since = Annotated[str | None, Query(description="Only requests from this time on, ISO; an hour ago for summaries.")]
Until = Annotated[str | None, Query(description="Only requests before this time, ISO; now.")]
User = Annotated[str | None, Query(description="Whose requests. Other users' want role admin, and so do all.")]
Key = Annotated[str | None, Query(description="Only those with this key, by its id.")]
ModelId = Annotated[str | None, Query(description="Only those of this model, by its id.")]
Limit = Annotated[int, Query(ge=1, le=500)]
LastEventId = Annotated[
    str | None, Header(description="The id of the last event that was read; what came after it is sent first.")
]

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


def events_router(
    pulse: Pulse,
    overview: Callable[[Principal], dict[str, Any]],
    may_hear: Callable[[Principal, str], bool],
    name_of: Callable[[str], str],
    watch: Watch,
) -> APIRouter:
    """`GET /v1/events`; `GET /metrics/stream` and `GET /api/v1/metrics` for the figures alone.

    Args:
        pulse: what is told.
        overview: models and queues as one caller may see them.
        may_hear: whether a caller may know of a model.
        name_of: what people call a key, by its id.
    """
    router = APIRouter(tags=["telemetry"])
    events = pulse.events

    def happened(principal: Principal, entry: Entry[Any]) -> bytes:
        name, body = _event(principal, entry, may_hear, name_of)
        return frame(events, entry.number, name, body) if body else b""

    def measured(entry: Entry[Any]) -> bytes:
        event = entry.event
        if not isinstance(event, Measured):
            return b""
        return frame(events, entry.number, "metrics", _encode(event.figures))

    @router.get("/v1/events", response_class=Response, responses=EVENTS)
    async def event_stream(request: Request, last_event_id: LastEventId = None) -> Response:
        """What happens, as it happens.

        First `full_status` with models, queues, figures and their last five minutes; then `model_update` on every
        change of a model, `queue_update` when lines have moved, `requests` for those that have ended, and `figures`
        once a second. After `Last-Event-ID` what was missed comes first, if it is kept.
        """
        principal: Principal = request.state.principal
        render = partial(happened, principal)
        place = events.place(last_event_id)
        if place is not None:
            return Feed(events.subscribe(place), render, watch)
        body = {**overview(principal), "figures": pulse.figures(), "history": list(pulse.history)}
        opening = frame(events, events.last, "full_status", _encode(body))
        return Feed(events.subscribe(), render, watch, opening=opening)

    @router.get("/metrics/stream", response_class=Response, responses=EVENTS)
    async def metrics_stream(last_event_id: LastEventId = None) -> Response:
        """`metrics` once a second: rates, percentiles of the last minute, totals since the start."""
        place = events.place(last_event_id)
        if place is not None:
            return Feed(events.subscribe(place), measured, watch)
        opening = frame(events, events.last, "metrics", _encode(pulse.figures()))
        return Feed(events.subscribe(), measured, watch, opening=opening)

    @router.get("/api/v1/metrics")
    async def metrics_json() -> Response:
        """How the service does, since its start and within the last minute."""
        return _json(pulse.overall())

    return router


def _event(
    principal: Principal,
    entry: Entry[Any],
    may_hear: Callable[[Principal, str], bool],
    name_of: Callable[[str], str],
) -> tuple[str, bytes | None]:
    """Its name and its data; no data where the caller may not hear of it."""
    event = entry.event
    if isinstance(event, Ended):
        admin = principal.role == "admin"
        mine = [told(trace, name_of) for trace in event.traces if admin or trace.user_id == principal.user]
        body = {"requests": mine, "skipped": event.skipped if admin else 0}
        return "requests", _encode(body) if mine else None
    if isinstance(event, Measured):
        return "figures", _encode(event.figures)
    if isinstance(event, Queues):
        queues = {model: line for model, line in event.by_model.items() if may_hear(principal, model)}
        return "queue_update", _encode({"queues": queues}) if queues else None
    update: ResidentStatus | Listed = event
    model = update.status.model if isinstance(update, Listed) else update.model
    heard = may_hear(principal, model)
    return "model_update", updated(update, entry.at).model_dump_json(exclude_none=True).encode() if heard else None


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
