"""A request to a server and whatever can carry it there."""

from collections.abc import Mapping
from typing import Protocol, Self

from msgspec import Struct

from enginehouse.engines.http.reply import HttpReply

__all__ = ["Client", "Patience", "Request"]


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
