"""Noticing that a caller leaves, in the moment it does, and giving one that waits for a stream a sign of life."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from enginehouse.api.wire import Exchange
from enginehouse.errors import CallerGone

__all__ = ["Attended", "Leaving"]


class Leaving(Protocol):
    """What a server that knows at once who leaves has to say of it: `scope["leaving"]`."""

    def hear(self, told: Callable[[], None] | None) -> None:
        """Tell this one when the caller leaves, at once if it has left already; None is told nothing any more."""
        ...


class Attended:
    """A context: a caller who leaves cancels what is inside, and a silent stream is pinged.

    Our own server tells of it (`scope["leaving"]`). Others tell only who asks `receive()`: there one small task
    asks it all the time.

    Args:
        exchange: whose caller.
        streams: whether its answer is a stream.

    Raises:
        CallerGone: the caller left.
    """

    def __init__(self, exchange: Exchange, *, streams: bool) -> None:
        self._exchange = exchange
        self._streams = streams
        self._leaving: Leaving | None = exchange.scope.get("leaving")
        self._gone = False
        self._watch: asyncio.Task[None] | None = None
        self._ping: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        worker = asyncio.current_task()
        assert worker is not None
        self._worker: asyncio.Task[Any] = worker
        if self._streams:
            self._wait_in_silence()
        if self._leaving is not None:
            self._leaving.hear(self._left)
        else:
            # Owned here and ended below; a TaskGroup would wrap every error of a request into a group.
            self._watch = asyncio.get_running_loop().create_task(self._look(), name="caller")

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None and self._worker.cancelling():
                await asyncio.sleep(0)  # the caller left in this very tick: let the cancel arrive here
        except asyncio.CancelledError:
            if self._has_left():
                raise CallerGone("The caller went away.") from None
            raise
        finally:
            self._end()
        if isinstance(error, asyncio.CancelledError) and self._has_left():
            raise CallerGone("The caller went away.") from None

    def _has_left(self) -> bool:
        """Whether it was the caller's leaving that cancelled."""
        return self._gone and self._worker.uncancel() == 0

    def _end(self) -> None:
        if self._leaving is not None:
            self._leaving.hear(None)
        for waiting in (self._watch, self._ping, self._timer):
            if waiting is not None:
                waiting.cancel()

    def _left(self) -> None:
        self._gone = self._exchange.timings.gone = True
        self._worker.cancel()

    async def _look(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _wait_in_silence(self) -> None:
        """Be called when nothing has been written for as long as a ping is apart."""
        exchange, loop = self._exchange, asyncio.get_running_loop()
        silent = exchange.clock() - exchange.last_write
        if silent >= exchange.ping_interval * 0.9:
            self._ping = loop.create_task(exchange.ping(), name="ping")
            silent = 0.0
        self._timer = loop.call_later(exchange.ping_interval - silent, self._wait_in_silence)
