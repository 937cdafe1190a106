"""Answers of the fast path on their way to the caller, as bytes, head and all.

A whole answer has no task: the caller's connection begins it, the engine's tells when it is in, and the ledger when
its record is durable, if it was not at once. A stream has one, for it has more to wait for.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from types import MappingProxyType

import structlog

from enginehouse.api.calls import Call
from enginehouse.api.faces import refusal_headers
from enginehouse.api.fast.turns import HEAR, JOURNAL, KEEP, RECORD, SETTLE, STAND, TELL, Step, Turn
from enginehouse.api.generation import head_of
from enginehouse.api.guard import SECURITY_HEADERS
from enginehouse.api.wire import PING, quoted, status_of
from enginehouse.core.gateway.fast import COMPLETED, GoGenerally, Outcome, Run, Streamed
from enginehouse.errors import CallerGone, EnginehouseError, ShuttingDown
from enginehouse.types.chunked import LAST, chunk

__all__ = ["ANSWERING", "Answering", "Streaming", "Whole", "broke"]

log = structlog.get_logger()

_OK = 200
_SECURITY = b"".join(b"%b: %b\r\n" % header for header in SECURITY_HEADERS)
_STREAM = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
_GONE = Outcome("cancelled", CallerGone.code, "The caller went away.", 499)


class Answering(ABC):
    """One answer on its way, or to be.

    Args:
        call: the request on its connection.
        run: the same on its track.
        turn: in which it goes on, with all others.
    """

    __slots__ = ("_call", "_turn", "run")

    def __init__(self, call: Call, run: Run, turn: Turn) -> None:
        self._call = call
        self.run = run
        self._turn = turn

    @property
    def request_id(self) -> str:
        """The request's."""
        return self.run.request_id

    @abstractmethod
    def begin(self) -> None:
        """The run has begun: answer, without keeping anybody else from going on."""

    # Ends

    def leave_it(self) -> None:
        """Nothing has begun: let the application answer."""
        self._call.hand_over()

    def broke(self, error: Exception) -> None:
        """A mistake was made before anything was taken: let the application answer, if it can."""
        broke(self._call, error)

    def _left(self) -> None:
        """The caller has gone: what was taken is given back."""
        run = self.run
        log.info("caller_gone", request_id=run.request_id, path=run.track.path)
        run.failed(_GONE, asyncio.CancelledError())

    def _failed(self, error: Exception) -> "tuple[bytes, asyncio.Future[None] | None]":
        """Record that something went wrong.

        Returns:
            What the caller is told of it, and what has to end before, unless that has been recorded by now.
        """
        run = self.run
        if not isinstance(error, EnginehouseError):
            log.error("request_broke", request_id=run.request_id, path=run.track.path, exc_info=error)
            error = EnginehouseError("The service made a mistake; its log says more.")
        status = run.track.codec.statuses.get(error.code, status_of(error))
        log.info("request_failed", request_id=run.request_id, status=status, code=error.code, error=error.message)
        keeping = run.failed(Outcome("failed", error.code, error.message, status), error)
        return self._refusal(error, status), keeping

    def _refusal(self, error: EnginehouseError, status: int) -> bytes:
        body = self.run.track.codec.write_error(error, status)
        lines = b"".join(b"%b: %b\r\n" % header for header in refusal_headers(error))
        return self._head(lines + b"content-length: %d\r\n" % len(body), status) + body

    # Heads

    def _head(self, kind: bytes, status: int = _OK, framing: bytes = b"") -> bytes:
        """The answer's head.

        Args:
            kind: the lines that say what its body is.
            framing: those that say how it is cut, where it comes in pieces.
        """
        run = self.run
        grant, look = run.grant, run.look
        age = b"" if look.entry is None else b"age: %d\r\n" % max(0, int(run.at - look.entry.asked))
        return b"%b%b%b%b%bx-request-id: %b\r\n%b%b%b\r\n" % (
            _opening(self._call, status),
            kind,
            _origin(run, look.tier),
            age,
            self._server_timing(),
            run.request_id.encode(),
            _SECURITY,
            b"" if grant is None else grant.lines,
            framing,
        )

    def _server_timing(self) -> bytes:
        """The phases in milliseconds; `gateway` is what none of the others took."""
        run = self.run
        total = run.clock() - run.began
        if run.is_hit:
            return b"server-timing: gateway;dur=%.2f\r\n" % (total * 1000)
        waited = b"server-timing: queue;dur=0.00, load;dur=0.00, "
        engine = run.upstream if run.upstream is not None else run.ttft or 0.0
        own = max(total - engine, 0.0) * 1000
        if run.upstream is not None and run.ttft is None:
            return b"%bupstream;dur=%.2f, gateway;dur=%.2f\r\n" % (waited, run.upstream * 1000, own)
        ttft = b"" if run.ttft is None else b"ttft;dur=%.2f, " % (run.ttft * 1000)
        return b"%b%bgateway;dur=%.2f\r\n" % (waited, ttft, own)


class Whole(Answering):
    """One that is told in one piece."""

    __slots__ = ("body", "over")

    body: bytes
    """What the engine answered, or what is kept."""
    over: bool
    """Whether the caller has heard all there is for it to hear."""

    def begin(self) -> None:
        """Answer what is kept; else wait for the engine."""
        self.over = False
        run = self.run
        if run.kept is not None:
            self.body = run.kept
            self._turn.at(RECORD, self)
        elif run.carried is not None:
            self._listen()
        else:
            self._connect()

    def _listen(self) -> None:
        self._call.hear(self._stop)
        if not self.over:
            self.run.listen(self._come)

    def _connect(self) -> None:
        connecting = asyncio.get_running_loop().create_task(self.run.connect())
        connecting.add_done_callback(self._connected)
        self._call.adopt(connecting)
        self._call.hear(connecting.cancel)

    def _connected(self, connecting: "asyncio.Task[None]") -> None:
        """The request has gone out on a new connection, or there is none to be had."""
        if connecting.cancelled():
            self._stop()
        elif (error := connecting.exception()) is None:
            self._listen()
        else:
            self.went_wrong(error)

    def _come(self) -> None:
        """The engine's answer is in, or none will be."""
        self._turn.at(HEAR, self)

    # Its steps, with others.

    @staticmethod
    def hear(answers: "Sequence[Whole]") -> "Sequence[Whole]":
        """Take what engines have answered."""
        on: list[Whole] = []
        for answer in answers:
            if answer.over:  # the caller has left in this very turn
                continue
            try:
                answer.body = answer.run.heard()
            except Exception as error:  # noqa: BLE001 - the caller hears of it, and so does the log
                answer.went_wrong(error)
            else:
                on.append(answer)
        return on

    @staticmethod
    def record(answers: "Sequence[Whole]") -> "Sequence[Whole]":
        """Write down what they took."""
        on: list[Whole] = []
        for answer in answers:
            try:
                answer.run.write_down(COMPLETED)
            except Exception as error:  # noqa: BLE001 - the caller hears of it, and so does the log
                answer.went_wrong(error)
            else:
                on.append(answer)
        return on

    @staticmethod
    def hand_in(answers: "Sequence[Whole]") -> "Sequence[Whole]":
        """Hand in the records of all at once; those are to be told now of which they are durable now."""
        try:
            keeping = Run.hand_in([answer.run for answer in answers])
        except Exception as error:  # noqa: BLE001 - the caller hears of it, and so does the log
            if len(answers) == 1:
                answers[0].went_wrong(error)
                return ()
            # What is wrong with one record is wrong with no other's.
            return [one for answer in answers for one in Whole.hand_in([answer])]
        durable: list[Whole] = []
        for answer, kept in zip(answers, keeping, strict=True):
            if kept is None:
                durable.append(answer)
            else:
                answer.wait_for(kept)
        return durable

    @staticmethod
    def tell(answers: "Sequence[Whole]") -> "Sequence[Run]":
        """Give callers their answers; what was taken is given back, whatever comes of that."""
        on: list[Run] = []
        for answer in answers:
            if answer.over:  # as in `hear`, where the record took its time
                continue
            try:
                told = answer.told()
            except Exception as error:  # noqa: BLE001 - the caller hears of it, and so does the log
                answer.went_wrong(error)
                continue
            answer.over = True
            on.append(answer.run)
            answer.give(told)
        return on

    def told(self) -> bytes:
        """As it goes over the wire."""
        body = self.body
        return self._head(b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)) + body

    def give(self, told: bytes) -> None:
        """Send it; whether that goes well is the connection's business, and its end is the call's."""
        try:
            self._call.write(told)
            self._call.end()
        except Exception as error:  # noqa: BLE001 - nobody else's business
            broke(self._call, error)

    def wait_for(self, keeping: "asyncio.Future[None]") -> None:
        """Have it told as soon as its record is durable."""
        self._call.hear(self._stop)
        keeping.add_done_callback(self._kept)

    def _kept(self, kept: "asyncio.Future[None]") -> None:
        if self.over:
            return
        error = kept.exception()
        if error is None:
            self.run.durable()
            self._turn.at(TELL, self)
        else:
            self.went_wrong(error)

    # Where it goes another way.

    def went_wrong(self, error: BaseException) -> None:
        """There is no answer, or none that may be told."""
        self.over = True
        try:
            self._call.hear(None)
            if isinstance(error, GoGenerally):
                self._call.hand_over(tried=error.tried)
            elif isinstance(error, Exception):
                self._refuse(error)
        except Exception:
            log.exception("request_broke", request_id=self.request_id)
        if not isinstance(error, Exception):
            raise error

    def _refuse(self, error: Exception) -> None:
        refusal, keeping = self._failed(error)

        def refuse(_: object = None) -> None:
            self._call.write(refusal)
            self._call.end()

        if keeping is None:
            refuse()
        else:  # what becomes of that is in the log; the caller shall hear what came first
            keeping.add_done_callback(refuse)

    def _stop(self) -> None:
        """The caller has left, or the service waits no longer."""
        if self.over:
            return
        self.over = True
        self._call.hear(None)
        if self._call.gone:
            self._left()
            self._call.end()
        else:
            self._refuse(ShuttingDown("The service is shutting down.", retry_after=5))


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
            self.run.failed(_GONE, asyncio.CancelledError())
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
            self._passed, self._last_write = self._stream.passed, self._stream.last_heard
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


def broke(call: Call, error: Exception) -> None:
    """The application answers a call, if it can, and the log hears why."""
    log.error("lane_failed", path=call.path, exc_info=error)
    call.fail()


ANSWERING: Mapping[int, Step] = MappingProxyType(
    {
        HEAR: Whole.hear,
        RECORD: Whole.record,
        JOURNAL: Whole.hand_in,
        TELL: Whole.tell,
        KEEP: Run.keep,
        STAND: Run.stand,
        SETTLE: Run.settle,
    }
)
"""What is done for answers step by step, from the engine's on."""


def _origin(run: Run, tier: str) -> bytes:
    """Where the answer is from; what is the same for many is written once."""
    lines = run.track.lines
    known = lines.get(tier)
    if known is None:
        model = quoted(run.track.model.id)
        known = lines[tier] = b"x-enginehouse-cache: %b\r\nx-enginehouse-model: %b\r\n" % (tier.encode(), model)
    return known


def _unheard(frames: bytes) -> None:
    """Nobody listens any more."""
    del frames


def _opening(call: Call, status: int) -> bytes:
    """How an answer of this status begins."""
    opening = call.opening()
    if status == _OK:
        return opening
    return b"HTTP/1.1 %d %s%b" % (status, HTTPStatus(status).phrase.encode(), opening[opening.index(b"\r\n") :])
