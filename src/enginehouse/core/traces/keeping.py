"""Keeps requests in the database for some days: written a moment after their end, and never waited for."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Self

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import astuple
from sqlalchemy import Connection

from enginehouse.core.traces.reports import Question
from enginehouse.core.traces.trace import Span, Trace
from enginehouse.errors import StoreError
from enginehouse.stores.sql import Database, traces

__all__ = ["Keeper", "Keeping"]

log = structlog.get_logger()

_GATHERING = 1.0
"""Seconds for which requests gather, unless they are many before."""
_MANY = 2000
_AT_ONCE = 500
"""Rows of one transaction: few enough for who wants to write a usage record meanwhile."""
_MOST_WAITING = 10_000
_MOST_SAID = 32_000_000
"""Characters of prompts and answers that may wait, where those are kept."""
_MOST_REFUSED = 10
"""Of what was refused at the door, so many a second are written: strangers shall not fill the disk."""
_SWEEP_EVERY = 600.0
_SWEPT_AT_ONCE = 500
_RETRY = 5.0
_LAST_WORDS = 5.0
"""Seconds that the end of the service waits for what is not written yet."""

_read_spans = msgspec.json.Decoder(list[Span]).decode
_EQUAL = {
    "user": "user_id",
    "key": "key_id",
    **{name: name for name in ("model", "outcome", "status", "error", "face", "cache")},
}
"""What a question asks for exactly → column."""


class Keeping(Struct, frozen=True, kw_only=True):
    """What is kept, and for how long."""

    enabled: bool = True
    retention: float = 7 * 86_400.0
    """Seconds."""


class Keeper:
    """Hears of every request that has ended; use as a context, whose end writes what is left.

    Args:
        database: where they are kept.
        keeping: whether, and for how long.
        pause: how to wait; `asyncio.sleep`.
    """

    def __init__(
        self,
        database: Database,
        keeping: Keeping,
        *,
        pause: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._pause = pause
        self._gathering: asyncio.Task[None] | None = None
        """Who waits for more requests."""
        self._keeping = keeping
        self._waiting: deque[Trace] = deque()
        self._said = 0
        self._refused = 0
        self._refused_in = 0
        self._swept = 0.0
        self._stack = AsyncExitStack()
        self.dropped = 0
        """Requests that were not written: too many at once, while the database was away, or refused at the door."""

    @property
    def on(self) -> bool:
        """Whether requests are kept."""
        return self._keeping.enabled

    def adopt(self, keeping: Keeping) -> None:
        """New settings count for the next request."""
        self._keeping = keeping

    def hear(self, *traces: Trace) -> None:
        """Requests have ended."""
        if not self._keeping.enabled:
            return
        few = len(self._waiting) + len(traces) <= _MOST_WAITING and self._said < _MOST_SAID
        if few and not any(trace.prompt or trace.answer or trace.outcome == "refused" for trace in traces):
            self._waiting += traces
        else:
            for trace in traces:
                self._hear(trace)
        if len(self._waiting) >= _MANY and self._gathering is not None:
            self._gathering.cancel()

    def _hear(self, trace: Trace) -> None:
        full = len(self._waiting) >= _MOST_WAITING or self._said >= _MOST_SAID
        if full or (trace.outcome == "refused" and self._too_many(trace)):
            self.dropped += 1
        else:
            self._waiting.append(trace)
            if trace.prompt or trace.answer:
                self._said += _said(trace)

    async def __aenter__(self) -> Self:
        """Begin to write."""
        await self._stack.enter_async_context(self._writing())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write what is left, and end."""
        await self._stack.aclose()

    async def newest(self, question: Question, limit: int) -> Sequence[Trace]:
        """The newest so many of those, the newest first; what is not written yet is among them.

        Raises:
            StoreError: the database is away.
        """
        fresh = {trace.id: trace for trace in self._waiting if question.fits(trace)}
        asked = partial(traces.newest, **_asked(question), limit=limit)
        kept = [_trace(row) for row in await self._database.read(asked)]
        every = {**fresh, **{trace.id: trace for trace in kept}}
        return sorted(every.values(), key=lambda trace: trace.id, reverse=True)[:limit]

    @asynccontextmanager
    async def _writing(self) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run(), name="telemetry")
            try:
                yield
            finally:
                task.cancel()
        try:
            async with asyncio.timeout(_LAST_WORDS):
                while self._waiting:
                    await self._write()
        except (StoreError, TimeoutError) as error:
            log.warning("telemetry_not_kept", requests=len(self._waiting), error=str(error))

    async def _run(self) -> None:
        while True:
            await self._gathered()
            try:
                await self._write()
                await self._sweep()
            except StoreError as error:
                log.warning("telemetry_waits", requests=len(self._waiting), error=error.message)
                await self._pause(_RETRY)
            except Exception:
                log.exception("telemetry_not_kept")
                await self._pause(_RETRY)

    async def _gathered(self) -> None:
        """A moment later, so that requests are written together; sooner when they are many."""
        async with asyncio.TaskGroup() as group:
            self._gathering = group.create_task(self._pause(_GATHERING), name="telemetry gathers")

    async def _write(self) -> None:
        """What waits, a few at a time, until too few are left for a transaction of their own: they gather.

        Those that are being written wait on until they are.
        """
        written = _AT_ONCE
        while self._waiting and written == _AT_ONCE:
            batch = list(islice(self._waiting, _AT_ONCE))
            written = len(batch)
            await self._database.write(partial(_insert, batch))
            for trace in batch:
                self._waiting.popleft()
                if trace.prompt or trace.answer:
                    self._said -= _said(trace)

    async def _sweep(self) -> None:
        """Forget what is too old, now and then, and a little at a time."""
        now = time.time()
        if now - self._swept < _SWEEP_EVERY:
            return
        oldest = _first_id(int((now - self._keeping.retention) * 1_000_000))
        forget = partial(traces.forget, before=oldest, most=_SWEPT_AT_ONCE)
        while await self._database.write(forget) == _SWEPT_AT_ONCE:  # others want to write too
            await self._pause(_GATHERING / 10)
        self._swept = now

    def _too_many(self, trace: Trace) -> bool:
        second = trace.time // 1_000_000
        if second != self._refused_in:
            self._refused_in, self._refused = second, 0
        self._refused += 1
        return self._refused > _MOST_REFUSED


def _said(trace: Trace) -> int:
    return len(trace.prompt) + len(trace.answer)


def _insert(batch: Sequence[Trace], connection: Connection) -> None:
    """In the database's thread, where it has one; few at a time, so that the event loop can go first."""
    for first in range(0, len(batch), traces.AT_ONCE):
        traces.insert(connection, _columns(batch[first : first + traces.AT_ONCE]))


def _columns(batch: Sequence[Trace]) -> list[Sequence[Any]]:
    """As the table wants them."""
    said = dict(zip(Trace.__struct_fields__, zip(*map(astuple, batch), strict=True), strict=True))
    stays = zip(said["phases"], said["times"], strict=True)
    said["spans"] = tuple([_form(phases) % times for phases, times in stays])
    columns = [said[name] for name in traces.COLUMNS]
    return [*map(_cleaned, columns[: traces.TEXTS]), *columns[traces.TEXTS :]]


@lru_cache(1000)
def _form(phases: Sequence[str]) -> str:
    """How spans of these phases stand in the table; their times are left open."""
    named = [msgspec.json.encode(name).decode().replace("%", "%%") for name in phases]
    return f"[{','.join([f'[{name},%d,%d]' for name in named])}]"


def _cleaned(column: Sequence[str]) -> Sequence[str]:
    alike = column.count(column[0]) == len(column)
    if _is_plain(column[0] if alike else "".join(column)):  # as nearly every one is
        return column
    return [_clean(text) for text in column]


def _trace(row: Mapping[str, Any]) -> Trace:
    fields: dict[str, Any] = dict(row)
    spans = _read_spans(fields.pop("spans"))
    phases, times = tuple(name for name, _, _ in spans), tuple(time for _, *both in spans for time in both)
    return Trace(**fields, phases=phases, times=times)


def _asked(question: Question) -> dict[str, Any]:
    """The question in the table's words."""
    equal = {_EQUAL[name]: value for name in _EQUAL if (value := getattr(question, name)) is not None}
    until = None if question.until is None else _first_id(question.until)
    ends = [end for end in (question.before, until) if end is not None]
    return {
        "equal": equal,
        "named": question.request_id,
        "since": None if question.since is None else _first_id(question.since),
        "before": min(ends) if ends else None,
        "slower_than": question.slower_than,
        "failed": question.failed,
    }


def _first_id(time: int) -> str:
    """What stands before every id of this microsecond and later."""
    return f"{max(time, 0):014x}"


def _clean(text: str) -> str:
    """PostgreSQL takes no NUL, and neither takes half a character."""
    return text if _is_plain(text) else text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _is_plain(text: str) -> bool:
    return text.isascii() and "\0" not in text
