"""Registering, changing and deleting models while the service runs: for admins, and told in the log each time."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, cast

import msgspec
import structlog
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from enginehouse.api.models import model_entry
from enginehouse.api.openapi import LOADS, Responses, body_of
from enginehouse.core.copies import Copies
from enginehouse.core.identity import require_admin
from enginehouse.core.registration import Registry
from enginehouse.core.registration.registry import Wishes
from enginehouse.errors import EnginehouseError, InvalidRequest
from enginehouse.settings.schema import ModelSettings
from enginehouse.types import Principal

__all__ = ["registration_router"]

log = structlog.get_logger()


class ModelChange(ModelSettings):
    """Settings of a model, and how the change shall happen."""

    model_config = ConfigDict(use_attribute_docstrings=False)  # they take as long to find as all else here

    alias: str | None = Field(None, description="Short for `aliases` with this one name.")
    move_aliases: bool = Field(False, description="Take the aliases from registered models that have them.")
    load_first: bool = Field(False, description="Answer, and let it count, once the model is in memory.")


class NewModel(ModelChange):
    """A model to register."""

    id: str = Field(description="Its id; `name@version` gives it a version.")


class Deleted(BaseModel):
    """As OpenAI's clients read it."""

    id: str
    object: str = "model"
    deleted: bool = True


_TAKEN: Responses = {409: {"description": "A name is taken, the model is not a registered one, or it is loading."}}
_GONE: Responses = {202: {"description": "It is deleted; requests still run.", "model": Deleted}}

Wait = Annotated[bool, Query(description="`false` answers 202 at once, while running requests end.")]


async def _admin(request: Request) -> None:
    principal: Principal = request.state.principal
    require_admin(principal)


def registration_router(registry: Registry, copies: Copies) -> APIRouter:
    """`POST /v1/models`, `PATCH` and `DELETE /v1/models/{id}`."""
    router = APIRouter(tags=["models"], dependencies=[Depends(_admin)])

    @router.post("/v1/models", status_code=201, responses=LOADS | _TAKEN, openapi_extra=body_of(NewModel))
    async def register(request: Request) -> JSONResponse:
        """Register a model; it is kept over restarts."""
        fields = await _object(request)
        id_ = fields.pop("id", None)
        if not isinstance(id_, str):
            raise InvalidRequest("id: a model wants one (text).", param="id")
        with _audited(request, "register", id_, fields):
            model = await registry.register(id_, fields, _wishes(fields))
        return JSONResponse(model_entry(model, copies.status(model)), status_code=201)

    @router.patch(
        "/v1/models/{model_id:path}",
        responses=LOADS | _TAKEN,
        openapi_extra=body_of(ModelChange, "application/merge-patch+json"),
    )
    async def patch(request: Request, model_id: str) -> JSONResponse:
        """Change a registered model's settings by a JSON merge patch: null takes a key away."""
        fields = await _object(request)
        if fields.pop("id", model_id) != model_id:
            raise InvalidRequest("id: it cannot be changed; register another model.", param="id")
        with _audited(request, "patch", model_id, fields):
            model = await registry.patch(model_id, fields, _wishes(fields))
        return JSONResponse(model_entry(model, copies.status(model)))

    @router.delete("/v1/models/{model_id:path}", responses=_TAKEN | _GONE)
    async def delete(request: Request, model_id: str, *, wait: Wait = True) -> JSONResponse:
        """Delete a registered model; requests that run on it end first."""
        with _audited(request, "delete", model_id, {}):
            model = await registry.delete(model_id)
        if model is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait else 0):
                    await copies.unload(model)
        return JSONResponse(Deleted(id=model_id).model_dump(), status_code=200 if wait else 202)

    return router


async def _object(request: Request) -> dict[str, Any]:
    """The body, read as JSON whatever its content type says, with its short forms written out."""
    try:
        fields = msgspec.json.decode(await request.body())
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("The body has to be an object.")
    found = cast("dict[str, Any]", fields)
    if (alias := found.pop("alias", None)) is not None:
        if "aliases" in found:
            raise InvalidRequest("alias: give `alias` or `aliases`, not both.", param="alias")
        found["aliases"] = [alias]
    return found


def _wishes(fields: dict[str, Any]) -> Wishes:
    """Takes out of the fields what is no setting of the model."""
    return Wishes(move_aliases=_flag(fields, "move_aliases"), load_first=_flag(fields, "load_first"))


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.pop(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name}: wanted true or false.", param=name)
    return value


@contextmanager
def _audited(request: Request, action: str, id_: str, fields: dict[str, Any]) -> Generator[None]:
    """One line in the log for each try: who, what and with which end. Keys are named, values are not."""
    principal: Principal = request.state.principal
    about = {
        "action": action,
        "model": id_[:256],
        "user": principal.user,
        "tenant": principal.tenant,
        "request_id": request.state.request_id,
        "keys": sorted(name[:64] for name in fields),
    }
    try:
        yield
    except EnginehouseError as error:
        log.warning("registration", outcome=error.code, **about)
        raise
    log.info("registration", outcome="done", **about)
