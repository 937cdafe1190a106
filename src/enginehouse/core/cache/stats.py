"""What the cache has done since the start of this process."""

import math
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from enginehouse.core.cache.types import Entry
from enginehouse.telemetry.histograms import Histogram

__all__ = ["PICODOLLARS", "CacheStats", "Stage"]

_KEPT = 1024
"""Latest times of each stage from which percentiles are told."""
PICODOLLARS = 10**12
"""In a dollar."""


class Stage:
    """How long one step took."""

    BOUNDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
    """Seconds up to which times are counted together; what takes longer is counted last."""

    def __init__(self) -> None:
        self._counted = Histogram(self.BOUNDS)
        self._waiting: list[float] = []
        self._latest: deque[float] = deque(maxlen=_KEPT)

    def took(self, *seconds: float) -> None:
        """So long, this time or some times; it is added up when somebody reads, or when enough of it waits."""
        self._waiting += seconds
        if len(self._waiting) >= _KEPT:
            self._add_up()

    @property
    def was_taken(self) -> bool:
        """Whether it ever was."""
        return bool(self._waiting or self._latest)

    @property
    def counted(self) -> Histogram:
        """All times, in seconds."""
        self._add_up()
        return self._counted

    def percentiles(self) -> dict[str, float]:
        """Of the latest times, in milliseconds."""
        self._add_up()
        ordered = sorted(self._latest)
        named = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        found = {name: ordered[max(0, math.ceil(share * len(ordered)) - 1)] for name, share in named}
        return {name: round(seconds * 1000, 4) for name, seconds in found.items()}

    def _add_up(self) -> None:
        self._latest += self._waiting
        self._counted.note_all(self._waiting)
        self._waiting.clear()


class CacheStats:
    """Counters that only grow; `told()` says them all."""

    def __init__(self) -> None:
        self.outcomes = Counter[str](exact=0, semantic=0, miss=0, bypass=0)
        """Requests by tier, or as `miss` or `bypass`."""
        self.reasons = Counter[str]()
        """Why nobody looked."""
        self.refused = Counter[str]()
        """Why an answer was not kept."""
        self.stored = self.shared = self.failed = 0
        """Answers that were kept; that became a whole tenant's; look-ups by meaning that could not be made."""
        self.saved_tokens = self.saved_cost = self.unpriced_hits = 0
        """Tokens and picodollars that hits did not take, and hits of whose price nothing is known."""
        self.saved_seconds = 0.0
        self._stages: dict[str, Stage] = {}

    def outcome(self, tier: str, reason: str = "") -> None:
        """A question was answered from this tier, or was a `miss` or `bypass` for a reason."""
        self.outcomes[tier] += 1
        if reason:
            self.reasons[reason] += 1

    def spared(self, entry: Entry) -> None:
        """An engine need not give this answer again."""
        self.saved_tokens += entry.tokens
        self.saved_seconds += entry.seconds
        self.saved_cost += entry.cost or 0
        self.unpriced_hits += entry.cost is None

    def kept(self) -> None:
        """An answer was kept."""
        self.stored += 1

    def corroborated(self) -> None:
        """One became its whole tenant's, since a second writer was told the same."""
        self.shared += 1

    def meaning_failed(self) -> None:
        """Nobody could say whether there is a question that means the same."""
        self.failed += 1

    def unfit(self, kind: str) -> None:
        """An answer was not."""
        self.refused[kind] += 1

    def took(self, stage: str, *seconds: float) -> None:
        """So long a stage took, once or some times."""
        self.stage(stage).took(*seconds)

    def stage(self, name: str) -> Stage:
        """One step's times."""
        known = self._stages.get(name)
        if known is None:
            known = self._stages[name] = Stage()
        return known

    @property
    def stages(self) -> Mapping[str, Stage]:
        """All that were taken, by name."""
        return {name: stage for name, stage in self._stages.items() if stage.was_taken}

    @property
    def saved_dollars(self) -> float:
        """What hits would have cost, as far as prices are known."""
        return self.saved_cost / PICODOLLARS

    def told(self) -> dict[str, Any]:
        """All of it; money in US dollars, times in milliseconds unless they say otherwise."""
        hits = self.outcomes["exact"] + self.outcomes["semantic"]
        asked = hits + self.outcomes["miss"]
        return {
            "hits": hits,
            "misses": self.outcomes["miss"],
            "bypassed": self.outcomes["bypass"],
            "hit_rate": round(hits / asked, 4) if asked else 0.0,
            "exact_hits": self.outcomes["exact"],
            "semantic_hits": self.outcomes["semantic"],
            "semantic_failures": self.failed,
            "bypassed_by_reason": dict(self.reasons.most_common()),
            "stored": self.stored,
            "corroborated": self.shared,
            "not_stored_by_reason": dict(self.refused.most_common()),
            "saved": {
                "tokens": self.saved_tokens,
                "cost": self.saved_dollars,
                "unpriced_hits": self.unpriced_hits,
                "seconds": round(self.saved_seconds, 3),
            },
            "latency_ms": {name: stage.percentiles() for name, stage in self.stages.items()},
        }
