"""The model cache's face: which models are in memory, how well that serves, and room made by hand.

Its clients know its bodies and its errors from before; what it shows and does is what the other routes show and do.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from enginehouse.api.model_cache_bodies import (
    CachedModelDetail,
    CachedModels,
    CacheStats,
    CleanupReport,
    CleanupSummary,
    Loaded,
    MemoryBefore,
    ModelStats,
    Stats,
    SystemStats,
    Unloaded,
    Warmed,
)
from enginehouse.api.model_cache_views import (
    cached_model,
    detail,
    mib,
    performance,
    predicted,
    summary,
    usage,
    warmed,
)
from enginehouse.api.openapi import LOADS
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies
from enginehouse.core.holdings import Holdings
from enginehouse.core.identity import require_admin
from enginehouse.core.prediction_cache import PredictionCache
from enginehouse.core.usable import resolved_for, usable_by
from enginehouse.core.warmups import WarmUps
from enginehouse.residency.base import terms_of
from enginehouse.residency.cleanup import CleanedUp, Cleanup
from enginehouse.residency.manager import Residency
from enginehouse.types import Principal

__all__ = ["model_cache_router"]

Wait = Annotated[
    bool, Query(description="`false` answers 202 at once; how it went is seen in `GET /models/{name}`.")
]
Force = Annotated[bool, Query(description="Every idle model leaves, however much memory there is.")]


async def _admin(request: Request) -> None:
    principal: Principal = request.state.principal
    require_admin(principal)


def model_cache_router(
    catalogue: Catalogue,
    residency: Residency,
    copies: Copies,
    holdings: Holdings,
    warm_ups: WarmUps,
    cleanup: Cleanup,
    remembered: PredictionCache,
) -> APIRouter:
    """`/models…`, `/stats` and `/cleanup`."""
    router = APIRouter(tags=["model cache"])
    _add_models(router, catalogue, holdings)
    _add_management(router, catalogue, residency, copies, holdings)
    _add_warm_up(router, catalogue, residency, warm_ups)
    _add_memory(router, catalogue, residency, holdings, cleanup, remembered)
    return router


def _add_models(router: APIRouter, catalogue: Catalogue, holdings: Holdings) -> None:
    @router.get("/models")
    async def models(request: Request) -> CachedModels:
        """Every model the caller may use, and its place in memory."""
        usable = usable_by(request.state.principal, catalogue)
        every = {model.id: (model, holdings.of(model)) for model in usable}
        return CachedModels(
            models={id_: cached_model(model, holding) for id_, (model, holding) in every.items()},
            cache_summary=summary([holding for _, holding in every.values()], holdings),
            timestamp=_now(),
        )

    @router.get("/models/{model_name:path}")
    async def model_info(model_name: str, request: Request) -> CachedModelDetail:
        """One model by id, alias or `name@version`, with what was measured of it."""
        model = resolved_for(request.state.principal, catalogue, model_name)
        return detail(model, holdings.of(model), _now())


def _add_management(
    router: APIRouter, catalogue: Catalogue, residency: Residency, copies: Copies, holdings: Holdings
) -> None:
    admins = [Depends(_admin)]

    @router.post("/models/{model_name:path}/load", dependencies=admins, responses=LOADS)
    async def load(model_name: str) -> Loaded:
        """Into memory; answers when it is ready."""
        model = catalogue.resolve(model_name)
        await residency.load(model.deployments[0], terms_of(model))
        holding = holdings.of(model)
        return Loaded(
            message=f"Model {model.id} loaded successfully",
            model_name=model.id,
            load_time_seconds=round(holding.status.load_seconds or 0.0, 3),
            memory_usage_mb=mib(holding.bytes),
            timestamp=_now(),
        )

    @router.post("/models/{model_name:path}/unload", dependencies=admins)
    async def unload(model_name: str) -> Unloaded:
        """Out of memory, once its running requests have ended; a load under way is stopped."""
        model = catalogue.resolve(model_name)
        held = holdings.of(model).bytes
        await copies.unload(model)
        return Unloaded(
            message=f"Model {model.id} unloaded successfully" if held else f"Model {model.id} was not in memory",
            model_name=model.id,
            memory_freed_mb=mib(held),
            timestamp=_now(),
        )


def _add_warm_up(router: APIRouter, catalogue: Catalogue, residency: Residency, warm_ups: WarmUps) -> None:
    @router.post(
        "/models/{model_name:path}/warmup",
        dependencies=[Depends(_admin)],
        response_model=Warmed,
        responses={
            **LOADS,
            202: {"description": "It has begun, and goes on in the background.", "model": Warmed},
        },
    )
    async def warm_up(model_name: str, *, wait: Wait = True) -> Response | Warmed:
        """Real requests of low priority, one after the other; goes on when its caller hangs up."""
        model = catalogue.resolve(model_name)
        if wait:
            return warmed(model, await warm_ups.run(model), _now())
        warm_ups.begin(model)
        begun = Warmed(
            message=f"Warm-up of model {model.id} has begun",
            model_name=model.id,
            warmup_requests=residency.settings.warmup_requests,
            warmup_time_seconds=None,
            avg_response_time_ms=None,
            warmup_status="running",
            timestamp=_now(),
        )
        return JSONResponse(begun.model_dump(mode="json"), status_code=202)


def _add_memory(
    router: APIRouter,
    catalogue: Catalogue,
    residency: Residency,
    holdings: Holdings,
    cleanup: Cleanup,
    remembered: PredictionCache,
) -> None:
    started = datetime.now(UTC)

    @router.get("/stats")
    async def stats(request: Request) -> Stats:
        """Memory, how well it is used, and what clean-ups did; counted since the service started."""
        usable = usable_by(request.state.principal, catalogue)
        every = {model.id: holdings.of(model) for model in usable}
        cache = CacheStats(
            total_models=len(every),
            cached_models=sum(holding.is_held for holding in every.values()),
            memory_usage=usage(holdings, residency.settings.memory_threshold),
            performance=performance(holdings.figures(usable)),
            models={
                id_: ModelStats(
                    cached=holding.is_held,
                    memory_usage_mb=mib(holding.bytes),
                    access_count=holding.figures.asked,
                    hit_rate=round(holding.figures.hit_rate or 0.0, 4),
                )
                for id_, holding in every.items()
            },
            predictions=predicted(remembered),
        )
        system = SystemStats(
            uptime_seconds=int((_now() - started).total_seconds()),
            last_cleanup=cleanup.last.at if cleanup.last else None,
            cleanup_count=cleanup.count,
            memory_cleanup_mb=mib(cleanup.freed),
        )
        return Stats(cache_stats=cache, system_stats=system, timestamp=_now())

    @router.post("/cleanup", dependencies=[Depends(_admin)])
    async def clean_up(*, force: Force = False) -> CleanupReport:
        """Idle models leave while memory is above its threshold; answers when they have left."""
        done = await cleanup.now(force=force)
        return CleanupReport(
            message="Memory cleanup completed",
            cleanup_summary=CleanupSummary(
                models_unloaded=len(done.models),
                memory_freed_mb=mib(done.freed),
                models_affected=list(done.models),
                cleanup_reason=_reason(done, force=force),
            ),
            memory_usage=MemoryBefore(
                before_mb=mib(done.before), after_mb=mib(done.after), freed_mb=mib(done.freed)
            ),
            timestamp=_now(),
        )


def _reason(done: CleanedUp, *, force: bool) -> Any:
    if done.exceeded:
        return "memory_threshold_exceeded"
    return "forced" if force else "below_memory_threshold"


def _now() -> datetime:
    return datetime.now(UTC)
