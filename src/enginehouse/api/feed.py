"""Endless server-sent events: a response that follows an event stream until somebody has to leave.

Such a response is no request that has to end before the service may: it ends by itself when the service stops.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from enginehouse.api.wire import PING
from enginehouse.errors import ShuttingDown
from enginehouse.telemetry.events import Entry, EventStream, Subscription

__all__ = ["Feed", "Watch", "frame"]

E = TypeVar("E")

_LAST_CHUNK = 1.0
"""Seconds that the end of a stream may take to be sent; who has stopped reading is cut off."""


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What all endless streams share.

    Args:
        stopping: set when the service begins to stop.
        ping_interval: seconds of silence after which a comment is sent.
    """

    stopping: asyncio.Event
    ping_interval: float


class Feed(Response, Generic[E]):
    """Follows a subscription.

    It ends when the caller leaves, when the service stops, and when the caller reads so slowly that the stream
    has overtaken it; who comes back with `Last-Event-ID` then learns whether it missed something.

    Args:
        render: an event as one frame.
        opening: frames to send before all others.
    """

    def __init__(
        self,
        subscription: Subscription[E],
        render: Callable[[Entry[E]], bytes],
        watch: Watch,
        *,
        opening: bytes = b"",
    ) -> None:
        if watch.stopping.is_set():
            raise ShuttingDown("The service is shutting down.", retry_after=5)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers, media_type="text/event-stream")
        del self.headers["content-length"]
        self._subscription = subscription
        self._render = render
        self._watch = watch
        self._opening = opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until there is a reason to stop."""
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with self._subscription as reader:
            reasons = (self._pump(send), _departure(receive), reader.overtaken(), self._watch.stopping.wait())
            await _first_of(*reasons)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_CHUNK):
                await send({"type": "http.response.body", "body": b""})

    async def _pump(self, send: Send) -> None:
        frames = self._opening
        while True:
            if frames:
                await send({"type": "http.response.body", "body": frames, "more_body": True})
            try:
                async with asyncio.timeout(self._watch.ping_interval):
                    entries = await self._subscription.news()
            except TimeoutError:
                frames = PING
            else:
                frames = b"".join(map(self._render, entries))


async def _first_of(*works: Any) -> None:
    """Run them side by side until one of them ends."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _departure(receive: Receive) -> None:
    """Returns when the caller has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def frame(stream: EventStream[Any], number: int, name: str, data: bytes) -> bytes:
    """One server-sent event; its id is what `Last-Event-ID` brings back."""
    return f"id: {stream.token(number)}\nevent: {name}\ndata: ".encode() + data + b"\n\n"
