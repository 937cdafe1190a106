"""What happens now: the stream of everything, of the figures alone, and the figures once."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from msgspec import Struct

from enginehouse.api.bodies import updated
from enginehouse.api.feed import Feed, Watch, frame
from enginehouse.api.openapi import EVENTS, OneReplica
from enginehouse.core.listing import Listed
from enginehouse.core.replicas import Anew, Views, apart
from enginehouse.core.traces.pulse import Ended, Figures, Measured, Pulse, Queues
from enginehouse.core.traces.told import told
from enginehouse.residency.manager import ResidentStatus
from enginehouse.telemetry.events import Entry, EventStream
from enginehouse.types import Principal

__all__ = ["events_router"]

_encode = msgspec.json.Encoder(decimal_format="number").encode

LastEventId = Annotated[
    str | None, Header(description="The id of the last event that was read; what came after it is sent first.")
]


def events_router(
    pulse: Pulse,
    overview: Callable[[Principal, str | None], dict[str, Any]],
    may_hear: Callable[[Principal, str], bool],
    name_of: Callable[[str], str],
    watch: Watch,
    views: Views | None = None,
) -> APIRouter:
    """`GET /v1/events`; `GET /metrics/stream` and `GET /api/v1/metrics` for the figures alone.

    Args:
        pulse: what happens here.
        overview: models and queues as one caller may see them, of the whole service or of one replica.
        may_hear: whether a caller may know of a model.
        name_of: what people call a key, by its id.
        views: what happens at all replicas, where there may be several.
    """
    router, views = APIRouter(tags=["telemetry"]), views or Views()
    stage = _Stage(pulse=pulse, views=views, overview=overview, may_hear=may_hear, name_of=name_of)
    events = stage.events

    @router.get("/v1/events", response_class=Response, responses=EVENTS)
    async def event_stream(
        request: Request, replica: OneReplica = None, last_event_id: LastEventId = None
    ) -> Response:
        """What happens, as it happens.

        First `full_status` with models, queues, figures and their last five minutes; then `model_update` on every
        change of a model, `queue_update` when lines have moved, `requests` for those that have ended, and `figures`
        once a second. After `Last-Event-ID` what was missed comes first, if it is kept.

        Where there are several replicas it is that of all of them, in one order, whichever is asked; every event
        names its `replica`, and `full_status` comes again when one has come or gone.
        """
        principal, only = request.state.principal, views.chosen(replica)
        render = partial(stage.happened, principal, only)
        place = events.place(last_event_id)
        if place is not None:
            return Feed(events.subscribe(place), render, watch)
        opening = stage.full_status(principal, only, events.last, history=stage.history(only))
        return Feed(events.subscribe(), render, watch, opening=opening)

    @router.get("/metrics/stream", response_class=Response, responses=EVENTS)
    async def metrics_stream(replica: OneReplica = None, last_event_id: LastEventId = None) -> Response:
        """`metrics` once a second: rates, percentiles of the last minute, totals since the start."""
        only = views.chosen(replica)
        render = partial(stage.measured, only)
        place = events.place(last_event_id)
        if place is not None:
            return Feed(events.subscribe(place), render, watch)
        opening = frame(events, events.last, "metrics", _encode(stage.figures(only)))
        return Feed(events.subscribe(), render, watch, opening=opening)

    @router.get("/api/v1/metrics")
    async def metrics_json(replica: OneReplica = None) -> Response:
        """How the service does, since its start and within the last minute."""
        return Response(_encode(stage.overall(views.chosen(replica))), media_type="application/json")

    return router


class _Stage(Struct, frozen=True, kw_only=True):
    """What is told, and who may hear it, as `events_router` was given them."""

    pulse: Pulse
    views: Views
    overview: Callable[[Principal, str | None], dict[str, Any]]
    may_hear: Callable[[Principal, str], bool]
    name_of: Callable[[str], str]

    @property
    def events(self) -> EventStream[Any]:
        """Of all replicas, or of this process."""
        return self.pulse.events if self.views.replicas is None else self.views.replicas.events

    def figures(self, only: str | None) -> Figures:
        """The newest of all replicas, or of one."""
        replicas = self.views.replicas
        return (None if replicas is None else replicas.figures(only)) or self.pulse.figures()

    def overall(self, only: str | None) -> Figures:
        """The same, and what there was since the start."""
        replicas = self.views.replicas
        if replicas is None:
            return self.pulse.overall()
        told = replicas.overall(only) or self.pulse.overall()
        return {**told, "replica": only or replicas.id, "scope": replicas.scope}

    def history(self, only: str | None) -> list[Figures]:
        """Those of the last five minutes; of another replica nothing is kept here."""
        replicas = self.views.replicas
        if replicas is None or only == replicas.id:
            return list(self.pulse.history)
        return [] if only else list(replicas.history)

    def full_status(self, principal: Principal, only: str | None, number: int, **more: Any) -> bytes:
        """How everything stands now."""
        body = {**self.overview(principal, only), "figures": self.figures(only), **more}
        return frame(self.events, number, "full_status", _encode(body))

    def happened(self, principal: Principal, only: str | None, entry: Entry[Any]) -> bytes:
        """One event for one caller; nothing when it is not for this one."""
        event, replica, parts = apart(entry.event, only)
        match event:
            case None:
                return b""
            case Anew():
                return self.full_status(principal, only, entry.number)
            case Ended():
                name, data = "requests", self._requests(principal, event, replica)
            case Measured():
                name, data = "figures", _figures(event, replica, parts)
            case Queues():
                name, data = "queue_update", self._queues(principal, event, replica, parts)
            case _:
                name, data = "model_update", self._model(principal, event, entry.at, replica, parts)
        return frame(self.events, entry.number, name, data) if data else b""

    def measured(self, only: str | None, entry: Entry[Any]) -> bytes:
        """The figures, and nothing else."""
        event, _, _ = apart(entry.event, only)
        if not isinstance(event, Measured):
            return b""
        return frame(self.events, entry.number, "metrics", _encode(event.figures))

    def _requests(self, principal: Principal, ended: Ended, replica: str | None) -> bytes | None:
        admin = principal.role == "admin"
        mine = [told(one, self.name_of) for one in ended.traces if admin or one.user_id == principal.user]
        body = {"requests": mine, "skipped": ended.skipped if admin else 0, **_whose(replica)}
        return _encode(body) if mine else None

    def _queues(
        self, principal: Principal, moved: Queues, replica: str | None, parts: Mapping[str, Any]
    ) -> bytes | None:
        queues = {
            model: {**line, "replicas": parts[model]} if len(parts.get(model, ())) > 1 else line
            for model, line in moved.by_model.items()
            if self.may_hear(principal, model)
        }
        return _encode({"queues": queues, **_whose(replica)}) if queues else None

    def _model(
        self,
        principal: Principal,
        update: ResidentStatus | Listed,
        at: datetime,
        replica: str | None,
        parts: Mapping[str, ResidentStatus],
    ) -> bytes | None:
        model = update.status.model if isinstance(update, Listed) else update.model
        if not self.may_hear(principal, model):
            return None
        return updated(update, at, replica, parts).model_dump_json(exclude_none=True).encode()


def _figures(measured: Measured, replica: str | None, parts: Mapping[str, Any]) -> bytes:
    return _encode({**measured.figures, **_whose(replica), "replicas": parts} if parts else measured.figures)


def _whose(replica: str | None) -> dict[str, str]:
    return {} if replica is None else {"replica": replica}
