"""Models in memory: load, unload, reset, how each stands, and what its engine writes.

An id may hold slashes: these routes stand before `GET /v1/models/{id}`, and no id holds the words they end in.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response

from enginehouse.api.bodies import (
    DecisionBody,
    Eject,
    Explanation,
    LogLines,
    ModelState,
    Named,
    Overview,
    Server,
    Which,
    named,
    state_of,
    updated,
)
from enginehouse.api.feed import Feed, Watch, frame
from enginehouse.api.openapi import EVENTS, LOADS, UNKNOWN, OneReplica, Responses, body_of
from enginehouse.api.reading import read_body
from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies, copies_of
from enginehouse.core.identity import require_admin
from enginehouse.core.listing import Listed, Update
from enginehouse.core.replicas import Anew, Views, apart
from enginehouse.core.usable import may_hear_of, resolved_for, usable_by
from enginehouse.residency.base import terms_of
from enginehouse.residency.manager import Residency, ResidentStatus
from enginehouse.telemetry.events import Entry, EventStream
from enginehouse.types import Model, Principal, ResidentState

__all__ = ["overview_of", "residents_router"]

_MOST_LINES = 500

Wait = Annotated[bool, Query(description="`false` answers 202 at once; how it goes on is seen in the status.")]
Explain = Annotated[bool, Query(description="Say what a request would wait for, and what was decided and why.")]
Lines = Annotated[int, Query(ge=1, le=_MOST_LINES, description="How many of the last lines.")]
LastEventId = Annotated[
    str | None, Header(description="The id of the last event that was read; what came after it is sent first.")
]

_BEGUN: Responses = {202: {"description": "It has begun.", "model": Named}}


async def _admin(request: Request) -> None:
    principal: Principal = request.state.principal
    require_admin(principal)


def residents_router(
    catalogue: Catalogue,
    residency: Residency,
    copies: Copies,
    admission: Admission,
    changes: EventStream[Update],
    watch: Watch,
    views: Views | None = None,
) -> APIRouter:
    """Everything below `/v1/models` but the list itself."""
    router, views = APIRouter(tags=["models"]), views or Views()
    _add_overviews(router, catalogue, residency, copies, changes, watch, views)
    _add_management(router, catalogue, residency, copies)
    _add_logs(router, catalogue, residency, watch)

    @router.get("/v1/models/{model_id:path}/status", response_model_exclude_none=True)
    async def status_of_one(
        model_id: str, request: Request, *, explain: Explain = False, replica: OneReplica = None
    ) -> Named:
        """How one model stands, and why; what was decided is told by the replica that answers."""
        model = resolved_for(request.state.principal, catalogue, model_id)
        body = named(*views.model(copies.status(model), views.chosen(replica)))
        if explain:
            await admission.survey(model.deployments[:1])
            body.explanation = _explanation(residency, admission, model)
        return body

    return router


def overview_of(
    principal: Principal,
    catalogue: Catalogue,
    copies: Copies,
    views: Views,
    only: str | None = None,
    *,
    closing: bool,
) -> Overview:
    """How every model stands that the caller may use, in the whole service or at one replica."""
    which = _which(copies, usable_by(principal, catalogue), views, only)
    server = Server(status="shutting_down" if closing else "ready")
    body = Overview(server=server, models=which.models, summary=which.summary)
    if views.replicas is not None:
        body.replica, body.scope = views.replicas.id, views.replicas.scope
    return body


def _explanation(residency: Residency, admission: Admission, model: Model) -> Explanation:
    deployment_id = model.deployments[0].id
    stats = admission.stats(deployment_id)
    waiting = sum(stats.depth.values()) if stats else 0
    reasons = [residency.explain(deployment_id)]
    if stats and (waiting or stats.active >= stats.slots):
        reasons.insert(0, f"All {stats.slots} slots are taken, and {waiting} requests wait for one.")
    decisions = [
        DecisionBody(timestamp=entry.at, **msgspec.structs.asdict(entry.event))
        for entry in residency.decisions.about(*(copy.id for copy in copies_of(model)))
    ]
    return Explanation(now=[reason for reason in reasons if reason], decisions=decisions)


def _add_overviews(
    router: APIRouter,
    catalogue: Catalogue,
    residency: Residency,
    copies: Copies,
    changes: EventStream[Update],
    watch: Watch,
    views: Views,
) -> None:
    stream: EventStream[Any] = changes if views.replicas is None else views.replicas.changes

    def overview(principal: Principal, only: str | None) -> Overview:
        closing = residency.closing or watch.stopping.is_set()
        return overview_of(principal, catalogue, copies, views, only, closing=closing)

    def happened(principal: Principal, only: str | None, entry: Entry[Any]) -> bytes:
        event, replica, parts = apart(entry.event, only)
        if isinstance(event, Anew):
            return full_status(principal, only, entry.number)
        if event is None or not may_hear_of(principal, catalogue, _whose(event)):
            return b""
        body = updated(event, entry.at, replica, parts).model_dump_json(exclude_none=True)
        return frame(stream, entry.number, "model_update", body.encode())

    def full_status(principal: Principal, only: str | None, number: int) -> bytes:
        body = overview(principal, only).model_dump_json(exclude_none=True)
        return frame(stream, number, "full_status", body.encode())

    @router.get("/v1/models/status", response_model_exclude_none=True)
    async def status_of_all(request: Request, replica: OneReplica = None) -> Overview:
        """How every model stands that the caller may use."""
        return overview(request.state.principal, views.chosen(replica))

    @router.get("/v1/models/status/stream", response_class=Response, responses=EVENTS)
    async def status_stream(
        request: Request, replica: OneReplica = None, last_event_id: LastEventId = None
    ) -> Response:
        """`full_status`, then `model_update` on every change; after `Last-Event-ID` what was missed, if kept.

        Where there are several replicas `full_status` comes again when one has come or gone.
        """
        principal, only = request.state.principal, views.chosen(replica)
        render = partial(happened, principal, only)
        place = stream.place(last_event_id)
        if place is not None:
            return Feed(stream.subscribe(place), render, watch)
        return Feed(stream.subscribe(), render, watch, opening=full_status(principal, only, stream.last))

    @router.get("/v1/models/failed", response_model_exclude_none=True)
    async def failed(request: Request, replica: OneReplica = None) -> Which:
        """Models that failed to load, or whose engine ended by itself, and why; at any replica."""
        which = _which(copies, usable_by(request.state.principal, catalogue), views, views.chosen(replica))
        models = {id_: state for id_, state in which.models.items() if _has_failed(state)}
        return Which(models=models, summary=_summary(models.values()))


def _add_management(router: APIRouter, catalogue: Catalogue, residency: Residency, copies: Copies) -> None:
    admins = [Depends(_admin)]
    shown: dict[str, Any] = {"dependencies": admins, "response_model": Named, "response_model_exclude_none": True}

    async def unload_it(name: str, *, wait: bool) -> Response | Named:
        model = catalogue.resolve(name)
        # What is decided is decided in the first step; a limit of no time at all only ends the waiting for it.
        with suppress(TimeoutError):
            async with asyncio.timeout(None if wait else 0):
                await copies.unload(model)
        return _answer(copies.status(model), wait=wait)

    def pin_it(name: str, *, pinned: bool) -> Named:
        model = catalogue.resolve(name)
        copies.pin(model, pinned=pinned)
        return named(copies.status(model))

    @router.post("/v1/models/eject", responses=UNKNOWN, openapi_extra=body_of(Eject), **shown)
    async def eject(request: Request) -> Response | Named:
        """Out of memory, once its running requests have ended."""
        return await unload_it((await read_body(request, Eject)).model, wait=True)

    @router.post("/v1/models/{model_id:path}/load", responses=LOADS | _BEGUN, **shown)
    async def load(model_id: str, *, wait: Wait = True) -> Response | Named:
        """Into memory; answers when it is ready."""
        model = catalogue.resolve(model_id)
        if wait:
            await residency.load(model.deployments[0], terms_of(model))
        else:
            residency.load_soon(model.deployments[0], terms_of(model))
            await asyncio.sleep(0)  # so that the answer says what has begun
        return _answer(copies.status(model), wait=wait)

    @router.post("/v1/models/{model_id:path}/unload", responses=_BEGUN, **shown)
    async def unload(model_id: str, *, wait: Wait = True) -> Response | Named:
        """Out of memory, once its running requests have ended; a load under way is stopped."""
        return await unload_it(model_id, wait=wait)

    @router.post("/v1/models/{model_id:path}/reset", **shown)
    async def reset(model_id: str) -> Response | Named:
        """Forget that it failed; a model that has not failed is left as it is."""
        model = catalogue.resolve(model_id)
        copies.reset(model)
        return named(copies.status(model))

    @router.post("/v1/models/{model_id:path}/pin", **shown)
    async def pin(model_id: str) -> Response | Named:
        """Neither evicted nor unloaded for being idle, until it is unpinned or the service restarts."""
        return pin_it(model_id, pinned=True)

    @router.post("/v1/models/{model_id:path}/unpin", **shown)
    async def unpin(model_id: str) -> Response | Named:
        """It may be evicted, whatever its entry in the settings says, until the service restarts."""
        return pin_it(model_id, pinned=False)


def _add_logs(router: APIRouter, catalogue: Catalogue, residency: Residency, watch: Watch) -> None:
    # An engine may write down prompts, and paths of this machine: that is not for everybody.
    admins = [Depends(_admin)]

    @router.get("/v1/models/{model_id:path}/logs", dependencies=admins)
    async def logs(model_id: str, lines: Lines = 100) -> LogLines:
        """The last lines its engine process wrote; none for engines without a process."""
        model = catalogue.resolve(model_id)
        kept = residency.log(model.deployments[0].id).recent()[-lines:]
        return LogLines(alias=model.id, model_id=model.id, lines=[entry.event for entry in kept])

    @router.get(
        "/v1/models/{model_id:path}/logs/stream", dependencies=admins, response_class=Response, responses=EVENTS
    )
    async def log_stream(model_id: str, lines: Lines = 100, last_event_id: LastEventId = None) -> Response:
        """The last lines, then every new one, as events named `log`; with `Last-Event-ID` what was missed first."""
        log = residency.log(catalogue.resolve(model_id).deployments[0].id)

        def render(entry: Entry[str]) -> bytes:
            data = {"line": entry.event, "timestamp": entry.at}
            return frame(log, entry.number, "log", msgspec.json.encode(data))

        place = log.place(last_event_id)
        if place is None:
            place = log.last - min(lines, len(log.recent()))
        return Feed(log.subscribe(place), render, watch)


def _whose(event: Update) -> str:
    return event.status.model if isinstance(event, Listed) else event.model


def _which(copies: Copies, models: Iterable[Model], views: Views, only: str | None) -> Which:
    states = {model.id: state_of(*views.model(copies.status(model), only)) for model in models}
    return Which(models=states, summary=_summary(states.values()))


def _summary(states: Iterable[ModelState]) -> dict[str, int]:
    return dict(sorted(Counter(state.status.value for state in states).items()))


def _has_failed(state: ModelState) -> bool:
    return any(one.status is ResidentState.FAILED for one in (state, *(state.replicas or {}).values()))


def _answer(status: ResidentStatus, *, wait: bool) -> Response | Named:
    body = named(status)
    if wait:
        return body
    return JSONResponse(body.model_dump(mode="json", exclude_none=True), status_code=202)
