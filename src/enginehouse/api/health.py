"""Is it up, is it well, may it be sent requests: the routes that probes and people ask first."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import psutil
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from enginehouse import __version__
from enginehouse.core.catalogue import Catalogue
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import ResidencySettings
from enginehouse.types import Model, ResidentState

__all__ = ["health_router"]

_MIB = 1024 * 1024


def health_router(catalogue: Catalogue, residency: Residency, limits: ResidencySettings) -> APIRouter:
    """`/`, `/ping`, `/health`, `/ready` and `/v1/status`."""
    router = APIRouter(tags=["operation"])
    started = datetime.now(UTC)

    @router.get("/")
    async def root(request: Request) -> Response:
        """What runs here; a browser is sent to the API's page."""
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/docs")
        return JSONResponse({"status": "running", "service": "enginehouse"})

    @router.get("/ping")
    async def ping() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @router.get("/health")
    async def health() -> Response:
        """Whether it is well; 503 when it is not."""
        memory = psutil.virtual_memory()
        states = _states(catalogue, residency)
        status = _judge(states, closing=residency.closing)
        body = {
            "status": status,
            "cache_status": "operational",
            "memory_usage": {
                "used_mb": round(memory.used / _MIB, 1),
                "total_mb": round(memory.total / _MIB, 1),
                "usage_percentage": memory.percent,
                "threshold": limits.memory_threshold * 100,
            },
            "models_cached": states[ResidentState.READY],
            "total_models": len(catalogue.models()),
            "dependencies": {},
            "timestamp": datetime.now(UTC).isoformat(),
        }
        return JSONResponse(body, status_code=503 if status == "unhealthy" else 200)

    @router.get("/ready")
    async def ready() -> Response:
        """Whether requests may be sent here; 503 while it shuts down."""
        if residency.closing:
            return JSONResponse({"status": "shutting_down"}, status_code=503, headers={"Retry-After": "5"})
        return JSONResponse({"status": "ready"})

    @router.get("/v1/status")
    async def status() -> dict[str, Any]:
        """Version, age, memory and every model's state."""
        process = psutil.Process()
        states = _states(catalogue, residency)
        return {
            "service": "enginehouse",
            "version": __version__,
            "status": "shutting_down" if residency.closing else "running",
            "started_at": started.isoformat(),
            "uptime_seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
            "memory_mb": round(process.memory_info().rss / _MIB, 1),
            "models": {model.id: _model(model, residency) for model in catalogue.models()},
            "summary": {state.value: count for state, count in sorted(states.items()) if count},
        }

    return router


def _judge(states: Counter[ResidentState], *, closing: bool) -> str:
    if closing:
        return "unhealthy"
    return "degraded" if states[ResidentState.FAILED] else "healthy"


def _states(catalogue: Catalogue, residency: Residency) -> Counter[ResidentState]:
    return Counter(residency.status(model.deployments[0]).state for model in catalogue.models())


def _model(model: Model, residency: Residency) -> dict[str, Any]:
    resident = residency.status(model.deployments[0])
    return {
        "status": resident.state.value,
        "engine": resident.engine.value,
        "active_requests": resident.leases,
        "waiting_requests": resident.waiting,
        "load_time_seconds": resident.load_seconds,
        "error": resident.error,
    }
