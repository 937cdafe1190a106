"""Answers that are told piece by piece; each has a task, for it has much to wait for."""

import asyncio
from contextlib import suppress

from enginehouse.api.calls import Call
from enginehouse.api.fast.answering import GONE, Answering
from enginehouse.api.fast.turns import KEEP, Turn
from enginehouse.api.generation import head_of
from enginehouse.api.wire import PING
from enginehouse.core.gateway.fast import GoGenerally, Streamed
from enginehouse.errors import EnginehouseError, ShuttingDown
from enginehouse.types.chunked import LAST, chunk

__all__ = ["Streaming"]

_STREAM = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"


class Streaming(Answering):
    """One that is told piece by piece, by a task.

    Args:
        call: the request on its connection.
        run: the same on its track, begun.
        turn: in which it ends, with all others.
        ping_interval: seconds of silence after which the caller gets a comment.
    """

    __slots__ = ("_entered", "_last_write", "_passed", "_ping_interval", "_started", "_stream", "_timer")

    def __init__(self, call: Call, run: Streamed, turn: Turn, ping_interval: float) -> None:
        super().__init__(call, run, turn)
        self._stream = run
        self._ping_interval = ping_interval
        self._entered = False
        self._started = False
        self._last_write = run.began
        self._passed = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Begin to tell."""
        self._stream.tell, self._stream.pass_on = self._tell, self._call.write
        task = asyncio.get_running_loop().create_task(self._serve())
        task.add_done_callback(self._see)
        self._call.adopt(task)
        self._call.hear(task.cancel)

    async def _serve(self) -> None:
        """Answer, or hand it over; whatever happens, what was taken is given back."""
        self._entered = True
        call = self._call
        try:
            await self._told()
        except GoGenerally as error:
            call.hear(None)
            call.hand_over(tried=error.tried)
            return
        except asyncio.CancelledError:
            call.hear(None)
            await self._cut()
            raise
        except Exception as error:  # noqa: BLE001 - the caller hears of it, and so does the log
            call.hear(None)
            await self._broke(error)
        else:
            call.hear(None)
            self._turn.at(KEEP, self.run)
        finally:
            self._rest()
        call.end()

    def _see(self, task: "asyncio.Task[None]") -> None:
        """Who is cancelled before the first step never comes in: what was taken is given back all the same."""
        del task
        if not self._entered:
            self._call.hear(None)
            self.run.failed(GONE, asyncio.CancelledError())
            self._rest()
            self._call.end()

    def _rest(self) -> None:
        """Nothing holds what is over."""
        if self._timer is not None:
            self._timer.cancel()
        self._stream.tell = self._stream.pass_on = _unheard

    async def _told(self) -> None:
        self._call.full(self._stream.pause)
        self._wait_in_silence()
        last = await self._stream.streamed()
        if not self._started:
            last = self._begin_stream() + chunk(last)
        elif last:
            last = chunk(last)
        self._call.write(last + LAST)

    def _tell(self, frames: bytes) -> None:
        self._last_write = self.run.clock()
        self._call.write(chunk(frames) if self._started else self._begin_stream() + chunk(frames))

    def _begin_stream(self) -> bytes:
        self._started = True
        kind = b"content-type: %b\r\n" % self.run.track.codec.media_type.encode()
        return self._head(kind + _STREAM, framing=_CHUNKED)

    def _wait_in_silence(self) -> None:
        """Be called when nothing has been written for as long as a ping is apart."""
        if self._stream.passed != self._passed:  # each was written when it came
            self._passed = self._stream.passed
            self._last_write = max(self._last_write, self._stream.last_heard)
        silent = self.run.clock() - self._last_write
        if silent >= self._ping_interval * 0.9:
            self._stream.spoken = True
            self._tell(PING)
            silent = 0.0
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._ping_interval - silent, self._wait_in_silence)

    async def _cut(self) -> None:
        """Whoever cancels: the caller, who has left, or the service, which waits no longer."""
        if self._call.gone:
            self._left()
        else:
            await self._broke(ShuttingDown("The service is shutting down.", retry_after=5))
        self._call.end()

    async def _broke(self, error: Exception) -> None:
        refusal, keeping = self._failed(error)
        if keeping is not None:
            with suppress(EnginehouseError):  # that is in the log; the caller shall hear what came first
                await asyncio.shield(keeping)
        self._call.write(refusal)

    def _refusal(self, error: EnginehouseError, status: int) -> bytes:
        if not self._started:
            return super()._refusal(error, status)
        track = self.run.track
        writer = track.codec.writer(head_of(track.model.id, wants_usage=False))
        return chunk(writer.fail(error, status)) + LAST


def _unheard(frames: bytes) -> None:
    """Nobody listens any more."""
    del frames
