"""Measuring stick b: the textbook route, a pydantic model in and a JSON response out, the aiohttp client."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response
from starlette.types import ASGIApp

from bench.prototypes.routed import pieces
from bench.prototypes.upstream import session

__all__ = ["application"]


class _Message(BaseModel):
    role: str
    content: str


class _StreamOptions(BaseModel):
    include_usage: bool = False


class _Chat(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[_Message]
    temperature: float | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None


@asynccontextmanager
async def application(upstream: str) -> AsyncGenerator[ASGIApp]:
    """The app and its client."""
    app = FastAPI()
    async with session() as client:

        async def chat(asked: _Chat) -> Response:
            body: dict[str, Any] = asked.model_dump(exclude_unset=True)
            answer = await client.post(upstream + "/chat/completions", json=body)
            if asked.stream:
                return StreamingResponse(pieces(answer), answer.status, media_type=answer.content_type)
            async with answer:
                return JSONResponse(await answer.json(), answer.status)

        app.add_api_route("/v1/chat/completions", chat, methods=["POST"], response_model=None)
        yield app
