"""Requests to one path that cost little: sent at once on a connection that is free, answered without a task."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

from enginehouse.engines.base import Hear
from enginehouse.engines.http.asking import head_of, message_of
from enginehouse.engines.http.connection import Connection
from enginehouse.engines.http.incoming import Incoming

__all__ = ["PooledCarrier"]

_NONE: Mapping[str, str] = MappingProxyType({})
_ID = "X-Request-ID"
"""Every request has its own: it may not be among the headers that are the same for all."""


class PooledCarrier:
    """Requests to one path of a server; satisfies `Carrier`.

    Args:
        take: a connection that is free, if there is one.
        connect: a new one; raises UpstreamDied, UpstreamTimeout.
        head: of every request, as far as it is the same.
        fixed: the headers in it.
        media_type: of a streamed answer; nothing else is told piece by piece.
    """

    def __init__(
        self,
        take: Callable[[], Connection | None],
        connect: Callable[[], Awaitable[Connection]],
        head: bytes,
        fixed: Mapping[str, str],
        media_type: str,
    ) -> None:
        self._take = take
        self._connect = connect
        self._head = head + f"{_ID}: ".encode()
        self._names = frozenset(name.lower() for name in fixed)
        self._media_type = media_type

    def send_now(
        self,
        body: bytes,
        request_id: str,
        hear: Hear | None = None,
        passed_on: Mapping[str, str] = _NONE,
    ) -> Incoming | None:
        """As `Carrier` says."""
        message = self._message(body, request_id, passed_on)
        connection = None if message is None else self._take()
        if message is None or connection is None:
            return None
        return connection.carry(message, None, hear, self._media_type)

    async def send(
        self,
        body: bytes,
        request_id: str,
        hear: Hear | None = None,
        passed_on: Mapping[str, str] = _NONE,
    ) -> Incoming:
        """As `Carrier` says."""
        message = self._message(body, request_id, passed_on)
        if message is None:
            raise ValueError("A request's id, or a further header, that cannot be one.")
        connection = await self._connect()
        return connection.carry(message, None, hear, self._media_type)

    def _message(self, body: bytes, request_id: str, passed_on: Mapping[str, str]) -> Sequence[bytes] | None:
        """What goes over the wire; None where a header cannot be sent, or would stand there twice."""
        if not request_id or not request_id.isprintable():
            return None
        more = b""
        if passed_on:
            if any(name.lower() in self._names for name in passed_on):
                return None
            more = head_of([f"{name}: {value}" for name, value in passed_on.items()])
        return message_of(b"%b%b\r\n%b" % (self._head, request_id.encode(), more), body)
