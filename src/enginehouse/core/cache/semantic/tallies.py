"""What the semantic cache counted since the start of the process."""

from collections import Counter
from typing import Any

from enginehouse.core.cache.semantic.bound import interval
from enginehouse.core.cache.semantic.monitor import Monitor

__all__ = ["Tallies"]


class Tallies:
    """Counters, as `GET /v1/cache/stats` tells them."""

    def __init__(self) -> None:
        self.stored = self.looked = self.hits = self.shadow = self.audits = self.undecided = self.alarms = 0
        self.vetoes: Counter[str] = Counter()

    def told(self, monitor: Monitor) -> dict[str, Any]:
        """Everything, with what the labels say."""
        labels, wrong = monitor.everyone.labels, monitor.everyone.wrong
        low, high = interval(wrong, labels)
        return {
            "stored": self.stored,
            "lookups": self.looked,
            "hits": self.hits,
            "shadow_hits": self.shadow,
            "audits": self.audits,
            "vetoes": dict(self.vetoes),
            "audited": labels,
            "wrong": wrong,
            "wrong_rate": {"low": low, "high": high, "confidence": 0.95},
            "undecided": self.undecided,
            "alarms": self.alarms,
            "scopes": monitor.counts(),
        }
