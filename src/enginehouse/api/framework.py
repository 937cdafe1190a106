"""The FastAPI application behind the hot routes: its errors, its documentation, its OpenAPI page."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from enginehouse import __version__
from enginehouse.api.faces import Face, refusal_headers
from enginehouse.api.openapi import complete
from enginehouse.api.refusals import refusal
from enginehouse.errors import EnginehouseError, InvalidRequest, MethodNotAllowed, NotFound

__all__ = ["framework_app"]


def framework_app(routers: Sequence[APIRouter], faces: Mapping[str, Face] = MappingProxyType({})) -> FastAPI:
    """The application; its documentation is served from the package and needs no internet.

    Args:
        faces: the hot routes, which do not pass through the framework but belong on its page.
    """
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
        return app.openapi_schema or complete(generated(), faces)

    app.openapi = openapi
    return app


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, EnginehouseError)
    return _refused(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: Mapping[str, Any] = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    message = f"{where}: {first['msg']}" if where else str(first["msg"])
    return _refused(request, InvalidRequest(message, param=where or None))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refused(request, _read(request, error), error.status_code, error.headers)


def _read(request: Request, error: HTTPException) -> EnginehouseError:
    """What the framework itself refuses, in our words."""
    match error.status_code:
        case 404:
            return NotFound("There is no such route; GET /docs lists them.")
        case 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            return MethodNotAllowed(f"{request.method} is not possible here; use {allowed}.")
        case _:
            return InvalidRequest(str(error.detail))


def _refused(
    request: Request, error: EnginehouseError, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    status, body = refusal(request.scope, error, status)
    told = {name.decode(): value.decode() for name, value in refusal_headers(error)}
    return Response(msgspec.json.encode(body), status_code=status, headers={**told, **(headers or {})})
