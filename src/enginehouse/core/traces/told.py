"""A request as people and programs are told of it: one shape for lists, for its own page and for the stream."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from enginehouse.core.traces.trace import PHASES, Trace

__all__ = ["instant", "told"]


def told(trace: Trace, name_of: Callable[[str], str], *, whole: bool = False) -> dict[str, Any]:
    """As JSON has it; times are in milliseconds, money in dollars.

    Args:
        name_of: what people call a key, by its id.
        whole: with every stay in a phase, and what was said where that is kept.
    """
    short = {
        "id": trace.id,
        "request_id": trace.request_id,
        "trace_id": trace.trace_id or None,
        "timestamp": instant(trace.time),
        "user_id": trace.user_id,
        "key_id": trace.key_id or None,
        "key_name": name_of(trace.key_id) or None,
        "tenant": trace.tenant or None,
        "model": trace.model or None,
        "requested_model": trace.asked or None,
        "deployment": trace.deployment or None,
        "engine": trace.engine or None,
        "provider": trace.provider or None,
        "face": trace.face or None,
        "path": trace.path or None,
        "operation": trace.operation or None,
        "stream": trace.stream,
        "priority": trace.priority or None,
        "status": trace.status or None,
        "outcome": trace.outcome,
        "error": _error(trace),
        "cache": trace.cache or None,
        "guard": trace.guard or None,
        "calls": trace.calls,
        "timings_ms": _timings(trace),
        "usage": _usage(trace),
        "tokens_per_second": None if trace.speed is None else round(trace.speed, 2),
        "cost": None if trace.cost is None else trace.cost / 10**12,
    }
    return (
        {**short, "spans": _spans(trace), "prompt": trace.prompt or None, "answer": trace.answer or None}
        if whole
        else short
    )


def instant(microseconds: int) -> str:
    """A time as ISO has it, in UTC."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="milliseconds")


def _error(trace: Trace) -> dict[str, str] | None:
    return {"code": trace.error, "cause": trace.cause, "message": trace.message} if trace.error else None


def _timings(trace: Trace) -> dict[str, float | None]:
    phases = {name: trace.spent(name) for name in PHASES}
    every = {"total": trace.total_us, **phases, "ttft": trace.ttft_us, "gateway": trace.gateway_us}
    return {name: None if took is None else took / 1000 for name, took in every.items()}


def _usage(trace: Trace) -> dict[str, int | bool]:
    return {
        "input_tokens": trace.input_tokens,
        "cached_input_tokens": trace.cached_input_tokens,
        "output_tokens": trace.output_tokens,
        "reasoning_tokens": trace.reasoning_tokens,
        "total_tokens": trace.tokens,
        "estimated": trace.estimated,
    }


def _spans(trace: Trace) -> list[dict[str, Any]]:
    """Every stay, in the order of beginning."""
    ordered = sorted(trace.spans, key=lambda span: span[1])
    return [{"name": name, "start_ms": began / 1000, "duration_ms": took / 1000} for name, began, took in ordered]
