"""What is told of a request on the fast path: its record for the ledger, and its trace for telemetry."""

from typing import TYPE_CHECKING, NamedTuple

from enginehouse.core.ledger.digests import canonical_plain
from enginehouse.core.ledger.record import FREE, UsageRecord, id_at, sane_usage
from enginehouse.core.traces.trace import Trace, cause_of, trace_id, words_of
from enginehouse.types import Usage

if TYPE_CHECKING:
    from enginehouse.core.gateway.fast.run import Run

__all__ = ["Outcome", "record_of", "trace_of"]

_NOTHING = Usage()


class Outcome(NamedTuple):
    """How a request ended."""

    name: str
    """`completed`, `cancelled` or `failed`."""
    error: str
    """The code of what went wrong."""
    message: str
    status: int
    """What HTTP was told, 499 for a caller who left."""


def record_of(run: "Run", outcome: Outcome) -> UsageRecord:
    """Its record, with its cost."""
    track = run.track
    at = int(run.at * 1_000_000)
    usage = _NOTHING if run.usage is None else sane_usage(run.usage)
    fresh, cached, output, reasoning = usage.input, usage.cached_input, usage.output, usage.reasoning
    if run.upstream is None:
        upstream, money = None, FREE
    else:
        upstream, slots = round(run.upstream * 1_000_000), track.deployment.slots
        priced = track.model.id, track.provider, track.upstream_model, at
        money = track.rooms.ledger.prices.money_for(*priced, fresh, cached, output + reasoning, upstream, slots)
    return UsageRecord(
        id=id_at(at),
        request_id=run.request_id,
        time=at,
        user_id=track.user,
        key_id=track.key,
        tenant=track.tenant,
        tier=track.tier,
        tags=track.tags,
        model=track.model.id,
        version=track.version,
        deployment=track.deployment.id,
        engine=track.engine,
        provider=track.provider,
        upstream_model=track.upstream_model,
        slots=track.deployment.slots,
        face=track.face,
        operation=track.operation,
        stream=run.asked.stream,
        outcome=outcome.name,
        error=outcome.error,
        cache="exact" if upstream is None else "",
        digest=track.digests.of_canonical(track.principal, canonical_plain(run.body, run.asked.anonymous)),
        input_tokens=fresh,
        cached_input_tokens=cached,
        output_tokens=output,
        reasoning_tokens=reasoning,
        estimated=usage.estimated,
        input_cost=None if money is None else money.input,
        output_cost=None if money is None else money.output,
        cost=None if money is None else money.total,
        price=None if money is None else money.price,
        queue_us=None if upstream is None else 0,
        load_us=None if upstream is None else 0,
        ttft_us=None if run.ttft is None else round(run.ttft * 1_000_000),
        upstream_us=upstream,
        total_us=round((run.over - run.began) * 1_000_000),
    )


def trace_of(run: "Run", outcome: Outcome) -> Trace:
    """What telemetry keeps of it."""
    track, record, began = run.track, run.record, run.began
    assert record is not None, "a trace comes after the record"
    total = round((run.clock() - began) * 1_000_000)
    upstream = record.upstream_us
    return Trace(
        id=trace_id(record.time),
        time=record.time,
        request_id=run.request_id,
        user_id=track.user,
        key_id=track.key,
        tenant=track.tenant,
        role=track.principal.role,
        tier=track.tier,
        model=record.model,
        asked=track.name,
        deployment=record.deployment,
        engine=record.engine,
        provider=record.provider,
        face=track.face,
        path=track.path,
        operation=track.operation,
        stream=record.stream,
        priority="normal",
        status=outcome.status,
        outcome=outcome.name,
        error=outcome.error,
        cause=cause_of(outcome.message) if outcome.message else "",
        message=words_of(outcome.message) if outcome.message else "",
        cache=run.look.tier,
        calls=1,
        input_tokens=record.input_tokens,
        cached_input_tokens=record.cached_input_tokens,
        output_tokens=record.output_tokens,
        reasoning_tokens=record.reasoning_tokens,
        estimated=record.estimated,
        cost=record.cost,
        total_us=total,
        ttft_us=record.ttft_us,
        gateway_us=max(0, total - (upstream or 0)),
        spans=_spans(run, upstream),
    )


def _spans(run: "Run", upstream: int | None) -> tuple[tuple[str, int, int], ...]:
    """Its stays, by the few looks at the clock that it took."""
    began = run.began
    known, sought = round((run.begun - began) * 1_000_000), round((run.sought - began) * 1_000_000)
    over, wrote = round((run.over - began) * 1_000_000), round(run.wrote * 1_000_000)
    first = ("identity", 0, known), ("cache", known, sought - known), ("limits", sought, 0)
    if upstream is None:
        return (*first, ("ledger", over, wrote))
    sat, sent = round((run.sat - began) * 1_000_000), round((run.sent - began) * 1_000_000)
    return (
        *first,
        ("queue", sought, 0),
        ("load", sought, max(0, sat - sought)),
        ("upstream", sent, upstream),
        ("ledger", over, wrote),
    )
