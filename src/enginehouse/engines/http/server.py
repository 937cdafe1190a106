"""A server that is asked over HTTP, here or far away, whatever dialect it speaks."""

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self
from urllib.parse import urlsplit

from enginehouse.engines.base import Carrier
from enginehouse.engines.http.asking import Client, Patience, Request
from enginehouse.engines.http.pool import Pool
from enginehouse.engines.http.proxies import Proxy, proxies_of_environment, proxy_to
from enginehouse.engines.http.reply import HttpReply, taken
from enginehouse.errors import ModelLoadFailed
from enginehouse.telemetry.context import PASSED_ON
from enginehouse.types import Deployment

__all__ = ["HttpServer", "address_of", "is_plain"]

_ANONYMOUS: Mapping[str, str] = {"Content-Type": "application/json"}
_CONNECT = 10.0
_LABEL = 64
"""Characters that a part of a host's name cannot have."""


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
        trust: whose certificates are believed; None: whom this machine trusts.

    Raises:
        ModelLoadFailed: the environment names a proxy to it that cannot be used.
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
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._headers = {**_ANONYMOUS, **(headers or {})}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        root = base_url.rstrip("/").removesuffix("/v1")
        patience = Patience(connect=connect or _CONNECT, silence=silence)
        proxy = proxy_to(root, proxies_of_environment())
        self._client: Client = (
            Pool(root, patience, keep_alive=keep_alive, trust=trust)
            if is_plain(root) and proxy is None
            else _library(root, patience, keep_alive=keep_alive, trust=trust, proxy=proxy)
        )

    async def __aenter__(self) -> Self:
        """Open the connection pool. Limits are admission's business, not the pool's."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._client.__aexit__(*_)

    def carrier_to(self, path: str, media_type: str) -> Carrier | None:
        """What sends to one path at once, on a connection that is free; None where there never is one.

        Args:
            media_type: of a streamed answer; nothing else is told piece by piece.
        """
        return self._client.carrier(path, self._headers, media_type)

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
            headers = {**headers, "X-Request-ID": request_id, **PASSED_ON.get()}
        return _Asking(self._client, Request(method, path, body, headers, timeout))

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

    def __init__(self, client: Client, request: Request) -> None:
        self._client = client
        self._request = request

    async def __aenter__(self) -> HttpReply:
        self._reply = await self._client.send(self._request)
        return self._reply

    async def __aexit__(self, kind: object, *_: object) -> None:
        self._reply.leave() if kind else self._reply.done()


def _library(
    root: str, patience: Patience, *, keep_alive: bool, trust: ssl.SSLContext | None, proxy: Proxy | None
) -> Client:
    from enginehouse.engines.http.library import Library  # it takes 6 MB and a fifth of a second

    return Library(root, patience, keep_alive=keep_alive, trust=trust, proxy=proxy)


def is_plain(root: str) -> bool:
    """Whether the address is no more than a host, a port and a path, so that our own pool may go there.

    Over TLS the host has to be one that a certificate can name: no dot at its end, no zone of an IPv6 address.
    """
    url = urlsplit(root)
    try:
        place = bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is no number: the library knows how to say so
        return False
    extras = "@" in url.netloc or url.query or url.fragment or not root.isascii() or any(map(str.isspace, root))
    match url.scheme:
        case "http":
            return place and not extras
        case "https":
            labels = (url.hostname or "").split(".")
            return place and not extras and "%" not in url.netloc and all(0 < len(one) < _LABEL for one in labels)
        case _:
            return False
