"""Answers questions about requests that have ended: which they were, how they did as a whole, what went wrong."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from enginehouse.core.traces.told import instant, told
from enginehouse.core.traces.trace import OUTCOMES, PHASES, Trace
from enginehouse.core.traces.traces import Traces
from enginehouse.errors import NotFound, StoreError
from enginehouse.telemetry.histograms import SECONDS, Histogram

__all__ = ["Archive", "Question", "Reports"]

_MOST = 10_000
"""Requests that a summary looks at: the newest."""
_MOST_PATTERNS = 200
_STEPS = 60
"""Parts into which the time of a question is divided, where numbers are told over time."""


class Question(Struct, frozen=True, kw_only=True):
    """Which requests; what is None does not matter. Times are microseconds since 1970, UTC."""

    user: str | None = None
    key: str | None = None
    model: str | None = None
    outcome: str | None = None
    status: int | None = None
    error: str | None = None
    face: str | None = None
    cache: str | None = None
    request_id: str | None = None
    """Ours or the caller's."""
    since: int | None = None
    until: int | None = None
    slower_than: int | None = None
    """Microseconds in all."""
    failed: bool = False
    """Only those that went wrong."""
    before: str | None = None
    """Only older ones than the one of this id."""

    def fits(self, trace: Trace) -> bool:
        """Whether it is one of those."""
        return (
            all(wanted is None or wanted == has for wanted, has in self._wanted(trace))
            and (self.since is None or trace.time >= self.since)
            and (self.until is None or trace.time < self.until)
            and (self.slower_than is None or trace.total_us >= self.slower_than)
            and (self.before is None or trace.id < self.before)
            and (self.request_id is None or self.request_id in (trace.id, trace.request_id))
            and (not self.failed or bool(trace.error))
        )

    def _wanted(self, trace: Trace) -> Iterable[tuple[object, object]]:
        yield self.user, trace.user_id
        yield self.key, trace.key_id
        yield self.model, trace.model
        yield self.outcome, trace.outcome
        yield self.status, trace.status
        yield self.error, trace.error
        yield self.face, trace.face
        yield self.cache, trace.cache


class Archive(Protocol):
    """Where requests are kept for longer than memory holds them: `core.traces.keeping.Keeper`."""

    @property
    def on(self) -> bool:
        """Whether they are."""
        ...

    async def newest(self, question: Question, limit: int) -> Sequence[Trace]:
        """The newest so many of those, the newest first.

        Raises:
            StoreError: it cannot be asked now.
        """
        ...


class Reports:
    """Asks the archive, and memory where there is none or it is away.

    Args:
        traces: what memory holds.
        archive: what is kept beyond that.
        name_of: what people call a key, by its id.
    """

    def __init__(
        self, traces: Traces, archive: Archive | None = None, name_of: Callable[[str], str] = lambda _: ""
    ) -> None:
        self._name_of = name_of
        self._traces = traces
        self._archive = archive

    async def page(self, question: Question, limit: int) -> dict[str, Any]:
        """Requests, the newest first, and where to go on."""
        found, source = await self._newest(question, limit + 1)
        shown = found[:limit]
        return {
            "object": "list",
            "data": [told(trace, self._name_of) for trace in shown],
            "has_more": len(found) > limit,
            "next_cursor": shown[-1].id if len(found) > limit else None,
            "source": source,
        }

    async def one(self, question: Question) -> dict[str, Any]:
        """One request's whole way, with every stay in a phase.

        Raises:
            NotFound: nobody knows of it; or it is another's.
        """
        found = next(
            (trace for trace in self._traces.find(question.request_id or "") if question.fits(trace)), None
        )
        if found is None:
            rest, _ = await self._newest(question, 1)
            found = rest[0] if rest else None
        if found is None:
            raise NotFound(f"There is no request {question.request_id!r} of yours that is still known.")
        return told(found, self._name_of, whole=True)

    async def summary(self, question: Question, now: int) -> dict[str, Any]:
        """How requests did as a whole.

        Args:
            now: microseconds since 1970, UTC.
        """
        found, source = await self._newest(question, _MOST)
        return {**_span(question, found, now), "source": source, **_summed(found), **_paced(question, found, now)}

    async def errors(self, question: Question, now: int, limit: int) -> dict[str, Any]:
        """What went wrong, the like taken together, the most frequent first."""
        every, source = await self._newest(question, _MOST)
        found = [trace for trace in every if trace.error]
        patterns = _patterns(found)
        return {
            **_span(question, every, now),
            "source": source,
            "total_requests": len(every),
            "total_errors": len(found),
            "error_rate": round(len(found) / len(every), 4) if every else 0.0,
            "errors_by_code": dict(Counter(trace.error for trace in found).most_common()),
            "errors_by_model": dict(Counter(trace.model or "unknown" for trace in found).most_common()),
            "errors_by_status": dict(Counter(str(trace.status) for trace in found if trace.status).most_common()),
            "patterns": patterns[: min(limit, _MOST_PATTERNS)],
            "timeline": _timeline(question, found, now),
        }

    async def _newest(self, question: Question, limit: int) -> tuple[Sequence[Trace], str]:
        if self._archive is not None and self._archive.on:
            try:
                return await self._archive.newest(question, limit), "database"
            except StoreError:
                pass  # memory knows the newest of them
        fitting = [trace for trace in self._traces.recent if question.fits(trace)]
        return sorted(fitting, key=lambda trace: trace.id, reverse=True)[:limit], "memory"


def _span(question: Question, found: Sequence[Trace], now: int) -> dict[str, Any]:
    """Of which time it is told; where there were more than can be looked at, only of the newest."""
    truncated = len(found) >= _MOST
    since = found[-1].time if found and (truncated or question.since is None) else question.since
    return {
        "since": None if since is None else instant(since),
        "until": instant(question.until or now),
        "truncated": truncated,
    }


def _summed(found: Sequence[Trace]) -> dict[str, Any]:
    outcomes = Counter(trace.outcome for trace in found)
    went_wrong = outcomes["failed"] + outcomes["refused"]
    return {
        "total_requests": len(found),
        "successful_requests": outcomes["completed"],
        **{f"{outcome}_requests": outcomes[outcome] for outcome in OUTCOMES[1:]},
        "success_rate": round(outcomes["completed"] / len(found), 4) if found else None,
        "error_rate": round(went_wrong / len(found), 4) if found else 0.0,
        **_times(found),
        "latency_histogram": _histogram(found),
        "tokens_per_second": _spread([trace.speed for trace in found], digits=2),
        "tokens": _tokens(found),
        **_cost(found),
        "cache": _cache(found),
        "by_model": _by(found, lambda trace: trace.model or "unknown"),
        "by_user": _by(found, lambda trace: trace.user_id),
        "by_status": dict(Counter(str(trace.status) for trace in found if trace.status).most_common()),
        "errors_by_code": dict(Counter(trace.error for trace in found if trace.error).most_common()),
    }


def _times(found: Sequence[Trace]) -> dict[str, Any]:
    """Milliseconds in all and by phase, over those requests that had the phase."""
    phases = {f"{name}_ms": _spread([_milliseconds(trace.spent(name)) for trace in found]) for name in PHASES}
    return {
        "latency_ms": _spread([trace.total_us / 1000 for trace in found]),
        "ttft_ms": _spread([_milliseconds(trace.ttft_us) for trace in found]),
        "gateway_ms": _spread([trace.gateway_us / 1000 for trace in found]),
        **phases,
    }


def _paced(question: Question, found: Sequence[Trace], now: int) -> dict[str, Any]:
    first = found[-1].time if found else now
    since = first if question.since is None or len(found) >= _MOST else question.since
    minutes = max((question.until or now) - since, 1_000_000) / 60_000_000
    return {"requests_per_minute": round(len(found) / minutes, 3), "timeline": _timeline(question, found, now)}


def _timeline(question: Question, found: Sequence[Trace], now: int) -> list[dict[str, Any]]:
    """Requests, errors and tokens over time, in equal steps."""
    if not found:
        return []
    until = question.until or now
    since = min(question.since or found[-1].time, found[-1].time)
    step = max(math.ceil((until - since) / _STEPS / 1_000_000), 1) * 1_000_000
    steps: dict[int, list[Trace]] = defaultdict(list)
    for trace in found:
        steps[trace.time - trace.time % step].append(trace)
    return [
        {
            "timestamp": instant(at),
            "requests": len(part),
            "errors": sum(bool(trace.error) for trace in part),
            "tokens": sum(trace.tokens for trace in part),
            "latency_p50_ms": _spread([trace.total_us / 1000 for trace in part])["p50"],
        }
        for at, part in sorted(steps.items())
    ]


def _patterns(found: Sequence[Trace]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Trace]] = defaultdict(list)
    for trace in found:
        groups[trace.error, trace.cause].append(trace)
    ranked = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [_pattern(code, cause, part, len(found)) for (code, cause), part in ranked]


def _pattern(code: str, cause: str, part: Sequence[Trace], total: int) -> dict[str, Any]:
    return {
        "code": code,
        "cause": cause,
        "count": len(part),
        "share": round(len(part) / total, 4),
        "models": dict(Counter(trace.model or "unknown" for trace in part).most_common(10)),
        "faces": dict(Counter(trace.face or trace.path for trace in part).most_common(10)),
        "users": len({trace.user_id for trace in part}),
        "first_seen": instant(part[-1].time),
        "last_seen": instant(part[0].time),
        "example": {"id": part[0].id, "request_id": part[0].request_id, "message": part[0].message},
    }


def _by(found: Sequence[Trace], name_of: Callable[[Trace], str]) -> list[dict[str, Any]]:
    groups: dict[str, list[Trace]] = defaultdict(list)
    for trace in found:
        groups[name_of(trace)].append(trace)
    return [
        {
            "name": name,
            "requests": len(part),
            "errors": sum(bool(trace.error) for trace in part),
            "tokens": sum(trace.tokens for trace in part),
            "latency_ms": _spread([trace.total_us / 1000 for trace in part]),
            "ttft_ms": _spread([_milliseconds(trace.ttft_us) for trace in part]),
            **_cost(part),
        }
        for name, part in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


def _tokens(found: Sequence[Trace]) -> dict[str, int]:
    return {
        "input": sum(trace.input_tokens for trace in found),
        "cached_input": sum(trace.cached_input_tokens for trace in found),
        "output": sum(trace.output_tokens for trace in found),
        "reasoning": sum(trace.reasoning_tokens for trace in found),
        "total": sum(trace.tokens for trace in found),
    }


def _cost(found: Sequence[Trace]) -> dict[str, Any]:
    known = [trace.cost for trace in found if trace.cost is not None]
    return {"cost": sum(known) / 10**12 if known else None, "unpriced_requests": len(found) - len(known)}


def _cache(found: Sequence[Trace]) -> dict[str, Any]:
    tiers = Counter(trace.cache for trace in found if trace.cache)
    hits, misses = tiers["exact"] + tiers["semantic"], tiers["miss"]
    rate = round(hits / (hits + misses), 4) if hits + misses else None
    return {**{tier: tiers[tier] for tier in ("exact", "semantic", "miss", "bypass")}, "hit_rate": rate}


def _histogram(found: Sequence[Trace]) -> list[dict[str, Any]]:
    """How many took at most so long."""
    histogram = Histogram(SECONDS)
    for trace in found:
        histogram.note(trace.total_us / 1_000_000)
    bounds = [*(round(bound * 1000, 3) for bound in SECONDS), None]
    return [{"le_ms": bound, "count": count} for bound, (_, count) in zip(bounds, histogram.buckets(), strict=True)]


def _spread(values: Iterable[float | None], *, digits: int = 3) -> dict[str, float | None]:
    """Mean, percentiles and the most of those that are known."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return dict.fromkeys(("avg", "p50", "p95", "p99", "max"))
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    found = {name: known[max(math.ceil(share * len(known)) - 1, 0)] for name, share in shares.items()}
    spread = {"avg": sum(known) / len(known), **found, "max": known[-1]}
    return {name: round(value, digits) for name, value in spread.items()}


def _milliseconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1000
