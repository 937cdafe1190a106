"""What was decided for the latest requests, for who asks why, and for who says that an answer was wrong."""

from collections import deque

from msgspec import Struct

from enginehouse.core.cache.types import Explanation, Scope
from enginehouse.types import Principal

__all__ = ["Decision", "Decisions"]

_KEPT = 5_000


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """One request's."""

    request_id: str
    user: str
    tenant: str
    model: str
    at: float
    """Seconds since 1970."""
    tier: str
    """`exact`, `semantic`, `miss` or `bypass`."""
    reason: str = ""
    """Why it was not answered from the cache, as a kind of `rules`, or why nobody looked."""
    question: str = ""
    """Opaque id of the question; empty when it has none."""
    entry: str = ""
    """Opaque id of the entry that was served; on trial, of the one that would have been."""
    saved_tokens: int = 0
    """That the hit did not take; with it, picodollars where a price is known, and the engine's seconds."""
    saved_cost: int | None = None
    saved_seconds: float = 0.0
    scope: Scope = b""
    """Within which others were looked for that mean the same; empty when none were."""
    words: str = ""
    """Those of the last user turn, as long as `scope` is there."""
    explanation: Explanation | None = None


class Decisions:
    """The latest ones. Every request leaves one, and hardly anybody asks: it is looked for then."""

    def __init__(self) -> None:
        self._kept: deque[Decision] = deque(maxlen=_KEPT)

    def note(self, decision: Decision) -> None:
        """Remember one; of the same request's the last one counts."""
        self._kept.append(decision)

    def of(self, principal: Principal, request_id: str) -> Decision | None:
        """What was decided for this caller's request; an admin may ask about everybody's."""
        found = [one for one in reversed(self._kept) if one.request_id == request_id]
        own = [one for one in found if (one.tenant, one.user) == (principal.tenant, principal.user)]
        if own or principal.role != "admin":
            return own[0] if own else None
        return found[0] if found else None
