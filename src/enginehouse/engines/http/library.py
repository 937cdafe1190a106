"""Requests by aiohttp: by a proxy, to addresses with credentials, or to names that are not plain."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit
from weakref import WeakSet

import aiohttp
from aiohttp.connector import Connection

from enginehouse.engines.http.asking import Patience, Request
from enginehouse.engines.http.proxies import Proxy
from enginehouse.engines.http.reply import HttpReply
from enginehouse.engines.http.tls import refusal_of, trusted
from enginehouse.errors import UpstreamDied, UpstreamTimeout

__all__ = ["Library"]

_WHO_ARE_YOU = 407
"""A proxy's own answer."""


class Library:
    """A client of aiohttp; satisfies `Client`. Limits are admission's business, not the pool's.

    Args:
        root: the server's address.
        patience: how long it is waited for.
        keep_alive: whether connections are used again.
        trust: whose certificates are believed; None: whom this machine trusts.
        proxy: who is asked in the server's place; None: the server itself.
    """

    def __init__(
        self,
        root: str,
        patience: Patience,
        *,
        keep_alive: bool,
        trust: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._root = root
        self._trust = trust
        self._proxy = proxy
        self._translated = _Translated(proxy)
        self._secure = urlsplit(root).scheme == "https"
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=patience.connect, sock_read=patience.silence)
        self._keep_alive = keep_alive
        self._session: aiohttp.ClientSession | None = None
        self._open: WeakSet[aiohttp.ClientResponse] = WeakSet()

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        trust = self._trust or await asyncio.to_thread(trusted) if self._secure else True
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=0, force_close=not self._keep_alive, ssl=trust),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection; whoever still reads an answer hears of it, which the session would not tell."""
        for response in list(self._open):
            response.close()
        if self._session is not None:
            await self._session.close()

    async def send(self, request: Request) -> HttpReply:
        """As `Client` says."""
        with self._translated:
            response = await self._send(request)
        # without TLS a proxy's own answer comes like any other; within it, this is the engine's
        if response.status == _WHO_ARE_YOU and self._proxy is not None and not self._secure:
            response.close()
            raise _turned_away(self._proxy, response.status)
        self._open.add(response)
        return _LibraryReply(response, self._translated)

    def carrier(self, path: str, headers: Mapping[str, str], media_type: str) -> None:
        """It knows no connection that is free."""

    async def _send(self, request: Request) -> aiohttp.ClientResponse:
        assert self._session is not None, "the engine is used outside its context"
        limits = aiohttp.ClientTimeout(total=request.total) if request.total else self._timeout
        for last in (False, True):
            _reused.set(False)
            try:
                return await self._session.request(
                    request.method,
                    self._root + request.path,
                    data=request.body,
                    headers=request.headers,
                    timeout=limits,
                    allow_redirects=False,
                    proxy=None if self._proxy is None else self._proxy.url,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if last or not _reused.get() or isinstance(error, aiohttp.ClientConnectorError):
                    raise
        raise AssertionError("the second try either answers or raises")


class _LibraryReply(HttpReply):
    def __init__(self, response: aiohttp.ClientResponse, translated: "_Translated") -> None:
        self.status = response.status
        self._response = response
        self._translated = translated

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def frames(self) -> AsyncIterator[bytes]:
        chunks = self._response.content.iter_any()
        while True:
            with self._translated:
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            yield chunk

    def leave(self) -> None:
        response = self._response
        response.release() if response.content.at_eof() else response.close()


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
    """aiohttp's errors become ours, once, here.

    Args:
        proxy: who was asked in the server's place.
    """

    def __init__(self, proxy: Proxy | None) -> None:
        self._proxy = proxy

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        match error:
            case TimeoutError():
                raise UpstreamTimeout(
                    "The engine was silent for too long; raise admission.request_timeout."
                ) from error
            case aiohttp.ClientProxyConnectionError() if self._proxy is not None:
                raise UpstreamDied(f"The proxy of {self._proxy.variable} cannot be reached.") from error
            case aiohttp.ClientHttpProxyError() if self._proxy is not None:
                raise _turned_away(self._proxy, error.status) from error
            case aiohttp.ClientConnectorCertificateError(certificate_error=OSError() as flaw):
                raise refusal_of(flaw) from error
            case aiohttp.ClientConnectorError(os_error=flaw):
                raise refusal_of(flaw) from error
            case aiohttp.ClientError() | ConnectionError():
                raise UpstreamDied(f"The connection to the engine broke ({type(error).__name__}).") from error
            case _:
                return


def _turned_away(proxy: Proxy, status: int) -> UpstreamDied:
    if status == _WHO_ARE_YOU:
        return UpstreamDied(
            f"The proxy of {proxy.variable} wants to know who asks: write it as http://name:password@host:port."
        )
    return UpstreamDied(f"The proxy of {proxy.variable} does not connect to the engine (it answers {status}).")
