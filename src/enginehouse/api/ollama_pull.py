"""`POST /api/pull`: a model's files, with Ollama's words for how far they are. For admins."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter, Depends
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response, StreamingResponse
from msgspec import Struct

from enginehouse.api.dialect import decode
from enginehouse.api.openapi import UNKNOWN, Responses, body_of
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.identity import require_admin
from enginehouse.core.pulling import pull_model
from enginehouse.core.usable import resolved_for
from enginehouse.errors import EnginehouseError, InvalidRequest
from enginehouse.stores.artifacts import Artifacts
from enginehouse.types import Model

__all__ = ["ollama_pull_router"]

log = structlog.get_logger()

_TOLD: Responses = {200: {"content": {"application/x-ndjson": {}}}}

_INTERVAL = 0.25
"""Seconds between two lines of a stream."""


class Pull(Struct, kw_only=True):
    """`POST /api/pull`; `name` is its older word for `model`."""

    model: str = ""
    name: str = ""
    stream: bool | None = True


_pull = msgspec.json.Decoder(Pull)


async def _admin(request: HttpRequest) -> None:
    require_admin(request.state.principal)


async def _asked(request: HttpRequest) -> Pull:
    asked = decode(await request.body(), _pull)
    if not (asked.model or asked.name):
        raise InvalidRequest("model: missing.", param="model")
    return asked


def ollama_pull_router(catalogue: Catalogue, artifacts: Artifacts) -> APIRouter:
    """`POST /api/pull`."""
    router = APIRouter(tags=["ollama"], dependencies=[Depends(_admin)])

    @router.post("/api/pull", responses=UNKNOWN | _TOLD, openapi_extra=body_of(Pull))
    async def pull_files(request: HttpRequest, asked: Annotated[Pull, Depends(_asked)]) -> Response:
        """Files of a listed model, onto this machine or its Ollama server; streamed unless told otherwise."""
        model = resolved_for(request.state.principal, catalogue, asked.model or asked.name)
        if asked.stream is False:
            await pull_model(model, artifacts, _Steps())
            return JSONResponse({"status": "success"})
        return StreamingResponse(_lines(model, artifacts), media_type="application/x-ndjson")

    return router


async def _lines(model: Model, artifacts: Artifacts) -> AsyncGenerator[bytes]:
    """What is known now and then, and how it ended; who leaves stops it, and the next time it goes on."""
    steps = _Steps()
    yield _line({"status": "pulling manifest"})
    try:
        async for step in _followed(model, artifacts, steps):
            yield _line(step)
    except EnginehouseError as error:
        log.info("pull_failed", model=model.id, error=error.message)
        yield _line({"error": error.message})
    else:
        yield _line({"status": "success"})


async def _followed(model: Model, artifacts: Artifacts, steps: "_Steps") -> AsyncIterator[dict[str, Any]]:
    # Owned here, and over when this is; a TaskGroup would wrap its error into a group.
    work = asyncio.get_running_loop().create_task(pull_model(model, artifacts, steps), name=f"pull {model.id}")
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=_INTERVAL)
            for step in steps.news():
                yield step
        await work
    finally:
        work.cancel()
        await asyncio.wait({work})


def _line(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode(fields) + b"\n"


class _Steps:
    """How far each file is, as Ollama tells of its layers; satisfies the store's `Progress`."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, Any]] = {}
        self._news: dict[str, dict[str, Any]] = {}

    def news(self) -> list[dict[str, Any]]:
        """The last of each file since the last time."""
        told, self._news = list(self._news.values()), {}
        return [dict(one) for one in told]

    def started(self, name: str, total: int | None, already: int) -> None:
        self._files[name] = {"status": f"pulling {name}", "digest": name, "total": total or 0, "completed": already}
        self._news[name] = self._files[name]

    def advanced(self, name: str, count: int) -> None:
        self._files[name]["completed"] += count
        self._news[name] = self._files[name]

    def waiting(self, name: str, reason: str) -> None:
        self._news[f"{name} waits"] = {"status": reason}

    def finished(self, name: str) -> None:
        file = self._files.get(name)
        if file is not None:
            file["completed"] = file["total"] or file["completed"]
            self._news[name] = file
