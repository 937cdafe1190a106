"""Is it up, is it well, may it be sent requests: the routes that probes and people ask first."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, TypedDict

import psutil
import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from enginehouse import __version__
from enginehouse.api.bodies import Health, ModelHealth
from enginehouse.api.fleet import fleet_of
from enginehouse.api.openapi import OneReplica, Responses
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import copies_of
from enginehouse.core.holdings import Holdings
from enginehouse.core.replicas import Views
from enginehouse.core.usable import usable_by
from enginehouse.engines.base import Engine
from enginehouse.errors import EnginehouseError
from enginehouse.residency.cleanup import Cleanup
from enginehouse.residency.fleet.replica import FleetLauncher
from enginehouse.residency.manager import Residency, ResidentStatus
from enginehouse.types import Deployment, Model, Principal, ResidentState

__all__ = ["Ask", "health_router"]

log = structlog.get_logger()

_MIB = 1024 * 1024
_PATIENCE = 5.0
"""Seconds an engine, or what we depend on, may take to say how it is."""


_UNWELL: Responses = {
    503: {"description": "It is not.", "content": {"application/json": {"schema": {"type": "object"}}}}
}


class Dependency(TypedDict):
    """How something we depend on answered."""

    status: str
    """`up` or `down`."""
    latency_ms: float
    detail: str | None
    """What is wrong."""


Ask: TypeAlias = Callable[[], Awaitable[None]]
"""Asks something we depend on; raises one of our errors when it is not there."""


class Replicas(Protocol):
    """Which replicas there are: `app.presence.Presence`."""

    @property
    def id(self) -> str:
        """This one."""
        ...

    async def everybody(self) -> list[dict[str, Any]]:
        """All that were heard of lately, as JSON."""
        ...


def health_router(
    catalogue: Catalogue,
    residency: Residency,
    holdings: Holdings,
    cleanup: Cleanup,
    dependencies: Mapping[str, Ask] = MappingProxyType({}),
    leaving: Callable[[], bool] = lambda: False,
    replicas: Replicas | None = None,
    views: Views | None = None,
    fleet: FleetLauncher | None = None,
) -> APIRouter:
    """`/`, `/ping`, `/health`, `/ready`, `/v1/status` and `/v1/health/models`.

    Args:
        dependencies: who is asked for the health of the whole, by name.
        leaving: whether the service has been told to stop; it may serve on for a while.
        replicas: which one this is, and which others there are; alone when left out.
        views: how models stand at all of them.
        fleet: the nodes on which engines run, if that is not here.
    """
    router, views = APIRouter(tags=["operation"]), views or Views()
    started = datetime.now(UTC)

    def closing() -> bool:
        return residency.closing or leaving()

    @router.get("/", responses={307: {"description": "A browser is sent to the console."}})
    async def root(request: Request) -> Response:
        """What runs here; a browser is sent to the console."""
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("console")
        return JSONResponse({"status": "running", "service": "enginehouse"})

    @router.get("/ping")
    async def ping() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @router.get("/health", responses=_UNWELL)
    async def health() -> Response:
        """Whether it is well; 503 when it is not."""
        memory = holdings.ram()
        states = _states(catalogue.models(), holdings)
        asked = await _ask_dependencies(dependencies)
        status = _judge(states, asked.values(), closing=closing())
        body = {
            "status": status,
            "cache_status": "operational",
            "memory_usage": {
                "used_mb": round(memory.used / _MIB, 1),
                "total_mb": round(memory.total / _MIB, 1),
                "usage_percentage": round(memory.used / memory.total * 100, 1),
                "threshold": round(residency.settings.memory_threshold * 100, 1),
            },
            "models_cached": states[ResidentState.READY],
            "total_models": len(catalogue.models()),
            "cache_hit_rate": round(holdings.figures(catalogue.models()).hit_rate or 0.0, 4),
            "last_cleanup": cleanup.last.at.isoformat() if cleanup.last else None,
            "dependencies": asked,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        return JSONResponse(body, status_code=503 if status == "unhealthy" else 200)

    @router.get("/ready", responses=_UNWELL)
    async def ready() -> Response:
        """Whether requests may be sent here; 503 from the stop signal on."""
        if closing():
            return JSONResponse({"status": "shutting_down"}, status_code=503, headers={"Retry-After": "5"})
        return JSONResponse({"status": "ready"})

    @router.get("/v1/status")
    async def status(request: Request, replica: OneReplica = None) -> dict[str, Any]:
        """Version, age and memory of the replica that answers, and every model the caller may use at all of them.

        Admins are told of all `replicas` that share what this one stands on, and of the `fleet`, if there is one.
        """
        only = views.chosen(replica)
        process = psutil.Process()
        usable = usable_by(request.state.principal, catalogue)
        models = {model.id: views.model(holdings.of(model).status, only) for model in usable}
        states = Counter(whole.state for whole, _ in models.values())
        return {
            "service": "enginehouse",
            "replica": None if replicas is None else replicas.id,
            "version": __version__,
            "status": "shutting_down" if closing() else "running",
            "started_at": started.isoformat(),
            "uptime_seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
            "memory_mb": round(process.memory_info().rss / _MIB, 1),
            "models": {id_: _model(whole, parts) for id_, (whole, parts) in models.items()},
            "summary": {state.value: count for state, count in sorted(states.items()) if count},
            **({} if views.replicas is None else {"scope": views.replicas.scope}),
            **await _everybody(replicas, views, request.state.principal),
            **fleet_of(fleet, request.state.principal),
        }

    @router.get("/v1/health/models", response_model_exclude_none=True)
    async def health_of_models(request: Request) -> Health:
        """Every loaded model's health, asked of its engine now; one that is silent for 5 s is not healthy."""
        answers = await _ask_all(usable_by(request.state.principal, catalogue), residency)
        counts = Counter(answer.status for answer in answers.values())
        return Health(
            status="degraded" if counts["unhealthy"] else "healthy",
            models=answers,
            summary=dict(sorted(counts.items())),
            timestamp=datetime.now(UTC),
        )

    return router


async def _everybody(replicas: Replicas | None, views: Views, principal: Principal) -> dict[str, Any]:
    if replicas is None or principal.role != "admin":
        return {}
    every = await replicas.everybody()
    if views.replicas is None:
        return {"replicas": every}
    return {"replicas": [{**one, "figures": views.replicas.figures(one["id"])} for one in every]}


async def _ask_all(models: Iterable[Model], residency: Residency) -> dict[str, ModelHealth]:
    """What the engines that are loaded say, asked side by side; one that leaves memory meanwhile is left out."""
    loaded = [
        (model, copy, engine)
        for model in models
        for copy in copies_of(model)
        if (engine := residency.engine(copy.id)) is not None
    ]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_ask(copy, engine), name=f"health {copy.id}") for _, copy, engine in loaded]
    answers: defaultdict[str, list[ModelHealth]] = defaultdict(list)
    for (model, copy, engine), task in zip(loaded, asked, strict=True):
        if residency.engine(copy.id) is engine:
            answers[model.id].append(task.result())
    return {model_id: _together(copies) for model_id, copies in answers.items()}


def _together(copies: Sequence[ModelHealth]) -> ModelHealth:
    """A model is as well as the worst of its copies."""
    return max(copies, key=lambda copy: (copy.status == "unhealthy", copy.latency_ms))


async def _ask(deployment: Deployment, engine: Engine) -> ModelHealth:
    began = time.perf_counter()
    detail = None
    try:
        async with asyncio.timeout(_PATIENCE):
            healthy = await engine.healthy()
    except TimeoutError:
        healthy, detail = False, f"It did not answer within {_PATIENCE:g} s."
    except EnginehouseError as error:
        healthy, detail = False, error.message
    except Exception as error:
        log.exception("health_unknown", model=deployment.id)
        healthy, detail = False, f"It could not be asked ({type(error).__name__})."
    return ModelHealth(
        status="healthy" if healthy else "unhealthy",
        engine=deployment.engine,
        latency_ms=round((time.perf_counter() - began) * 1000, 2),
        detail=detail,
    )


async def _ask_dependencies(dependencies: Mapping[str, Ask]) -> dict[str, Dependency]:
    """What each of them says, asked side by side."""
    async with asyncio.TaskGroup() as group:
        asked = {name: group.create_task(_ask_dependency(ask), name=name) for name, ask in dependencies.items()}
    return {name: task.result() for name, task in asked.items()}


async def _ask_dependency(ask: Ask) -> Dependency:
    began = time.perf_counter()
    detail = None
    try:
        async with asyncio.timeout(_PATIENCE):
            await ask()
    except TimeoutError:
        detail = f"It did not answer within {_PATIENCE:g} s."
    except EnginehouseError as error:
        detail = error.message
    latency = round((time.perf_counter() - began) * 1000, 2)
    return {"status": "up" if detail is None else "down", "latency_ms": latency, "detail": detail}


def _judge(states: Counter[ResidentState], dependencies: Iterable[Dependency], *, closing: bool) -> str:
    """None of what we depend on is needed to answer requests: without it we are degraded."""
    if closing:
        return "unhealthy"
    down = any(dependency["status"] == "down" for dependency in dependencies)
    return "degraded" if down or states[ResidentState.FAILED] else "healthy"


def _states(models: Iterable[Model], holdings: Holdings) -> Counter[ResidentState]:
    return Counter(holdings.of(model).status.state for model in models)


def _model(resident: ResidentStatus, parts: Mapping[str, ResidentStatus] = MappingProxyType({})) -> dict[str, Any]:
    apart = {id_: _model(part) for id_, part in parts.items()}
    return {
        "status": resident.state.value,
        "engine": resident.engine.value,
        "active_requests": resident.leases,
        "waiting_requests": resident.waiting,
        "load_time_seconds": resident.load_seconds,
        "error": resident.error,
        **({"replicas": apart} if apart else {}),
    }
