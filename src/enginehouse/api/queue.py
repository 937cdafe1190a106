"""Who waits for which model, and for how long those before them did."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request

from enginehouse.api.openapi import OneReplica
from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.replicas import Views
from enginehouse.core.usable import usable_by
from enginehouse.types import Deployment, Model, Priority

__all__ = ["line_of", "lines_of", "queue_router"]


def queue_router(catalogue: Catalogue, admission: Admission, views: Views | None = None) -> APIRouter:
    """`GET /v1/queue/stats`."""
    router, views = APIRouter(tags=["operation"]), views or Views()

    @router.get("/v1/queue/stats")
    async def queue_stats(request: Request, replica: OneReplica = None) -> dict[str, Any]:
        """Each model's line now, and what became of those who stood in it; times are in milliseconds.

        `scope` says whose numbers they are: `replica` for a line of one replica's own, `shared` for all replicas
        that share a line, `added` for the lines of several, which stand in `replicas`, and `alone` for this replica
        while the store of the shared line is away.
        """
        usable, only = usable_by(request.state.principal, catalogue), views.chosen(replica)
        await admission.survey(model.deployments[0] for model in usable)
        models = lines_of(usable, admission, views, only)
        return {"queues": models, "total_queued": sum(line["total"] for line in models.values())}

    return router


def lines_of(
    models: Iterable[Model], admission: Admission, views: Views, only: str | None = None
) -> dict[str, dict[str, Any]]:
    """Each model's line, of all replicas or of one of them."""
    found = {model.id: views.line(model.id, line_of(model.deployments[0], admission), only) for model in models}
    return {model: {**line, **({"replicas": parts} if parts else {})} for model, (line, parts) in found.items()}


def line_of(deployment: Deployment, admission: Admission) -> dict[str, Any]:
    """One model's line now."""
    stats = admission.stats(deployment.id)
    depth = {priority.value: stats.depth.get(priority, 0) if stats else 0 for priority in Priority}
    return {
        "scope": stats.scope if stats else "shared" if admission.shares(deployment) else "replica",
        "queued": depth,
        "total": sum(depth.values()),
        "active": stats.active if stats else 0,
        "slots": stats.slots if stats else deployment.slots,
        "wait_p50_ms": _milliseconds(stats.wait_p50) if stats else None,
        "wait_p95_ms": _milliseconds(stats.wait_p95) if stats else None,
        "served": stats.served if stats else 0,
        "rejected": stats.rejected if stats else 0,
        "timed_out": stats.timed_out if stats else 0,
        "left": stats.left if stats else 0,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
