"""The list of models, as OpenAI's clients read it, with more of each model, or as Anthropic's do."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from enginehouse.api.anthropic_models import PAGE, model_info, models_page
from enginehouse.api.refusals import asks_as_anthropic
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.usable import resolved_for, usable_by
from enginehouse.residency.manager import ResidentStatus
from enginehouse.types import Model

__all__ = ["model_entry", "models_router"]


def models_router(catalogue: Catalogue, status_of: Callable[[Model], ResidentStatus]) -> APIRouter:
    """`GET /v1/models` and `GET /v1/models/{id}`.

    Args:
        status_of: how a model stands.
    """
    router = APIRouter(tags=["models"])

    @router.get("/v1/models")
    async def list_models(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000, description="Of one page, for Anthropic's clients.")] = PAGE,
        after_id: Annotated[str | None, Query(description="After which their page begins.")] = None,
        before_id: Annotated[str | None, Query(description="Before which it ends.")] = None,
    ) -> dict[str, Any]:
        """Every model the caller may use, with its state; to who sends `anthropic-version`, Anthropic's list."""
        usable = usable_by(request.state.principal, catalogue)
        if asks_as_anthropic(request.scope):
            return models_page(usable, limit, after_id, before_id)
        return {"object": "list", "data": [model_entry(model, status_of(model)) for model in usable]}

    @router.get("/v1/models/{model_id:path}")
    async def get_model(model_id: str, request: Request) -> dict[str, Any]:
        """One model by id, alias or name@version; to who sends `anthropic-version`, as Anthropic tells it."""
        model = resolved_for(request.state.principal, catalogue, model_id)
        if asks_as_anthropic(request.scope):
            return model_info(model)
        return model_entry(model, status_of(model))

    return router


def model_entry(model: Model, status: ResidentStatus) -> dict[str, Any]:
    """A model as the list shows it; nothing in it is a secret."""
    deployment = model.deployments[0]
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "enginehouse",
        "name": model.name or model.id,
        "aliases": model.aliases,
        "version": model.version,
        "origin": model.origin,
        "status": status.state.value,
        "provider": deployment.engine.value,
        "type": model.kind.value,
        "context_length": model.context_length,
        "max_tokens": model.max_tokens,
        "capabilities": model.capabilities,
        "cost_per_1k_input": _dollars(model.price.input_per_1k),
        "cost_per_1k_output": _dollars(model.price.output_per_1k),
    }


def _dollars(amount: str | None) -> float | None:
    """For people's eyes; sums are made of the decimal string."""
    return float(amount) if amount is not None else None
