"""What the cache has done since the start of this process."""

import math
from collections import Counter, deque
from typing import Any

from enginehouse.core.cache.types import Entry

__all__ = ["CacheStats"]

_KEPT = 1024
"""Latest times of each stage from which percentiles are told."""


class CacheStats:
    """Counters; everything is told by `told()`."""

    def __init__(self) -> None:
        self._outcomes = Counter[str]()
        self._reasons = Counter[str]()
        self._unfit = Counter[str]()
        self._stored = self._corroborated = 0
        self._tokens = self._failed = 0
        self._cost = 0
        self._unpriced = 0
        self._seconds = 0.0
        self._stages: dict[str, deque[float]] = {}

    def outcome(self, tier: str, reason: str = "") -> None:
        """A question was answered from this tier, or was a `miss` or `bypass` for a reason."""
        self._outcomes[tier] += 1
        if reason:
            self._reasons[reason] += 1

    def spared(self, entry: Entry) -> None:
        """An engine need not give this answer again."""
        self._tokens += entry.tokens
        self._seconds += entry.seconds
        self._cost += entry.cost or 0
        self._unpriced += entry.cost is None

    def kept(self) -> None:
        """An answer was kept."""
        self._stored += 1

    def corroborated(self) -> None:
        """One became its whole tenant's, since a second writer was told the same."""
        self._corroborated += 1

    def meaning_failed(self) -> None:
        """Nobody could say whether there is a question that means the same."""
        self._failed += 1

    def unfit(self, kind: str) -> None:
        """An answer was not."""
        self._unfit[kind] += 1

    def took(self, stage: str, seconds: float) -> None:
        """So long a stage took."""
        self._stages.setdefault(stage, deque(maxlen=_KEPT)).append(seconds)

    def told(self) -> dict[str, Any]:
        """All of it; money in US dollars, times in milliseconds unless they say otherwise."""
        hits = self._outcomes["exact"] + self._outcomes["semantic"]
        asked = hits + self._outcomes["miss"]
        return {
            "hits": hits,
            "misses": self._outcomes["miss"],
            "bypassed": self._outcomes["bypass"],
            "hit_rate": round(hits / asked, 4) if asked else 0.0,
            "exact_hits": self._outcomes["exact"],
            "semantic_hits": self._outcomes["semantic"],
            "semantic_failures": self._failed,
            "bypassed_by_reason": dict(self._reasons.most_common()),
            "stored": self._stored,
            "corroborated": self._corroborated,
            "not_stored_by_reason": dict(self._unfit.most_common()),
            "saved": {
                "tokens": self._tokens,
                "cost": self._cost / 10**12,
                "unpriced_hits": self._unpriced,
                "seconds": round(self._seconds, 3),
            },
            "latency_ms": {stage: _percentiles(times) for stage, times in self._stages.items()},
        }


def _percentiles(times: deque[float]) -> dict[str, float]:
    ordered = sorted(times)
    named = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    found = {name: ordered[max(0, math.ceil(share * len(ordered)) - 1)] for name, share in named}
    return {name: round(seconds * 1000, 4) for name, seconds in found.items()}
