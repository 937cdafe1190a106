"""What is told of the whole once a second, and of requests soon after their end: one stream for all who watch."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import structlog
from msgspec import Struct, structs

from enginehouse.core.traces.tally import Overall, overall_of, percentiles, tally_of
from enginehouse.core.traces.trace import Trace
from enginehouse.core.traces.traces import Traces
from enginehouse.errors import EnginehouseError
from enginehouse.telemetry.events import EventStream

__all__ = ["Ended", "Figures", "Measured", "Pulse", "Queues", "Slow", "Surroundings", "Window"]

log = structlog.get_logger()

_SPAN = 60
"""Seconds over which rates and percentiles are taken."""
_HISTORY = 300
_MOST_ENDED = 20
"""Requests of a second that are told one by one: the ring of events holds some minutes of them."""
_ASK_EVERY = 15.0


class Surroundings(Struct, frozen=True, kw_only=True):
    """How the rest of the house is, as the composition root knows it."""

    active: int = 0
    """Requests that have a slot."""
    queued: int = 0
    """Requests that wait for one."""
    models: Mapping[str, int] = {}
    """How many there are in each state."""
    memory: Mapping[str, Mapping[str, int]] = {}
    """Bytes by memory: what models may take (`budget`) and take (`models`), and what there is (`total`, `used`)."""
    queues: Mapping[str, Mapping[str, Any]] = {}
    """Each model's line, as `/v1/queue/stats` tells it."""
    sockets: int = 0
    waiting_records: int = 0
    """Usage records that are not in the database yet."""


Figures: TypeAlias = dict[str, Any]
"""All of it at one instant, as JSON has it; times in milliseconds, money in dollars."""


class Ended(Struct, frozen=True):
    """Requests that have ended since it was last told, the newest last."""

    traces: tuple[Trace, ...]
    skipped: int
    """How many more there were than anybody could read."""


class Slow(Struct, frozen=True, kw_only=True):
    """What the database has to be asked for."""

    cost_today: Decimal | None = None
    """What all requests of this day (UTC) have cost, in dollars; None where no price is known."""
    sessions: int | None = None
    """Conversations that are kept."""


class Queues(Struct, frozen=True):
    """Lines have moved."""

    by_model: Mapping[str, Mapping[str, Any]]


class Window(Struct, frozen=True, kw_only=True):
    """What figures of the last minute are reckoned from, so that those of several replicas can be added."""

    requests: int = 0
    failed: int = 0
    hits: int = 0
    misses: int = 0
    requests_per_second: float = 0.0
    tokens_per_second: float = 0.0
    ttft: Sequence[int] = ()
    """By bucket of `SECONDS`."""
    total: Sequence[int] = ()

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        asked = self.hits + self.misses
        return {
            "requests": self.requests,
            "errors": self.failed,
            "error_rate": round(self.failed / self.requests, 4) if self.requests else 0.0,
            "requests_per_second": self.requests_per_second,
            "tokens_per_second": self.tokens_per_second,
            "ttft_ms": percentiles(self.ttft),
            "latency_ms": percentiles(self.total),
            "cache_hit_rate": round(self.hits / asked, 4) if asked else None,
        }


class Measured(Struct, frozen=True):
    """A second has passed."""

    figures: Figures
    window: Window = Window()


class _Mark(Struct, frozen=True, gc=False):
    """The counters at one instant."""

    at: float
    requests: int
    failed: int
    tokens: int
    hits: int
    misses: int
    ttft: tuple[int, ...]
    total: tuple[int, ...]


class Pulse:
    """Tells the figures once a second, for ever.

    Args:
        traces: what is counted.
        around: how the rest of the house is.
        ask: what the database knows; asked now and then.
        look: lets `around` know of what is elsewhere; called before every beat.
        kept: how many events are kept for readers that come back.
        clock: seconds.
    """

    def __init__(
        self,
        traces: Traces,
        around: Callable[[], Surroundings],
        ask: Callable[[], Awaitable[Slow]],
        *,
        look: Callable[[], Awaitable[None]] | None = None,
        kept: int = 500,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.events: EventStream[Any] = EventStream(kept=kept)
        """`Measured`, `Ended` and `Queues`, and what else happens in the house."""
        self.history: deque[Figures] = deque(maxlen=_HISTORY)
        """The last five minutes, the newest last."""
        self._traces = traces
        self._around = around
        self._ask, self._look = ask, look
        self._queues: Mapping[str, Mapping[str, Any]] = {}
        self._slow = Slow()
        self._asked: float | None = None
        self._ended: list[Trace] = []
        self._skipped = 0
        self._clock = clock
        self._began = clock()
        self._marks: deque[_Mark] = deque([self._mark()], maxlen=_SPAN + 1)
        traces.listen(self._hear)

    @property
    def sessions(self) -> int | None:
        """Conversations that are kept, a moment ago."""
        return self._slow.sessions

    async def run(self) -> None:
        """Once a second, for ever."""
        while True:
            await asyncio.sleep(1)
            await self.beat()

    async def beat(self) -> None:
        """Tell what there is to tell now."""
        await self._learn()
        if self._look is not None:
            await self._look()
        self._marks.append(self._mark())
        if self._ended:
            traces, skipped = tuple(self._ended), self._skipped
            self._ended, self._skipped = [], 0
            self.events.publish(Ended(traces, skipped))
        around = self._around()
        if around.queues != self._queues:
            self._queues = around.queues
            self.events.publish(Queues(around.queues))
        figures = self.figures(around)
        self.history.append(figures)
        self.events.publish(Measured(figures, self._window()))

    def figures(self, around: Surroundings | None = None) -> Figures:
        """As they are now."""
        counts, around = self._traces.counts.all, around or self._around()
        newest, before = self._marks[-1], self._marks[max(len(self._marks) - 2, 0)]
        return {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "uptime_seconds": round(self._clock() - self._began, 1),
            **_rates(before, newest),
            "active": around.active,
            "queued": around.queued,
            "on_the_way": self._traces.on_the_way,
            "last_minute": self._window().told(),
            "totals": tally_of(counts).totals(),
            "cost_today": self._slow.cost_today,
            "models": dict(around.models),
            "memory": {name: dict(pool) for name, pool in around.memory.items()},
            "sockets": around.sockets,
            "sessions": self._slow.sessions,
            "ledger_backlog": around.waiting_records,
        }

    def overall(self) -> dict[str, Any]:
        """The figures, and since the start: how long requests took, what the cache did, and every model."""
        return {**self.figures(), **self.counted().told()}

    def counted(self) -> Overall:
        """What there was since the start."""
        return overall_of(self._traces.counts)

    def _hear(self, *traces: Trace) -> None:
        told = traces[: _MOST_ENDED - len(self._ended)]
        self._ended += [structs.replace(trace, prompt="", answer="") if trace.prompt else trace for trace in told]
        self._skipped += len(traces) - len(told)

    def _mark(self) -> _Mark:
        counts = self._traces.counts.all
        return _Mark(
            at=self._clock(),
            requests=counts.outcomes.total(),
            failed=counts.outcomes["failed"] + counts.outcomes["refused"],
            tokens=counts.written + counts.reasoning,
            hits=counts.cache["exact"] + counts.cache["semantic"],
            misses=counts.cache["miss"],
            ttft=tuple(counts.ttft.counts),
            total=tuple(counts.total.counts),
        )

    def _window(self) -> Window:
        first, newest = self._marks[0], self._marks[-1]
        return Window(
            requests=newest.requests - first.requests,
            failed=newest.failed - first.failed,
            hits=newest.hits - first.hits,
            misses=newest.misses - first.misses,
            **_rates(first, newest),
            ttft=_between(first.ttft, newest.ttft),
            total=_between(first.total, newest.total),
        )

    async def _learn(self) -> None:
        now = self._clock()
        if self._asked is not None and now - self._asked < _ASK_EVERY:
            return
        self._asked = now
        try:
            self._slow = await self._ask()
        except EnginehouseError as error:
            log.debug("figures_out_of_date", error=error.message)


def _rates(before: _Mark, newest: _Mark) -> dict[str, float]:
    seconds = max(newest.at - before.at, 0.001)
    return {
        "requests_per_second": round((newest.requests - before.requests) / seconds, 3),
        "tokens_per_second": round((newest.tokens - before.tokens) / seconds, 3),
    }


def _between(before: Sequence[int], after: Sequence[int]) -> list[int]:
    return [late - early for early, late in zip(before, after, strict=True)]
