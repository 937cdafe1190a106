"""What is kept of one request's way: who asked, what became of it, where its time went, what it took."""

import re
import secrets
from collections.abc import Callable
from itertools import count
from typing import TypeAlias

from msgspec import Struct

__all__ = [
    "CACHED",
    "OUTCOMES",
    "PHASES",
    "Span",
    "Trace",
    "cause_of",
    "pace_of",
    "speed_of",
    "trace_id",
    "trace_in_order",
    "words_of",
]

OUTCOMES = ("completed", "cancelled", "failed", "refused")
"""How a request may end; refused is one that never came as far as the models."""
PHASES = ("identity", "limits", "cache", "queue", "load", "upstream", "ledger")
"""The stays that are told apart, in the usual order."""
CACHED = frozenset({"exact", "semantic"})
"""Where answers from memory are from."""

Span: TypeAlias = tuple[str, int, int]
"""A phase, when it began, and how long it was."""

_LONGEST = 200
_WORDS = 500
_count = count(secrets.randbits(47)).__next__
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\b[0-9a-fA-F]{8,}\b|\d+(?:\.\d+)?")


class Trace(Struct, frozen=True, gc=False):
    """One request, after its end. Times are in microseconds, money in picodollars."""

    id: str
    """Unique, in the order of time: the microseconds in 14 hex digits, and 12 more from `trace_id`."""
    time: int
    """Since 1970, UTC: when it came."""
    request_id: str
    trace_id: str = ""
    """Of the distributed trace it is part of, where it is part of one."""
    user_id: str = ""
    key_id: str = ""
    tenant: str = ""
    role: str = ""
    tier: str = ""
    model: str = ""
    """Our id of it; empty when none was found by the name."""
    asked: str = ""
    """The model as the caller named it."""
    deployment: str = ""
    engine: str = ""
    provider: str = ""
    face: str = ""
    path: str = ""
    operation: str = ""
    stream: bool = False
    priority: str = ""
    status: int = 0
    """What HTTP was told, 499 for a caller who left; 0 where nothing was said over HTTP."""
    outcome: str = "completed"
    error: str = ""
    """The code of what went wrong."""
    cause: str = ""
    """What went wrong without what is particular to this one, so that the like can be counted."""
    message: str = ""
    """What went wrong, in words."""
    cache: str = ""
    """Where the answer is from: `exact`, `semantic`, `miss` or `bypass`."""
    guard: str = ""
    calls: int = 0
    """How many usage records it has: some routes ask models several times."""
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cost: int | None = None
    """None when a price is unknown."""
    total_us: int = 0
    ttft_us: int | None = None
    """From the engine having the request to its first piece, of a stream."""
    gateway_us: int = 0
    """What neither the line, nor a load, nor the engine took."""
    phases: tuple[str, ...] = ()
    """Its stays, in the order in which they ended; of many requests they are the same."""
    times: tuple[int, ...] = ()
    """Of each phase when it began after the request came, and how long it was."""
    prompt: str = ""
    answer: str = ""

    def spent(self, phase: str) -> int | None:
        """In all stays of this phase; None when there was none."""
        stays = [took for name, _, took in self.spans if name == phase]
        return sum(stays) if stays else None

    @property
    def spans(self) -> list[Span]:
        """Each phase with its times."""
        return list(zip(self.phases, self.times[::2], self.times[1::2], strict=True))

    @property
    def tokens(self) -> int:
        """All that were read or written."""
        return self.input_tokens + self.cached_input_tokens + self.output_tokens + self.reasoning_tokens

    @property
    def written(self) -> int:
        """Tokens the model wrote."""
        return self.output_tokens + self.reasoning_tokens

    @property
    def pace(self) -> float | None:
        """Seconds between two tokens of a stream, on the mean; None where that cannot be said."""
        upstream = None if self.cache in CACHED else self.spent("upstream")
        return None if upstream is None else pace_of(self.written, upstream, self.ttft_us)

    @property
    def speed(self) -> float | None:
        """Tokens that were written a second while the engine was at it; None where it wrote none."""
        upstream = None if self.cache in CACHED else self.spent("upstream")
        return None if upstream is None else speed_of(self.written, upstream)


trace_in_order: Callable[..., Trace] = Trace
"""A trace from what it says, in the order of the fields: for who makes thousands a second."""


def trace_id(time: int) -> str:
    """A name for the trace of a request that came at this time.

    Its last part counts up from a random number, which is as good as a random one each time, and cheaper.
    """
    return "%026x" % (time << 48 | _count())


def pace_of(written: int, upstream: int, ttft: int | None) -> float | None:
    """Seconds between two tokens, of so many in so many microseconds; None where that cannot be said."""
    return None if ttft is None or written < 2 else max(upstream - ttft, 0) / 1_000_000 / (written - 1)


def speed_of(written: int, upstream: int) -> float | None:
    """Tokens a second, of so many in so many microseconds; None where there were none."""
    return written * 1_000_000 / upstream if written and upstream else None


def cause_of(message: str) -> str:
    """A message without what is particular to one request: names in quotes, numbers, digests."""
    return _PARTICULAR.sub("…", message)[:_LONGEST]


def words_of(message: str) -> str:
    """A message, no longer than anybody wants to read."""
    return message[:_WORDS]
