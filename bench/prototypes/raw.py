"""Measuring stick g: bare ASGI over a client of a hundred lines, and a watcher for callers who leave.

What the goals of the hot path were set by: no time-outs, limits, retries or TLS, and one task more than none.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec
from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["application"]


class _Head(Struct):
    """All that a pass-through reads of a request."""

    model: str
    stream: bool | None = None


_head = msgspec.json.Decoder(_Head).decode


class _Connection(asyncio.Protocol):
    """One connection to the upstream, and the answer that comes on it."""

    transport: asyncio.Transport

    def __init__(self, free: "list[_Connection]") -> None:
        self._free = free
        self._woken: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self in self._free:
            self._free.remove(self)
        self.ended = True
        self._wake()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        self._wake()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.kind = value

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.ended = True
        self._lasts = self._parser.should_keep_alive()

    def leave(self) -> None:
        """Its answer has been read, or nobody wants it any more."""
        if self.ended and self._lasts and not self.transport.is_closing():
            self._free.append(self)
        else:
            self.transport.abort()

    def send(self, data: bytes) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.pieces: list[bytes] = []
        self.kind = b""
        self.ended = self._lasts = False
        self.transport.write(data)

    async def news(self) -> None:
        """Until something has come."""
        self._woken = asyncio.get_running_loop().create_future()
        await self._woken

    def status(self) -> int:
        return self._parser.get_status_code()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


@asynccontextmanager
async def application(upstream: str) -> AsyncGenerator[ASGIApp]:
    """The app and its connections."""
    url = urlsplit(upstream)
    host, port = url.hostname or "127.0.0.1", url.port or 80
    free: list[_Connection] = []

    async def opened() -> _Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: _Connection(free), host, port))[1]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        body: bytes = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        path: str = scope["path"]
        if not path.startswith("/v1/"):
            await _answer(send, 404, b"text/plain", b"")
            return
        stream = _head(body).stream
        connection = free.pop() if free else await opened()
        start = f"POST {path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
        connection.send(b"%bContent-Length: %d\r\n\r\n%b" % (start.encode(), len(body), body))
        watching = asyncio.get_running_loop().create_task(_watch(receive, connection))
        try:
            await (_stream if stream else _whole)(send, connection)
        finally:
            watching.cancel()
            connection.leave()

    yield app
    for connection in free:
        connection.transport.abort()


async def _watch(receive: Receive, connection: _Connection) -> None:
    """Cut the connection when the caller goes away: under uvicorn a send to nobody silently succeeds."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not connection.ended:
        connection.transport.abort()


async def _whole(send: Send, connection: _Connection) -> None:
    while not connection.ended:
        await connection.news()
    await _answer(send, connection.status(), connection.kind, b"".join(connection.pieces))


async def _stream(send: Send, connection: _Connection) -> None:
    while not connection.pieces and not connection.ended:
        await connection.news()
    headers = [(b"content-type", connection.kind)]
    await send({"type": "http.response.start", "status": connection.status(), "headers": headers})
    while connection.pieces or not connection.ended:
        if connection.pieces:
            piece, connection.pieces = b"".join(connection.pieces), []
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        else:
            await connection.news()
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
