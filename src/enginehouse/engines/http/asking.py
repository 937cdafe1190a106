"""A request to a server and whatever can carry it there."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, Self
from urllib.parse import SplitResult

from msgspec import Struct

from enginehouse.engines.base import Carrier
from enginehouse.engines.http.reply import HttpReply

__all__ = ["PORTS", "Client", "Patience", "Request", "head_of", "host_of", "message_of"]

PORTS: Mapping[str, int] = MappingProxyType({"http": 80, "https": 443})
"""Where servers are of whose addresses no port is said."""

_SMALL = 16 * 1024
"""Bytes of a body that are cheaper to copy behind the head than to send by themselves."""


class Patience(Struct, frozen=True):
    """How long a server is waited for, in seconds."""

    connect: float
    """Until a connection has to be there."""
    silence: float
    """Without a byte while an answer is owed, before its head or within its body."""


class Request(Struct, frozen=True):
    """One request, below the root of the server's address."""

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]
    total: float | None
    """Seconds for the whole of it; None: as long as something comes."""


class Client(Protocol):
    """Carries requests to one server; a context, in which its connections are kept."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def send(self, request: Request) -> HttpReply:
        """Send it, and wait for the answer's head.

        It is sent a second time only if a connection that had been used before broke before any byte came back.

        Raises:
            UpstreamDied: no connection, or it broke before the head was in.
            UpstreamTimeout: no connection or no head within the allowed time.
        """
        ...

    def carrier(self, path: str, headers: Mapping[str, str], media_type: str) -> Carrier | None:
        """What sends to one path at once, on a connection that is free; None where that is never so.

        Args:
            path: below the root of the server's address.
            headers: of every request.
            media_type: of a streamed answer; nothing else is told piece by piece.
        """
        ...


def host_of(url: SplitResult) -> str:
    """What the header `Host` says; a port only where it is not the usual one."""
    return url.netloc.removesuffix(f":{PORTS[url.scheme]}").removesuffix(":")


def head_of(lines: Sequence[str]) -> bytes:
    """Lines of a request's head as they go over the wire.

    Raises:
        ValueError: one of them would be two.
    """
    text = "\r\n".join([*lines, ""])
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise ValueError("A header or path with a line break in it would be two.")
    return text.encode()


def message_of(head: bytes, body: bytes) -> list[bytes]:
    """Head and body as they go over the wire; the head is told how long the body is."""
    if len(body) <= _SMALL:
        return [b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)]
    return [b"%bContent-Length: %d\r\n\r\n" % (head, len(body)), body]
