"""One request on its way: what is learnt of it as it passes, from the door and from the ledger."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from enginehouse.core.traces.link import Link
from enginehouse.core.traces.trace import Span, Trace, cause_of, trace_id, words_of
from enginehouse.errors import CallerGone, EnginehouseError
from enginehouse.telemetry.redaction import scrubbed
from enginehouse.types import Principal, Request, Timings

__all__ = ["Spent", "Way", "own_time"]

_OTHERS = frozenset({"queue", "load", "upstream"})
"""Phases whose time is not the service's own doing."""
_MICRO = 1_000_000
_NOBODY = Principal(user="")


class Spent(Protocol):
    """What the ledger says of a request: `core.ledger.record.UsageRecord`."""

    @property
    def model(self) -> str: ...
    @property
    def deployment(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def cached_input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...
    @property
    def estimated(self) -> bool: ...
    @property
    def cost(self) -> int | None: ...


class Way:
    """Held by the door and by each of the request's entries in the ledger; over when all have let go.

    Args:
        time: microseconds since 1970, UTC: when it came.
        began: the same on the event loop's clock.
        path: by which it came; empty where it did not come by a route of its own.
    """

    __slots__ = (
        "asked",
        "began",
        "error",
        "held",
        "link",
        "path",
        "principal",
        "records",
        "request_id",
        "status",
        "time",
        "timings",
    )

    def __init__(self, timings: Timings, request_id: str, path: str, time: int, began: float) -> None:
        self.timings = timings
        self.principal = _NOBODY
        self.request_id = request_id
        self.path = path
        self.time = time
        self.began = began
        self.held = 0
        self.status = 0
        self.asked: Request | None = None
        self.error: BaseException | None = None
        self.records: list[Spent] = []
        self.link: Link | None = None

    def over(self, now: float) -> Trace:
        """What is kept of it.

        Args:
            now: on the event loop's clock.
        """
        asked, records, timings, principal = self.asked, self.records, self.timings, self.principal
        last = _named(records)
        came = self.began
        total = round((now - came) * _MICRO)
        spans = [(s.name, round((s.began - came) * _MICRO), round(s.seconds * _MICRO)) for s in timings.spans]
        code, message = self._failure(last)
        spent = records[0] if len(records) == 1 else _together(records)
        return Trace(
            id=trace_id(self.time),
            time=self.time,
            request_id=self.request_id,
            trace_id=self.link.trace_id if self.link else "",
            user_id=principal.user,
            key_id=principal.key,
            tenant=principal.tenant,
            role=principal.role,
            tier=principal.tier,
            model=last.model if last else "",
            asked=asked.model[:200] if asked else "",
            deployment=last.deployment if last else "",
            engine=last.engine if last else "",
            provider=last.provider if last else "",
            face=asked.face if asked else "",
            path=self.path,
            operation=asked.operation.value if asked else "",
            stream=asked.stream if asked else False,
            priority=asked.priority.value if asked else "",
            status=499 if code == CallerGone.code and self.path else self.status,
            outcome=self._outcome(code),
            error=code,
            cause=cause_of(message) if message else "",
            message=words_of(message) if message else "",
            cache=timings.cache if asked else "",
            guard=timings.guard or "",
            calls=len(records),
            input_tokens=spent.input_tokens,
            cached_input_tokens=spent.cached_input_tokens,
            output_tokens=spent.output_tokens,
            reasoning_tokens=spent.reasoning_tokens,
            estimated=spent.estimated,
            cost=spent.cost,
            total_us=total,
            ttft_us=None if timings.ttft is None else round(timings.ttft * _MICRO),
            gateway_us=own_time(total, spans),
            phases=tuple(name for name, _, _ in spans),
            times=tuple(time for _, *both in spans for time in both),
        )

    def _failure(self, last: Spent | None) -> tuple[str, str]:
        """Code and words; what the door saw comes first, since some errors of the ledger's were mended."""
        error = self.error
        if isinstance(error, EnginehouseError):
            return error.code, scrubbed(error.message)
        if error is not None:
            return last.error if last and last.error else EnginehouseError.code, type(error).__name__
        if last is not None and last.outcome != "completed" and not self.path:
            return last.error, ""
        return "", ""

    def _outcome(self, code: str) -> str:
        if code == CallerGone.code:
            return "cancelled"
        if not code:
            return "completed"
        return "failed" if self.records else "refused"


def own_time(total: int, spans: Sequence[Span]) -> int:
    """What others did not take; the ledger has its turn while the engine's answer is still open.

    Args:
        total: microseconds of the whole.
        spans: as `Trace` has them.
    """
    others = inside = 0
    for name, _, took in spans:
        if name in _OTHERS:
            others += took
        elif name == "ledger":
            inside += took
    return max(0, total - others + inside if others else total)


def _named(records: Sequence[Spent]) -> Spent | None:
    """The last one of a model, or else the last one."""
    for one in reversed(records):
        if one.model:
            return one
    return records[-1] if records else None


class _Sum(Struct, frozen=True, gc=False):
    """What several records came to."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost: int | None


def _together(records: Sequence[Spent]) -> _Sum:
    """An unknown price makes the whole unknown."""
    costs = [one.cost for one in records if one.cost is not None]
    return _Sum(
        input_tokens=sum([one.input_tokens for one in records]),
        cached_input_tokens=sum([one.cached_input_tokens for one in records]),
        output_tokens=sum([one.output_tokens for one in records]),
        reasoning_tokens=sum([one.reasoning_tokens for one in records]),
        estimated=any(one.estimated for one in records),
        cost=sum(costs) if len(costs) == len(records) else None,
    )
