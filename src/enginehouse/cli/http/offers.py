"""Requests that are offered to a lane before anything is made for ASGI (`api.calls`)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from enginehouse.api.calls import Lane

__all__ = ["Carrier", "Offered", "Offers"]

_STATUS = b"HTTP/1.1 200 OK\r\n"
_LAST = b"connection: close\r\n"


class Offers:
    """What all connections of a server share.

    Args:
        lane: which the requests are offered to; none are when left out.
    """

    def __init__(self, lane: Lane | None = None) -> None:
        self.lane = lane
        self.paths = {path.encode(): path for path in lane.paths} if lane is not None else {}
        """Those that are offered, by what stands in the request."""
        self.awaited = 0
        """Bytes of all bodies that are only partly there."""
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._opening = _STATUS

    def opening(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """How an answer begins; the server makes a new list of its headers when they change."""
        if headers is not self._headers:
            self._headers = headers
            self._opening = _STATUS + b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._opening


class Carrier(Protocol):
    """The connection of a call: `cli.http.connections.Connection`."""

    @property
    def transport(self) -> asyncio.Transport:
        """The wire."""
        ...

    @property
    def flow(self) -> FlowControl:
        """How full it is."""
        ...

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """What the server waits for when it stops."""
        ...

    def opening(self) -> bytes:
        """How its answers begin."""
        ...

    def on_response_complete(self) -> None:
        """The answer is complete."""
        ...

    def give(self, call: "Offered", **extra: object) -> None:
        """Let the application answer a call, as far as it has come."""
        ...


class Offered:
    """Satisfies `api.calls.Call`.

    Args:
        carrier: its connection.
        keep_alive: whether that stays when it has been answered.
    """

    body = b""
    awaited = 0
    """Bytes that are waited for, where the body did not come with the head."""
    gone = False
    kept: object = None
    _over = False
    _written = False
    _more: bytearray | None = None
    _told: Callable[[], object] | None = None
    _full: Callable[[bool], None] | None = None

    def __init__(
        self, carrier: Carrier, path: str, headers: Sequence[tuple[bytes, bytes]], began: float, keep_alive: bool
    ) -> None:
        self._carrier = carrier
        self.path = path
        self.headers = headers
        self.began = began
        self.keep_alive = keep_alive

    # What a lane does with it.

    def hear(self, told: Callable[[], object] | None) -> None:
        """Tell when the caller leaves."""
        self._told = told
        if told is not None:
            self._carrier.flow.resume_reading()  # without which nobody notices its end
            if self.gone:
                told()

    def opening(self) -> bytes:
        """How an answer begins."""
        opening = self._carrier.opening()
        return opening if self.keep_alive else opening + _LAST

    def write(self, data: bytes) -> None:
        """A piece of the answer; who has left, or has all of it, gets no more."""
        if not (self.gone or self._over):
            self._written = True
            self._carrier.transport.write(data)

    def full(self, told: Callable[[bool], None] | None) -> None:
        """Tell whether too much is unsent."""
        self._full = told
        if told is not None and self._carrier.flow.write_paused:
            told(True)

    def end(self) -> None:
        """The answer is complete."""
        self._told = self._full = None  # who answered knows the call as well: a ring, which would hold its body
        if not (self.gone or self._over):
            self._over = True
            if not self.keep_alive:
                self._carrier.transport.close()
            self._carrier.on_response_complete()

    def hand_over(self, **extra: object) -> None:
        """Let the application answer."""
        assert not self._written, "nothing of an answer has gone out"
        assert not self._over, "it happens once"
        self._told = self._full = None
        self._over = True
        self._carrier.give(self, **extra)

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Let the server wait for a task."""
        self._carrier.tasks.add(task)
        task.add_done_callback(self._carrier.tasks.discard)

    # What its connection tells it.

    def add(self, piece: bytes) -> None:
        """A piece of the body that is not the first."""
        if self._more is None:
            self._more = bytearray(self.body)
        self._more += piece

    def join(self) -> None:
        """No more of the body comes, for now or at all."""
        if self._more is not None:
            self.body, self._more = bytes(self._more), None

    def leave(self) -> None:
        """The caller has left."""
        self.gone = True
        if self._told is not None:
            self._told()

    def cut(self) -> None:
        """The service waits no longer for its answer."""
        if self._told is not None:
            self._told()

    def fill(self, full: bool) -> None:
        """Whether too much is unsent has changed."""
        if self._full is not None:
            self._full(full)

    def fail(self) -> None:
        """The lane has made a mistake: if nothing has gone out yet, the application answers all the same."""
        if not self._over:
            if self._written:
                self._carrier.transport.close()
            else:
                self.hand_over()
