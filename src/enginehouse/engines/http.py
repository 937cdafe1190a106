"""A server that is asked over HTTP, here or far away, whatever dialect it speaks."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, ClassVar, Self
from weakref import WeakSet

import aiohttp
from aiohttp.connector import Connection

from enginehouse.dialects.base import StreamReader
from enginehouse.dialects.errors import read_error
from enginehouse.engines.base import Reply
from enginehouse.errors import ModelLoadFailed, UpstreamDied, UpstreamTimeout
from enginehouse.types import Deployment
from enginehouse.types.answer import Event

__all__ = ["HttpReply", "HttpServer", "address_of", "events_of_stream", "streamed", "taken"]

_ANONYMOUS: Mapping[str, str] = {"Content-Type": "application/json"}
_REFUSED = 400
_MAX_BODY = 256 * 1024 * 1024
_CONNECT = 10.0
"""Seconds until a connection has to be there."""


def address_of(deployment: Deployment) -> str:
    """Where its server is.

    Raises:
        ModelLoadFailed: nobody has said.
    """
    if deployment.base_url is None:
        raise ModelLoadFailed(
            f"It is not known where {deployment.model!r} runs: set its base_url, or an address or a key in the "
            f"section {deployment.engine.value}."
        )
    return deployment.base_url


class HttpReply:
    """A reply whose headers are in; satisfies `Reply`."""

    prompt_tokens: int | None = None

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def frames(self) -> AsyncIterator[bytes]:
        """Chunks as the socket gave them."""
        chunks = self._response.content.iter_any()
        while True:
            with _Translated():
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            yield chunk

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            UpstreamDied: it is larger than 256 MiB; the longest lists of vectors are not.
        """
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.frames():
            chunks.append(chunk)
            size += len(chunk)
            if size > _MAX_BODY:
                raise UpstreamDied("The engine sent an answer larger than 256 MiB.")
        return b"".join(chunks)


class HttpServer:
    """One server, and the connections to it.

    Args:
        base_url: root without the `/v1`, or with it, as people write both.
        api_key: sent as a bearer token.
        headers: sent with every request, such as another dialect's own key and version.
        silence: seconds without a byte after which the server counts as gone.
        connect: seconds until a connection has to be there.
        keep_alive: whether connections are used again. Not worth it on loopback, where a new one costs less than
            finding out that llama-server has closed the old one.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        silence: float,
        connect: float | None = None,
        keep_alive: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._headers = {**_ANONYMOUS, **(headers or {})}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect or _CONNECT, sock_read=silence)
        self._keep_alive = keep_alive
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool. Limits are admission's business, not the pool's."""
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=0, force_close=not self._keep_alive),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        request_id: str = "",
        timeout: float | None = None,
        authorized: bool = True,
    ) -> AbstractAsyncContextManager[HttpReply]:
        """Any request to the same server; `timeout` bounds the whole of it, in seconds."""
        headers = self._headers if authorized else _ANONYMOUS
        if request_id:
            headers = {**headers, "X-Request-ID": request_id}
        limits = aiohttp.ClientTimeout(total=timeout) if timeout else self._timeout
        return _Asking(partial(self._send, method, path, body, headers, limits))

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """One try; a second one only if a connection that had been used before broke before any byte came back."""
        assert self._session is not None, "the engine is used outside its context"
        for last in (False, True):
            _reused.set(False)
            try:
                return await self._session.request(
                    method,
                    self._root + path,
                    data=body,
                    headers=headers,
                    timeout=limits,
                    allow_redirects=False,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if last or not _reused.get() or isinstance(error, aiohttp.ClientConnectorError):
                    raise
        raise AssertionError("the second try either answers or raises")

    @asynccontextmanager
    async def asked(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        request_id: str = "",
        timeout: float | None = None,
    ) -> AsyncGenerator[HttpReply]:
        """A reply that is not a refusal.

        Raises:
            InvalidRequest: it refuses, as the caller's fault.
            UpstreamRefused: it refuses for another reason.
        """
        async with self.request(method, path, body, request_id=request_id, timeout=timeout) as reply:
            await taken(reply)
            yield reply


class _Asking:
    """One request under way, as a context; who leaves it before the answer's end closes the connection."""

    def __init__(self, send: Callable[[], Awaitable[aiohttp.ClientResponse]]) -> None:
        self._send = send

    async def __aenter__(self) -> HttpReply:
        with _Translated():
            self._response = await self._send()
        return HttpReply(self._response)

    async def __aexit__(self, *_: object) -> None:
        response = self._response
        response.release() if response.content.at_eof() else response.close()


async def taken(reply: Reply) -> Reply:
    """The reply, if the server has taken the request.

    Raises:
        InvalidRequest: it refuses, as the caller's fault.
        UpstreamRefused: it refuses for another reason.
    """
    if reply.status >= _REFUSED:
        raise read_error(reply.status, reply.headers, await reply.read())
    return reply


def streamed(reply: Reply, media_type: str) -> Reply:
    """The reply, if it is a stream of this media type.

    Raises:
        UpstreamDied: it is something else.
    """
    kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != media_type.partition(";")[0]:
        raise UpstreamDied(f"The engine was asked for a stream and answered {kind or 'something'} instead.")
    return reply


async def events_of_stream(reply: Reply, reader: StreamReader, media_type: str) -> AsyncGenerator[Event]:
    """The events of a streamed answer; what the server has to say after its end is not read.

    Args:
        media_type: what a stream of this dialect is; the reply may be nothing else.

    Raises:
        UpstreamDied: it is no such stream, or broke off before its end.
    """
    async for chunk in streamed(reply, media_type).frames():
        for event in reader.feed(chunk):
            yield event
        if reader.ended:
            return
    for event in reader.close():
        yield event


_reused = ContextVar("_reused", default=False)
"""Whether this task's request goes out on a connection that had been used before."""


class _Connector(aiohttp.TCPConnector):
    """Notes which connections were used before; aiohttp's own tracing costs a twentieth of a request."""

    _seen: ClassVar[WeakSet[Any]] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        _reused.set(connection.protocol in self._seen)
        self._seen.add(connection.protocol)
        return connection


class _Translated:
    """aiohttp's errors become ours, once, here."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        match error:
            case TimeoutError():
                raise UpstreamTimeout(
                    "The engine was silent for too long; raise admission.request_timeout."
                ) from error
            case aiohttp.ClientConnectorError():
                raise UpstreamDied("The engine refused the connection.") from error
            case aiohttp.ClientError() | ConnectionError():
                raise UpstreamDied(f"The connection to the engine broke ({type(error).__name__}).") from error
            case _:
                return
