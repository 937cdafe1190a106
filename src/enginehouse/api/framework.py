"""The FastAPI application behind the hot routes: its errors, its documentation, its OpenAPI page."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from enginehouse import __version__
from enginehouse.api.dialect import ChatBody, CompletionBody, EmbeddingBody, error_body
from enginehouse.api.wire import status_of
from enginehouse.errors import EnginehouseError

__all__ = ["framework_app"]

_HOT: Mapping[str, tuple[str, type[msgspec.Struct]]] = {
    "/v1/chat/completions": ("Chat completion; `stream: true` answers server-sent events.", ChatBody),
    "/v1/completions": ("Text completion; `stream: true` answers server-sent events.", CompletionBody),
    "/v1/embeddings": ("Vectors of texts or of token ids.", EmbeddingBody),
}


def framework_app(routers: Sequence[APIRouter]) -> FastAPI:
    """The application; its documentation is served from the package and needs no internet."""
    app = FastAPIOffline(
        title="Enginehouse",
        version=__version__,
        description="One self-hosted service for every model a team uses.",
    )
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(EnginehouseError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        return _with_hot_routes(generated())

    app.openapi = openapi
    return app


async def _ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EnginehouseError)
    headers = {"Retry-After": str(max(1, round(error.retry_after)))} if error.retry_after is not None else None
    return JSONResponse(error_body(error), status_code=status_of(error), headers=headers)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: Mapping[str, Any] = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    detail = {
        "message": f"{where}: {first['msg']}" if where else str(first["msg"]),
        "type": "invalid_request_error",
        "param": where or None,
        "code": "invalid_request_error",
    }
    return JSONResponse({"error": detail}, status_code=400)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request_error")
    message = "There is no such route; GET /docs lists them." if error.status_code == 404 else str(error.detail)
    detail = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": detail}, status_code=error.status_code, headers=error.headers)


def _with_hot_routes(document: dict[str, Any]) -> dict[str, Any]:
    """The hot routes do not pass through the framework, but they belong on its page."""
    bodies = [body for _, body in _HOT.values()]
    schemas, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    document.setdefault("components", {}).setdefault("schemas", {}).update(components)
    for (path, (summary, _)), schema in zip(_HOT.items(), schemas, strict=True):
        document["paths"][path] = {"post": _operation(summary, schema)}
    return document


def _operation(summary: str, schema: Any) -> dict[str, Any]:
    answers = {
        status: {"description": meaning}
        for status, meaning in {
            "200": "The answer in OpenAI's shape.",
            "400": "The request is wrong; `param` names the field.",
            "401": "No or unknown credentials.",
            "404": "No such model.",
            "413": "The body is too large.",
            "502": "The engine failed.",
            "503": "The model cannot be loaded, or the queue is full; see Retry-After.",
            "504": "It took too long.",
        }.items()
    }
    return {
        "tags": ["inference"],
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": answers,
    }
