"""Requests that need no ASGI: what a server offers to a lane, and what a lane may do with it.

The server knows connections and nothing of models; a lane knows models and nothing of connections.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

__all__ = ["Call", "Lane"]


class Call(Protocol):
    """One request that is there as a whole, and the way back to its caller.

    Whoever took it ends it once, by `end`, `hand_over` or `fail`, also where the caller has left: nothing is sent
    then.
    """

    path: str
    """Decoded, without a query."""
    headers: Sequence[tuple[bytes, bytes]]
    """Names in lower case, in the order in which they came."""
    body: bytes
    """The whole of it."""
    began: float
    """When its head was in, on the loop's clock."""
    gone: bool
    """Whether the caller has left."""
    kept: object
    """What a lane has put here, within `offer`, at the last call on this connection, if its head was the same byte
    for byte but for the length of its body; else None. What it thinks of headers need not be thought again; whether
    it still holds, as of a key, it has to ask itself."""

    def hear(self, told: Callable[[], object] | None) -> None:
        """Tell this one when the caller leaves, at once if it has left already, and when the service waits no
        longer: then the caller is there, and is owed an answer. None is told nothing any more."""
        ...

    def opening(self) -> bytes:
        """How an answer begins: `HTTP/1.1 200 OK` and the headers that this server puts on every answer, each with
        its line's end; that the connection will be closed is among them where it is so."""
        ...

    def write(self, data: bytes) -> None:
        """A piece of the answer as it goes over the wire, head and framing included."""
        ...

    def full(self, told: Callable[[bool], None] | None) -> None:
        """Tell this one whether more is unsent than should be: True, also at once, when nothing more should be
        written for now, False when it may go on; None is told nothing any more."""
        ...

    def end(self) -> None:
        """The answer is complete; the connection may carry the next one. Nothing of the call may be used after."""
        ...

    def hand_over(self, **extra: object) -> None:
        """Let the ASGI application answer, as though it had never been offered; nothing may have been written.

        Args:
            extra: what the application finds in `scope["extensions"]["enginehouse"]`, if there is anything.
        """
        ...

    def fail(self) -> None:
        """Whoever took it has made a mistake: the application answers, or the connection ends if something of an
        answer has gone out; nothing happens where all of it has."""
        ...

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Let the server wait for this task when it stops, and cancel it if that takes too long, as its own."""
        ...


class Lane(Protocol):
    """Answers some requests without ASGI."""

    @property
    def paths(self) -> Collection[str]:
        """Those whose POST requests it looks at."""
        ...

    def offer(self, call: Call, /) -> bool:
        """True: it answers or hands it over, now or later. False: nothing has happened; the application answers.

        It does not wait. One that raises before anything was written has refused.
        """
        ...
