"""Measuring stick f: as a, with the service's own pool of connections in place of the library."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from bench.prototypes.bare import JSON, Reply, bare
from enginehouse.engines.http.asking import Patience, Request
from enginehouse.engines.http.pool import Pool

__all__ = ["application"]


@asynccontextmanager
async def application(upstream: str) -> AsyncGenerator[ASGIApp]:
    """The app and its client."""
    async with Pool(upstream, Patience(connect=10, silence=600), keep_alive=True) as client:

        @asynccontextmanager
        async def post(path: str, body: bytes) -> AsyncGenerator[Reply]:
            answer = await client.send(Request("POST", path, body, JSON, None))
            try:
                yield Reply(answer.status, answer.headers["Content-Type"].encode(), answer.frames())
            finally:
                answer.leave()

        yield bare(post)
