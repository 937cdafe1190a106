"""What Ollama's clients want to know: which models there are, which are in memory, and what one can do."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from msgspec import Struct

from enginehouse import __version__
from enginehouse.api.dialect import decode
from enginehouse.api.openapi import UNKNOWN, body_of
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies
from enginehouse.core.usable import resolved_for, usable_by
from enginehouse.errors import InvalidRequest
from enginehouse.types import Model, ResidentState

__all__ = ["ollama_router"]

_FOR_EVER = timedelta(days=36500)
_WORDS: Mapping[str, str | None] = {
    "chat": "completion",
    "json_schema": None,
    "rerank": None,
    "classification": None,
}
"""Our words for what a model can do in Ollama's; None is said in no word there."""


def ollama_router(catalogue: Catalogue, copies: Copies) -> APIRouter:
    """`/api/version`, `/api/tags`, `/api/ps` and `/api/show`."""
    router = APIRouter(tags=["ollama"])

    @router.get("/api/version")
    async def version() -> dict[str, str]:
        """Our own; Ollama's clients look at it to know what they may ask for."""
        return {"version": __version__}

    @router.get("/api/tags")
    async def tags(request: HttpRequest) -> dict[str, Any]:
        """Every model the caller may use."""
        return {"models": [_tag(model) for model in usable_by(request.state.principal, catalogue)]}

    @router.get("/api/ps")
    async def running(request: HttpRequest) -> dict[str, Any]:
        """Those that are in memory."""
        found = [_running(model, copies) for model in usable_by(request.state.principal, catalogue)]
        return {"models": [one for one in found if one is not None]}

    @router.post("/api/show", responses=UNKNOWN, openapi_extra=body_of(Show))
    async def show(request: HttpRequest) -> dict[str, Any]:
        """What one model can do."""
        asked = decode(await request.body(), _show)
        name = asked.model or asked.name
        if not name:
            raise InvalidRequest("model: missing.", param="model")
        return _shown(resolved_for(request.state.principal, catalogue, name))

    return router


class Show(Struct, kw_only=True):
    """`POST /api/show`; `name` is its older word for `model`."""

    model: str = ""
    name: str = ""
    verbose: bool | None = None


_show = msgspec.json.Decoder(Show)


def _tag(model: Model) -> dict[str, Any]:
    """What is not known is empty: a digest or a size is never made up."""
    return {
        "name": model.id,
        "model": model.id,
        "modified_at": _time(model.created),
        "size": 0,
        "digest": "",
        "details": _details(),
    }


def _running(model: Model, copies: Copies) -> dict[str, Any] | None:
    status = copies.status(model)
    if status.state is not ResidentState.READY:
        return None
    left = _FOR_EVER
    if model.ttl and status.idle_seconds is not None:
        left = timedelta(seconds=max(model.ttl - status.idle_seconds, 0.0))
    return _tag(model) | {
        "size": (status.ram or 0) + (status.vram or 0),
        "size_vram": status.vram or 0,
        "expires_at": (datetime.now(UTC) + left).isoformat(),
        "context_length": model.context_length or 0,
    }


def _shown(model: Model) -> dict[str, Any]:
    info: dict[str, Any] = {"general.architecture": "unknown", "general.basename": model.name or model.id}
    if model.context_length is not None:
        info["unknown.context_length"] = model.context_length
    words = [_WORDS.get(word, word) for word in model.capabilities]
    return {
        "modified_at": _time(model.created),
        "details": _details(),
        "model_info": info,
        "capabilities": list(dict.fromkeys(word for word in words if word)),
        "modelfile": "",
        "parameters": "",
        "template": "",
    }


def _details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "",
        "family": "",
        "families": [],
        "parameter_size": "",
        "quantization_level": "",
    }


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
