"""A request's place in a distributed trace, as W3C Trace Context writes it."""

import re
import secrets
from collections.abc import Mapping

from msgspec import Struct

__all__ = ["Link", "linked"]

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_MOST_STATE = 512
_SAMPLED = "01"


class Link(Struct, frozen=True, kw_only=True):
    """Where it hangs in the trace."""

    trace_id: str
    """32 hex digits."""
    parent_id: str = ""
    """The caller's span, 16 hex digits; empty where it has none."""
    span_id: str = ""
    """Our own; empty where we make no spans, and the caller's is passed on."""
    flags: str = _SAMPLED
    state: str = ""
    """The caller's `tracestate`, which is passed on as it is."""

    @property
    def sampled(self) -> bool:
        """Whether the caller wants it recorded; without a caller's word it is."""
        return bool(int(self.flags, 16) & 1)

    def headers(self) -> Mapping[str, str]:
        """For requests that are made for this one."""
        told = {"traceparent": f"00-{self.trace_id}-{self.span_id or self.parent_id}-{self.flags}"}
        return {**told, "tracestate": self.state} if self.state else told


def linked(traceparent: str | None, tracestate: str | None, *, ours: bool) -> Link | None:
    """The place of a request that came with these headers; None where it is part of no trace.

    Args:
        ours: whether spans are made of it: then it begins a trace where it is part of none.
    """
    found = _TRACEPARENT.fullmatch(traceparent or "")
    span_id = secrets.token_hex(8) if ours else ""
    if found is None:
        return Link(trace_id=secrets.token_hex(16), span_id=span_id) if ours else None
    state = tracestate or ""
    sane = state.isascii() and state.isprintable() and len(state) <= _MOST_STATE
    state = state if sane else ""
    return Link(trace_id=found[1], parent_id=found[2], flags=found[3], span_id=span_id, state=state)
