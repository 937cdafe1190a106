"""What answers of the fast path have in common: heads, and what becomes of them where something goes wrong."""

import asyncio
from abc import ABC, abstractmethod
from http import HTTPStatus

import structlog

from enginehouse.api.calls import Call
from enginehouse.api.faces import refusal_headers
from enginehouse.api.fast.turns import Turn
from enginehouse.api.guard import SECURITY_HEADERS
from enginehouse.api.wire import quoted, status_of
from enginehouse.core.gateway.fast import Outcome, Run
from enginehouse.errors import CallerGone, EnginehouseError

__all__ = ["GONE", "Answering", "broke"]

log = structlog.get_logger()

GONE = Outcome("cancelled", CallerGone.code, "The caller went away.", 499)
_OK = 200
_SECURITY = b"".join(b"%b: %b\r\n" % header for header in SECURITY_HEADERS)


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
        run.failed(GONE, asyncio.CancelledError())

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


def broke(call: Call, error: Exception) -> None:
    """The application answers a call, if it can, and the log hears why."""
    log.error("lane_failed", path=call.path, exc_info=error)
    call.fail()


def _origin(run: Run, tier: str) -> bytes:
    """Where the answer is from; what is the same for many is written once."""
    lines = run.track.lines
    known = lines.get(tier)
    if known is None:
        model = quoted(run.track.model.id)
        known = lines[tier] = b"x-enginehouse-cache: %b\r\nx-enginehouse-model: %b\r\n" % (tier.encode(), model)
    return known


def _opening(call: Call, status: int) -> bytes:
    """How an answer of this status begins."""
    opening = call.opening()
    if status == _OK:
        return opening
    return b"HTTP/1.1 %d %s%b" % (status, HTTPStatus(status).phrase.encode(), opening[opening.index(b"\r\n") :])
