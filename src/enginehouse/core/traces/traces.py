"""Watches every request to a model, from the door to its record, and keeps what became of the newest."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import structlog
from msgspec import Struct, structs

from enginehouse.core.traces.counts import Counts
from enginehouse.core.traces.link import Link, linked
from enginehouse.core.traces.trace import Trace
from enginehouse.core.traces.way import Spent, Way
from enginehouse.errors import EnginehouseError
from enginehouse.telemetry.context import PASSED_ON
from enginehouse.types import Principal, Request, Timings
from enginehouse.types.phases import Said

__all__ = ["Listening", "Traces"]

log = structlog.get_logger()

_SERVICE = "service"
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Hears(Protocol):
    """Hears of requests that have ended."""

    def __call__(self, *traces: Trace) -> None:
        """Of these, some at once."""
        ...


class Listening(Struct, frozen=True, kw_only=True):
    """How prompts and answers are kept."""

    most: int
    """Characters of each."""
    redact: Callable[[str], str]
    """Takes out what nobody needs to read again."""


class Traces:
    """Belongs to the event loop; nothing here waits, and nothing that goes wrong here reaches a caller.

    Args:
        kept: how many of the newest are kept in memory.
        listening: what is kept of what is said; nothing when left out.
    """

    def __init__(self, kept: int = 1000, listening: Listening | None = None) -> None:
        self._listening = listening
        self.listens = listening is not None
        """Whether what is said is kept with requests."""
        self.exports = False
        """Whether requests hang in distributed traces, so that each needs a `Link`."""
        self.counts = Counts()
        self.recent: deque[Trace] = deque(maxlen=kept)
        """The newest, the newest last."""
        self._hear: list[Hears] = []
        self._export: Callable[[Trace, Link | None], None] | None = None
        self.on_the_way = 0
        """Requests that have come and not ended."""

    def listen(self, hear: Hears) -> None:
        """Tell this one too of all requests that have ended, of some at once; it must not wait."""
        self._hear.append(hear)

    def export(self, hear: Callable[[Trace, Link | None], None]) -> None:
        """Tell this one where requests hang in distributed traces as well; from now on each is part of one."""
        self._export, self.exports = hear, True

    def adopt(self, kept: int, listening: Listening | None = None) -> None:
        """Keep so many, and of what is said as much, from the next request on."""
        self._listening, self.listens = listening, listening is not None
        if kept != self.recent.maxlen:
            self.recent = deque(self.recent, kept)

    def find(self, request_id: str) -> Iterator[Trace]:
        """Those kept ones of this id, ours or the caller's, the newest first."""
        return (trace for trace in reversed(self.recent) if request_id in (trace.request_id, trace.id))

    def placed(self, traceparent: str | None, tracestate: str | None) -> Link | None:
        """Where a request with these headers hangs in a distributed trace; None where it is part of none."""
        if traceparent or self._export is not None:
            return linked(traceparent, tracestate, ours=self._export is not None)
        return None

    # At the door

    def arrived(
        self,
        timings: Timings,
        request_id: str,
        path: str,
        began: float,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> Way:
        """A request to a model has come in.

        Args:
            began: when, on the event loop's clock.
            traceparent: where it hangs in a distributed trace, as W3C Trace Context writes it; so `tracestate`.
        """
        late = round((asyncio.get_running_loop().time() - began) * 1_000_000)
        way = Way(timings, request_id, path, time.time_ns() // 1000 - late, began)
        timings.way = way
        way.link = self.placed(traceparent, tracestate)
        PASSED_ON.set(_NOTHING if way.link is None else way.link.headers())
        self._hold(way)
        return way

    def left(self, way: Way, principal: Principal, status: int, error: BaseException | None) -> None:
        """The door is done with it; answers that go on without their reader are not over yet."""
        way.principal, way.status, way.error = principal, status, error
        self._let_go(way)

    # At the ledger

    def began(self, request: Request) -> None:
        """It has an entry now; the service's own requests are nobody's."""
        if request.principal.role == _SERVICE:
            return
        way = request.timings.way
        if not isinstance(way, Way):
            now = asyncio.get_running_loop().time()
            way = Way(request.timings, request.request_id, "", time.time_ns() // 1000, now)
            way.principal = request.principal
            way.link = linked(None, None, ours=self._export is not None)
            request.timings.way = way
        way.asked = request
        if self._listening is not None:
            request.timings.said = request.timings.said or Said(self._listening.most)
        self._hold(way)

    def ended(self, request: Request, record: Spent | None, error: BaseException | None) -> None:
        """The entry is over.

        Args:
            record: what it came to.
            error: with which it ended, if it did.
        """
        way = request.timings.way
        if not isinstance(way, Way):
            return
        if record is not None:
            way.records.append(record)
        if not way.path and isinstance(error, EnginehouseError):
            way.error = error
        self._let_go(way)

    # In one step, where a request is too plain for a way of its own: not while `listens`, and `went`
    # has to be given the link

    def come(self, number: int = 1) -> None:
        """So many requests to models have come in; `went` or `gone` says what becomes of each."""
        self.on_the_way += number

    def gone(self) -> None:
        """It takes the general way after all: from `arrived` on that counts it."""
        self.on_the_way -= 1

    def went(self, trace: Trace, link: Link | None = None) -> None:
        """It is over.

        Args:
            link: where it hangs in a distributed trace.
        """
        self.went_all([(trace, link)])

    def went_all(self, ended: Sequence[tuple[Trace, Link | None]]) -> None:
        """Some are, each as `went` has it: to hear of them at once takes hardly longer than of one."""
        self.on_the_way -= len(ended)
        self._over(ended)

    # From other processes

    def take(self, *traces: Trace) -> None:
        """Requests that went their way elsewhere, and have ended there."""
        self._keep(*traces)

    def _hold(self, way: Way) -> None:
        self.on_the_way += not way.held
        way.held += 1

    def _let_go(self, way: Way) -> None:
        way.held -= 1
        if way.held:
            return
        self.on_the_way -= 1
        way.timings.way = None
        try:
            trace = self._heard(way, way.over(asyncio.get_running_loop().time()))
        except Exception:
            log.exception("trace_lost", request_id=way.request_id)
        else:
            self._over([(trace, way.link)])

    def _over(self, ended: Sequence[tuple[Trace, Link | None]]) -> None:
        try:
            self._keep(*[trace for trace, _ in ended])
            if self._export is not None:
                for trace, link in ended:
                    self._export(trace, link)
        except Exception:
            log.exception("trace_lost", request_id=", ".join([trace.request_id for trace, _ in ended]))

    def _heard(self, way: Way, trace: Trace) -> Trace:
        """With what was said, as far as that may be kept."""
        said, listening = way.timings.said, self._listening
        if said is None or listening is None:
            return trace
        redact = listening.redact
        return structs.replace(trace, prompt=redact(said.prompt), answer=redact(said.answer))

    def _keep(self, *traces: Trace) -> None:
        self.counts.note(*traces)
        self.recent += traces
        for hear in self._hear:
            hear(*traces)
