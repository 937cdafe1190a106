"""Measuring stick a: a bare ASGI function on uvicorn, the aiohttp client, a watcher for callers who leave."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from bench.prototypes.upstream import session

__all__ = ["Post", "Reply", "application", "bare"]

JSON = {"content-type": "application/json"}


class Reply(Struct):
    """What came back: the status, the content type, and the body in the pieces in which it comes."""

    status: int
    kind: bytes
    pieces: AsyncIterator[bytes]


Post = Callable[[str, bytes], AbstractAsyncContextManager[Reply]]
"""Sends a body to a path below the upstream's base URL."""


class _Head(Struct):
    """All that a pass-through reads of a request."""

    model: str
    stream: bool | None = None


_head = msgspec.json.Decoder(_Head).decode


@asynccontextmanager
async def application(upstream: str) -> AsyncGenerator[ASGIApp]:
    """The app and its client."""
    async with session() as client:

        @asynccontextmanager
        async def post(path: str, body: bytes) -> AsyncGenerator[Reply]:
            async with client.post(upstream + path, data=body, headers=JSON) as answer:
                yield Reply(answer.status, answer.content_type.encode(), answer.content.iter_any())

        yield bare(post)


def bare(post: Post) -> ASGIApp:
    """The app over any client."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if not scope["path"].startswith("/v1/"):
            await _answer(send, 404, b"text/plain", b"")
            return
        stream = bool(_head(body).stream)
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(_watch(receive))
                async with post(scope["path"].removeprefix("/v1"), body) as reply:
                    await (_stream if stream else _whole)(send, reply)
                watching.cancel()
        except* _Gone:
            pass

    return app


class _Gone(Exception):
    """The caller went away."""


async def _watch(receive: Receive) -> None:
    """End the task group when the caller goes away: under uvicorn a send to nobody silently succeeds."""
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _Gone


async def _read(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    return body


async def _whole(send: Send, reply: Reply) -> None:
    await _answer(send, reply.status, reply.kind, b"".join([piece async for piece in reply.pieces]))


async def _stream(send: Send, reply: Reply) -> None:
    await _start(send, reply.status, [(b"content-type", reply.kind)])
    async for piece in reply.pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, kind: bytes, body: bytes) -> None:
    await _start(send, status, [(b"content-type", kind), (b"content-length", b"%d" % len(body))])
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
