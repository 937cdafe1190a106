"""Requests that are sent at once: to one path, on a connection that is free, without a task and without waiting."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from enginehouse.engines.http.asking import head_of, message_of
from enginehouse.engines.http.connection import Connection
from enginehouse.engines.http.incoming import Incoming

__all__ = ["REQUEST_ID", "PooledCarrier"]

REQUEST_ID = "X-Request-ID"
_NONE: Mapping[str, str] = MappingProxyType({})


class PooledCarrier:
    """Requests to one path of a server; satisfies `Carrier`.

    Args:
        take: a connection that is free, if there is one.
        head: of every request, as far as it is the same.
        fixed: the headers in it.
        media_type: of a streamed answer; nothing else is told piece by piece.
    """

    def __init__(
        self, take: Callable[[], Connection | None], head: bytes, fixed: Mapping[str, str], media_type: str
    ) -> None:
        self._take = take
        self._head = head + f"{REQUEST_ID}: ".encode()
        self._names = frozenset(map(str.lower, fixed))
        self._media_type = media_type

    def send_now(
        self,
        body: bytes,
        request_id: str,
        hear: Callable[[bytes], None] | None = None,
        passed_on: Mapping[str, str] = _NONE,
    ) -> Incoming | None:
        """As `Carrier` says."""
        if not (request_id and request_id.isprintable()):
            return None
        more = b""
        if passed_on:
            if not self._names.isdisjoint(map(str.lower, passed_on)):
                return None
            more = head_of([f"{name}: {value}" for name, value in passed_on.items()])
        connection = self._take()
        if connection is None:
            return None
        head = b"%b%b\r\n%b" % (self._head, request_id.encode(), more)
        return connection.carry(message_of(head, body), None, hear, self._media_type)
