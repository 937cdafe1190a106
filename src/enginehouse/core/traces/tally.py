"""What there was since the start, in numbers that can be added, so that several replicas can tell it as one."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from msgspec import Struct, structs

from enginehouse.core.traces.counts import Counts, ModelCounts
from enginehouse.telemetry.histograms import SECONDS, quantile

__all__ = ["Overall", "Tally", "added", "overall_of", "percentiles", "tally_of"]

_OUTCOMES = ("completed", "cancelled", "failed", "refused")


class Tally(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one model, or of all. Times are by bucket of `SECONDS`."""

    outcomes: Mapping[str, int] = {}
    cache: Mapping[str, int] = {}
    read: int = 0
    """Tokens, from memory or not."""
    written: int = 0
    cost: int = 0
    """In picodollars."""
    total: Sequence[int] = ()
    ttft: Sequence[int] = ()
    queue: Sequence[int] = ()

    def totals(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "requests": sum(self.outcomes.values()),
            **{outcome: self.outcomes.get(outcome, 0) for outcome in _OUTCOMES},
            "input_tokens": self.read,
            "output_tokens": self.written,
            "cost": Decimal(self.cost).scaleb(-12),
        }

    def times(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"latency_ms": percentiles(self.total), "ttft_ms": percentiles(self.ttft)}

    def hits(self) -> dict[str, Any]:
        """What the cache did, as JSON has it."""
        exact, semantic, misses = (self.cache.get(name, 0) for name in ("exact", "semantic", "miss"))
        asked = exact + semantic + misses
        return {
            "l1_hits": exact,
            "l2_hits": semantic,
            "misses": misses,
            "bypassed": self.cache.get("bypass", 0),
            "hit_rate": round((exact + semantic) / asked, 4) if asked else 0.0,
        }


class Overall(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of all requests, and of every model."""

    all: Tally = Tally()
    errors: Mapping[str, int] = {}
    """By code."""
    models: Mapping[str, Tally] = {}

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            **self.all.times(),
            "queue_wait_ms": percentiles(self.all.queue),
            "cache": self.all.hits(),
            "errors": dict(Counter(self.errors).most_common()),
            "by_model": {name: {**one.totals(), **one.times()} for name, one in self.models.items()},
        }

    def since(self, told: "Overall") -> "Overall":
        """The same with those models only that have changed since."""
        news = {name: one for name, one in self.models.items() if told.models.get(name) != one}
        return structs.replace(self, models=news)

    def learnt(self, news: "Overall") -> "Overall":
        """What is known when this is told of some models."""
        return structs.replace(news, models={**self.models, **news.models})


def overall_of(counts: Counts) -> Overall:
    """What was counted here."""
    errors = Counter[str]()
    for (_, code), count in counts.errors.items():
        errors[code] += count
    models = {name or "unknown": tally_of(of) for name, of in counts.models.items()}
    return Overall(all=tally_of(counts.all), errors=dict(errors), models=models)


def tally_of(counts: ModelCounts) -> Tally:
    """What was counted of one model, or of all."""
    return Tally(
        outcomes=dict(counts.outcomes),
        cache=dict(counts.cache),
        read=counts.input + counts.read_again,
        written=counts.written + counts.reasoning,
        cost=counts.cost,
        total=list(counts.total.counts),
        ttft=list(counts.ttft.counts),
        queue=list(counts.queue.counts),
    )


def added(every: Sequence[Overall]) -> Overall:
    """Of several replicas."""
    names = dict.fromkeys(name for one in every for name in one.models)
    return Overall(
        all=_sum([one.all for one in every]),
        errors=_counts(one.errors for one in every),
        models={name: _sum([one.models[name] for one in every if name in one.models]) for name in names},
    )


def percentiles(counts: Sequence[int]) -> dict[str, float | None]:
    """Of a histogram over `SECONDS`, in milliseconds."""
    found = {name: quantile(SECONDS, counts, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {name: None if value is None else round(value * 1000, 2) for name, value in found.items()}


def _sum(tallies: Sequence[Tally]) -> Tally:
    return Tally(
        outcomes=_counts(one.outcomes for one in tallies),
        cache=_counts(one.cache for one in tallies),
        read=sum(one.read for one in tallies),
        written=sum(one.written for one in tallies),
        cost=sum(one.cost for one in tallies),
        total=_buckets([one.total for one in tallies]),
        ttft=_buckets([one.ttft for one in tallies]),
        queue=_buckets([one.queue for one in tallies]),
    )


def _counts(every: Iterable[Mapping[str, int]]) -> dict[str, int]:
    counts = Counter[str]()
    for one in every:
        counts.update(one)
    return dict(counts)


def _buckets(every: Sequence[Sequence[int]]) -> list[int]:
    return [sum(counts) for counts in zip_longest(*every, fillvalue=0)]
