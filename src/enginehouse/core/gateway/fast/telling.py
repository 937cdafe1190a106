"""What is told of a request on the fast path: its record for the ledger, and its trace for telemetry.

Both are filled in by the order of their fields: a call with forty names would make a dictionary of them first, and
take three times as long.
"""

from typing import TYPE_CHECKING, NamedTuple

from enginehouse.core.ledger.digests import canonical_plain
from enginehouse.core.ledger.record import FREE, UsageRecord, id_at, record_in_order, sane_usage
from enginehouse.core.traces.trace import Trace, cause_of, trace_id, trace_in_order, words_of
from enginehouse.types import Usage

if TYPE_CHECKING:
    from enginehouse.core.gateway.fast.run import Run
    from enginehouse.core.gateway.fast.tracks import Track

__all__ = ["Outcome", "in_records", "in_traces", "record_of", "trace_of"]

_MICRO = 1_000_000
_NOTHING = Usage()
_FOUND = ("identity", "cache", "limits", "ledger")
"""The stays of a request whose answer is kept."""
_MISSED = ("identity", "cache", "limits", "queue", "load", "upstream", "ledger")
"""Those of one that an engine answered."""
_UNKNOWN = (None, None, None)
"""What it cost, where nobody knows the price."""


class Outcome(NamedTuple):
    """How a request ended."""

    name: str
    """`completed`, `cancelled` or `failed`."""
    error: str
    """The code of what went wrong."""
    message: str
    status: int
    """What HTTP was told, 499 for a caller who left."""


def in_records(track: "Track") -> tuple[str, ...]:
    """What all records of a track say, from `UsageRecord.user_id` to `operation`."""
    return (
        track.user,
        track.key,
        track.tenant,
        track.tier,
        track.model.id,
        track.version,
        track.deployment.id,
        track.engine,
        track.provider,
        track.upstream_model,
        track.face,
        track.operation,
    )


def in_traces(track: "Track") -> tuple[str, ...]:
    """What all traces of a track say, from `Trace.user_id` to `operation`."""
    return (
        track.user,
        track.key,
        track.tenant,
        track.principal.role,
        track.tier,
        track.model.id,
        track.name,
        track.deployment.id,
        track.engine,
        track.provider,
        track.face,
        track.path,
        track.operation,
    )


def record_of(run: "Run", outcome: Outcome) -> UsageRecord:
    """Its record, with its cost."""
    track = run.track
    at = int(run.at * _MICRO)
    usage = _NOTHING if run.usage is None else sane_usage(run.usage)
    fresh, cached, output, reasoning = usage.input, usage.cached_input, usage.output, usage.reasoning
    slots = track.deployment.slots
    if run.upstream is None:
        upstream, waited, money = None, None, FREE
    else:
        upstream, waited = round(run.upstream * _MICRO), 0
        money_for, written = track.rooms.ledger.prices.money_for, output + reasoning
        model, provider, there = track.model.id, track.provider, track.upstream_model
        money = money_for(model, provider, there, at, fresh, cached, written, upstream, slots)
    asked = canonical_plain(run.body, run.asked.anonymous_brief)
    price = None if money is None else money.price
    came = track.tags, price, False, id_at(at), run.request_id, at  # who has a budget goes the general way
    became = (
        run.asked.stream,
        outcome.name,
        outcome.error,
        "exact" if upstream is None else "",
        fresh,
        cached,
        output,
        reasoning,
        usage.estimated,
        *(_UNKNOWN if money is None else (money.input, money.output, money.total)),
        slots,
        waited,  # for a place
        waited,  # for the model
        None if run.ttft is None else round(run.ttft * _MICRO),
        upstream,
        round((run.over - run.began) * _MICRO),
        track.digests.of_canonical(track.principal, asked),
    )
    return record_in_order(*(came + track.in_records + became))


def trace_of(run: "Run", outcome: Outcome) -> Trace:
    """What telemetry keeps of it."""
    track, record, message = run.track, run.record, outcome.message
    assert record is not None, "a trace comes after the record"
    at, upstream = record.time, record.upstream_us
    total = round((run.clock() - run.began) * _MICRO)
    came = trace_id(at), at, run.request_id, "" if run.link is None else run.link.trace_id
    became = (
        record.stream,
        "normal",
        outcome.status,
        outcome.name,
        outcome.error,
        cause_of(message) if message else "",
        words_of(message) if message else "",
        run.look.tier,
        "",  # no guard either
        1,
        record.input_tokens,
        record.cached_input_tokens,
        record.output_tokens,
        record.reasoning_tokens,
        record.estimated,
        record.cost,
        total,
        record.ttft_us,
        total - (upstream or 0),
        _MISSED if upstream is not None else _FOUND,
        _times(run, record.total_us, upstream),
    )
    return trace_in_order(*(came + track.in_traces + became))


def _times(run: "Run", over: int, upstream: int | None) -> tuple[int, ...]:
    """Its stays, by the few looks at the clock that it took.

    Args:
        over: microseconds until it was answered.
        upstream: those of the engine.
    """
    began = run.began
    known, sought = round((run.begun - began) * _MICRO), round((run.sought - began) * _MICRO)
    wrote = round(run.wrote * _MICRO)
    if upstream is None:
        return 0, known, known, sought - known, sought, 0, over, wrote
    sat, sent = round((run.sat - began) * _MICRO), round((run.sent - began) * _MICRO)
    return 0, known, known, sought - known, sought, 0, sought, 0, sought, sat - sought, sent, upstream, over, wrote
