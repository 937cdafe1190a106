"""Measuring stick c: a Starlette route and its responses, the aiohttp client."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from bench.prototypes.bare import JSON
from bench.prototypes.upstream import session

__all__ = ["application", "pieces"]


class _Head(msgspec.Struct):
    model: str
    stream: bool | None = None


_head = msgspec.json.Decoder(_Head).decode


@asynccontextmanager
async def application(upstream: str) -> AsyncGenerator[ASGIApp]:
    """The app and its client."""
    async with session() as client:

        async def chat(request: Request) -> Response:
            body = await request.body()
            answer = await client.post(upstream + "/chat/completions", data=body, headers=JSON)
            if _head(body).stream:
                return StreamingResponse(pieces(answer), answer.status, media_type=answer.content_type)
            async with answer:
                return Response(await answer.read(), answer.status, media_type=answer.content_type)

        yield Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])


async def pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body as it comes; leaving it early closes the connection upstream."""
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece
