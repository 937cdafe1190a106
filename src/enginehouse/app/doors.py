"""How the service is reached: every route and who answers it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from prometheus_client import ProcessCollector

from enginehouse.api.anthropic import anthropic_faces
from enginehouse.api.cache import cache_router
from enginehouse.api.cache_metrics import cache_metrics
from enginehouse.api.chat import ChatFace
from enginehouse.api.console import console_assets, console_router
from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.events import events_router
from enginehouse.api.faces import Face
from enginehouse.api.feed import Watch
from enginehouse.api.fleet import fleet_metrics
from enginehouse.api.framework import framework_app
from enginehouse.api.generation import GenerationFace
from enginehouse.api.health import health_router
from enginehouse.api.inference import InferenceFace
from enginehouse.api.keys import keys_router
from enginehouse.api.llm import llm_faces, llm_router
from enginehouse.api.meters import house_metrics, model_metrics, queue_metrics, request_metrics, router_metrics
from enginehouse.api.metrics import guard_metrics, metrics_router, model_cache_metrics, open_paths
from enginehouse.api.model_cache import model_cache_router
from enginehouse.api.models import models_router
from enginehouse.api.ollama import ollama_faces
from enginehouse.api.ollama_models import ollama_router
from enginehouse.api.ollama_pull import ollama_pull_router
from enginehouse.api.openai import openai_faces
from enginehouse.api.predict import predict_faces
from enginehouse.api.queue import lines_of, queue_router
from enginehouse.api.registration import registration_router
from enginehouse.api.rerank import rerank_faces
from enginehouse.api.residents import overview_of, residents_router
from enginehouse.api.session_face import SessionFace
from enginehouse.api.sessions import sessions_router
from enginehouse.api.sockets import Sockets
from enginehouse.api.standing import standing_router
from enginehouse.api.telemetry import telemetry_router
from enginehouse.api.usage import savings_router, usage_router
from enginehouse.api.vectors import vectors_router
from enginehouse.api.vram import vram_router
from enginehouse.app.rooms import Rooms
from enginehouse.core.cache.managing import Managing
from enginehouse.core.replicas import Views
from enginehouse.core.structured import Structured
from enginehouse.core.traces.pulse import Pulse
from enginehouse.core.usable import may_hear_of, usable_by
from enginehouse.settings.schema import ServerSettings
from enginehouse.telemetry.metrics import Metrics
from enginehouse.types import Principal

__all__ = ["front_door"]


def front_door(
    rooms: Rooms, sockets: Sockets, pulse: Pulse, views: Views, settings: ServerSettings, stopping: asyncio.Event
) -> FrontDoor:
    """The ASGI application.

    Args:
        sockets: what serves WebSockets.
        pulse: what is told of the whole once a second.
        views: how the whole is told where there are several replicas.
        stopping: set when endless streams shall end.
    """
    access = rooms.ground.access
    hot = _hot(rooms)
    watch = Watch(stopping=stopping, ping_interval=settings.ping_interval)
    metrics = _metrics(rooms, sockets, pulse)
    routers = [
        *_operation(rooms, metrics, views),
        *_telemetry(rooms, pulse, views, watch),
        *_models(rooms, views, watch),
        *_records(rooms),
    ]
    return FrontDoor(
        hot,
        framework_app(routers, hot),
        access.identity,
        settings,
        audit=access.audit,
        limits=access.limits,
        sockets={"/ws": sockets},
        public=open_paths(rooms.settings()),
        traces=rooms.ground.traces,
        leaving=rooms.ground.leaving.is_set,
    )


def _hot(rooms: Rooms) -> Mapping[str, Face]:
    """Routes that are asked often and answered at length: plain ASGI, before the framework."""
    gateway, catalogue = rooms.gateway, rooms.ground.catalogue
    dialects = {
        **openai_faces(gateway),
        **anthropic_faces(gateway),
        **ollama_faces(gateway, catalogue, rooms.copies.unload),
    }
    return {
        **{path: _kept(face, rooms) for path, face in dialects.items()},
        **llm_faces(gateway),
        **rerank_faces(gateway),
        **predict_faces(rooms.predictions, lambda: rooms.settings().predictions.default_model),
        "/v1/inference": InferenceFace(gateway, Structured()),
        "/api/v1/inference/chat": ChatFace(rooms.answers),
    }


def _kept(face: Face, rooms: Rooms) -> Face:
    """Chats may go on with a conversation that the service keeps."""
    if isinstance(face, GenerationFace) and face.chats:
        return SessionFace(face, rooms.sessions, rooms.gateway)
    return face


def _metrics(rooms: Rooms, sockets: Sockets, pulse: Pulse) -> Metrics:
    """Every room's readers."""
    on, metrics = rooms.ground, Metrics()
    metrics.registry.register(ProcessCollector(registry=None))
    metrics.add(model_cache_metrics(on.catalogue, on.residency, rooms.holdings, rooms.cleanup))
    metrics.add(guard_metrics(rooms.guarding, rooms.predictions.cache))
    metrics.add(cache_metrics(on.cache))
    metrics.add(router_metrics(on.traces, on.catalogue, rooms.holdings, on.admission))
    metrics.add(request_metrics(on.traces))
    metrics.add(queue_metrics(on.catalogue, on.admission, rooms.routes))
    metrics.add(model_metrics(on.catalogue, rooms.holdings))
    metrics.add(
        house_metrics(
            on.ledger,
            pulse,
            sockets,
            rooms.answers,
            rooms.vectors.points,
            dropped=lambda: on.keeper.dropped,
            fast=lambda: rooms.tracks.taken,
        )
    )
    if on.fleet is not None:
        metrics.add(fleet_metrics(on.fleet))
    return metrics


def _operation(rooms: Rooms, metrics: Metrics, views: Views) -> Sequence[APIRouter]:
    """How it does."""
    on, others = rooms.ground, {} if views.replicas is None else {"replicas": views.replicas.ask}
    return [
        metrics_router(metrics),
        health_router(
            on.catalogue,
            on.residency,
            rooms.holdings,
            rooms.cleanup,
            {**on.dependencies, **others},
            leaving=on.leaving.is_set,
            replicas=on.presence,
            views=views,
            fleet=on.fleet,
        ),
        vram_router(on.catalogue, rooms.holdings),
        queue_router(on.catalogue, on.admission, views),
        standing_router(rooms.settings),
        console_router(console_assets()),
    ]


def _telemetry(rooms: Rooms, pulse: Pulse, views: Views, watch: Watch) -> Sequence[APIRouter]:
    """What becomes of requests."""
    on = rooms.ground

    def overview(principal: Principal, only: str | None) -> dict[str, Any]:
        usable = usable_by(principal, on.catalogue)
        closing = on.residency.closing or on.leaving.is_set() or watch.stopping.is_set()
        status = overview_of(principal, on.catalogue, rooms.copies, views, only, closing=closing)
        queues = lines_of(usable, on.admission, views, only)
        told = status.model_dump(mode="json", exclude_none=True)
        return {**told, "replica": on.presence.id, "queues": queues}

    def may_hear(principal: Principal, model: str) -> bool:
        return may_hear_of(principal, on.catalogue, model)

    return [
        telemetry_router(rooms.reports),
        events_router(pulse, overview, may_hear, on.access.key_name, watch, views),
    ]


def _models(rooms: Rooms, views: Views, watch: Watch) -> Sequence[APIRouter]:
    """What models there are and what is in memory, in each dialect's words."""
    on, copies = rooms.ground, rooms.copies
    return [
        model_cache_router(
            on.catalogue,
            on.residency,
            copies,
            rooms.holdings,
            rooms.warm_ups,
            rooms.cleanup,
            rooms.predictions.cache,
        ),
        residents_router(on.catalogue, on.residency, copies, on.admission, on.changes, watch, views),
        models_router(on.catalogue, lambda model: views.model(copies.status(model), None)[0]),
        ollama_router(on.catalogue, copies),
        ollama_pull_router(on.catalogue, on.artifacts),
        llm_router(on.catalogue),
        registration_router(rooms.registry, copies),
    ]


def _records(rooms: Rooms) -> Sequence[APIRouter]:
    """What is kept for callers and about them."""
    access = rooms.ground.access
    return [
        usage_router(rooms.usage),
        savings_router(rooms.savings),
        keys_router(access.keys, access.audit, rooms.usage),
        vectors_router(rooms.vectors),
        sessions_router(rooms.archive),
        cache_router(Managing(rooms.ground.cache)),
    ]
