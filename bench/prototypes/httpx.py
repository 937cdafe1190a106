"""Measuring stick e: as a, with the httpx client instead of aiohttp."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from httpx2 import AsyncClient, Limits
from starlette.types import ASGIApp

from bench.prototypes.bare import JSON, Reply, bare

__all__ = ["application"]


@asynccontextmanager
async def application(upstream: str) -> AsyncGenerator[ASGIApp]:
    """The app and its client."""
    limits = Limits(max_connections=None, max_keepalive_connections=None)
    async with AsyncClient(base_url=upstream, timeout=None, limits=limits, trust_env=False) as client:

        @asynccontextmanager
        async def post(path: str, body: bytes) -> AsyncGenerator[Reply]:
            async with client.stream("POST", path, content=body, headers=JSON) as answer:
                yield Reply(answer.status_code, answer.headers["content-type"].encode(), answer.aiter_raw())

        yield bare(post)
