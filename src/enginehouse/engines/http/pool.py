"""Connections of our own to one server: what became free last is used first, and one sweeper minds them all.

A request costs a fraction of what it costs with a library (ADR 7), for it needs no session, no request object, no
timer and no task. What wants more than a host, a port and a path, by HTTP or HTTPS, goes by the library instead.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from math import inf
from socket import SOCK_STREAM
from typing import Self
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection  # pyright: ignore[reportUnknownVariableType] - of its own tuples

from enginehouse.engines.http.asking import PORTS, Patience, Request, head_of, host_of, message_of
from enginehouse.engines.http.carrier import PooledCarrier
from enginehouse.engines.http.connection import Connection
from enginehouse.engines.http.incoming import Incoming, Unheard
from enginehouse.engines.http.tls import refusal_of, trusted
from enginehouse.errors import UpstreamTimeout

__all__ = ["Pool"]

_IDLE = 15.0
"""Seconds for which a free connection is kept; servers keep them longer."""
_PER_REQUEST = frozenset({"x-request-id", "traceparent", "tracestate"})
"""Headers that a request may bring; none may stand among those that are the same for all."""
_SWEEP = 0.25
"""Seconds between two looks of the sweeper, at most."""
_NEXT = 0.25
"""Seconds after which the next address of a name is tried beside the one that has not answered yet."""


class Pool:
    """A client for one plain address; satisfies `Client`. Limits are admission's business, not the pool's.

    Args:
        root: `http[s]://host[:port][/path]`.
        patience: how long the server is waited for.
        keep_alive: whether connections are used again.
        trust: whose certificates are believed; None: whom this machine trusts.
    """

    def __init__(
        self, root: str, patience: Patience, *, keep_alive: bool, trust: ssl.SSLContext | None = None
    ) -> None:
        url = urlsplit(root)
        self._host = url.hostname or ""
        self._port = url.port or PORTS[url.scheme]
        self._path = url.path
        self._is_name = _is_name(self._host)
        self._secure = url.scheme == "https"
        self._trust = trust
        self._fixed = [f"Host: {host_of(url)}", "Accept-Encoding: identity"]
        if not keep_alive:
            self._fixed.append("Connection: close")
        self._patience = patience
        self._pause = min(_SWEEP, patience.silence / 4)
        self._keep_alive = keep_alive
        self._free: dict[Connection, None] = {}
        self._all: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Nothing is opened before it is needed."""
        self._loop = asyncio.get_running_loop()
        if self._secure and self._trust is None:
            self._trust = await asyncio.to_thread(trusted)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every connection; who still waits for an answer hears of it."""
        for connection in list(self._all):
            connection.end()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        await asyncio.sleep(0)
        if self._secure:  # whose layer tells of an end one step later
            await asyncio.sleep(0)

    async def send(self, request: Request) -> Incoming:
        """As `Client` says."""
        head = self._head(request.method, request.path, request.headers)
        message = message_of(head, request.body or b"")
        connection = self.take() or await self._connect(request.total)
        try:
            return await _asked(connection, message, request.total)
        except Unheard:
            if not connection.used:
                raise
        connection = await self._connect(request.total)
        return await _asked(connection, message, request.total)

    def carrier(self, path: str, headers: Mapping[str, str], media_type: str) -> PooledCarrier | None:
        """As `Client` says; none where connections are used once, or a header cannot be sent."""
        try:
            head = self._head("POST", path, headers)
        except ValueError:
            return None
        if not (self._keep_alive and _PER_REQUEST.isdisjoint(map(str.lower, headers))):
            return None
        return PooledCarrier(self.take, partial(self._connect, None), head, headers, media_type)

    def take(self) -> Connection | None:
        """A connection that is free, for whoever sends on it in the same step."""
        while self._free:
            connection, _ = self._free.popitem()
            if connection.idle:
                return connection
        return None

    async def _connect(self, total: float | None) -> Connection:
        connection = self._fresh()
        try:
            async with asyncio.timeout(min(self._patience.connect, total or inf)):
                await self._reach(connection)
        except TimeoutError as error:
            raise UpstreamTimeout("The engine did not take the connection in time.") from error
        except OSError as error:
            raise refusal_of(error) from error
        if connection.idle:  # and not lost again already
            self._all.add(connection)
            self._sweeping = self._sweeping or self._loop.call_later(self._pause, self._sweep)
        return connection

    async def _reach(self, connection: Connection) -> None:
        try:
            await self._call(connection)
            if self._secure and self._trust is not None:
                await connection.secure(self._trust, self._host, self._patience.connect)
        except BaseException:
            connection.cut()  # it may stand since this very tick, or nothing but TLS be missing
            raise

    async def _call(self, connection: Connection) -> None:
        """Have it connected, to whichever of the server's addresses answers first."""
        if self._is_name:
            places = await self._loop.getaddrinfo(self._host, self._port, type=SOCK_STREAM)
            sock = await start_connection(places, happy_eyeballs_delay=_NEXT, loop=self._loop)
            try:
                await self._loop.create_connection(lambda: connection, sock=sock)
            except BaseException:
                sock.close()  # which is nobody else's yet
                raise
        else:
            await self._loop.create_connection(lambda: connection, self._host, self._port)

    def _fresh(self) -> Connection:
        freed = self._free.setdefault if self._keep_alive else Connection.cut
        return Connection(self._patience.silence, self._loop.time, freed, self._forget)

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        self._free.pop(connection, None)
        if connection.stale:  # the others have been free for longer; what is sent anew goes out on a new one
            for older in list(self._free):
                older.cut()

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in list(self._all):
            connection.look(now)
        for connection in [free for free in self._free if free.since + _IDLE < now]:
            connection.cut()
        self._sweeping = self._loop.call_later(self._pause, self._sweep) if self._all else None

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        start = f"{method} {self._path}{path} HTTP/1.1"
        return head_of([start, *self._fixed, *[f"{name}: {value}" for name, value in headers.items()]])


async def _asked(connection: Connection, message: Sequence[bytes], total: float | None) -> Incoming:
    answer = connection.carry(message, total)
    try:
        await answer.begun()
    except BaseException:  # also a cancel that comes in the very tick of the head
        answer.leave()
        raise
    return answer


def _is_name(host: str) -> bool:
    """Whether it is no address, and may stand for several."""
    try:
        ip_address(host)
    except ValueError:
        return True
    return False
