"""Measuring stick d: as a, but behind a dispatcher that leaves all other paths to a FastAPI app."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from bench.prototypes import bare

__all__ = ["application"]

_HOT = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})


@asynccontextmanager
async def application(upstream: str) -> AsyncGenerator[ASGIApp]:
    """The hot paths below the framework, the others in it."""
    framework = FastAPI()
    async with bare.application(upstream) as hot:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] in _HOT:
                await hot(scope, receive, send)
            else:
                await framework(scope, receive, send)

        yield app
