"""The cache in `GET /metrics`: what `/v1/cache/stats` tells, but for requests by tier, which `meters.py` counts."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from enginehouse.core.cache.cache import Cache
from enginehouse.core.cache.stats import CacheStats, Stage
from enginehouse.telemetry.metrics import Reader, counter, gauge

__all__ = ["cache_metrics"]

_OWN = "enginehouse_cache_"


def cache_metrics(cache: Cache) -> Reader:
    """Counters of this process since its start; sizes of the whole store, as they were some seconds ago."""

    def read() -> Iterator[Metric]:
        yield from _outcomes(cache.stats)
        yield counter(
            f"{_OWN}joined_total", "Requests that waited for another's answer to the same", cache.flights.joined
        )
        yield from _saved(cache.stats)
        yield from _store(cache)
        yield _stages(cache.stats.stages)
        if cache.meaning is not None:
            yield from _semantic(cache.meaning.stats())

    return read


def _outcomes(stats: CacheStats) -> Iterator[Metric]:
    yield _by("bypassed", "Requests that nobody looked for, by reason", "reason", stats.reasons)
    yield _by("not_stored", "Answers that were not kept, by reason", "reason", stats.refused)
    yield counter(f"{_OWN}stored_total", "Answers that were kept", stats.stored)
    yield counter(f"{_OWN}corroborated_total", "Answers that became a whole tenant's", stats.shared)


def _saved(stats: CacheStats) -> Iterator[Metric]:
    yield counter(f"{_OWN}saved_tokens_total", "Tokens that hits did not take", stats.saved_tokens)
    yield counter(f"{_OWN}saved_dollars_total", "US dollars that hits did not cost", stats.saved_dollars)
    yield counter(f"{_OWN}saved_seconds_total", "Seconds of engines that hits did not take", stats.saved_seconds)
    yield counter(f"{_OWN}unpriced_hits_total", "Hits of whose price nothing is known", stats.unpriced_hits)


def _store(cache: Cache) -> Iterator[Metric]:
    held = cache.held
    yield gauge(f"{_OWN}up", "Whether the store of answers can be reached", held is not None)
    if held is not None:
        yield gauge(f"{_OWN}entries", "Answers that are kept", held.entries)
        yield gauge(f"{_OWN}bytes", "Bytes of them", held.bytes)
        yield counter(f"{_OWN}evicted_total", "Answers that had to go for newer ones", held.evicted)
    yield gauge(f"{_OWN}max_bytes", "Bytes that may be kept", cache.settings.max_bytes)


def _stages(stages: Mapping[str, Stage]) -> Metric:
    family = HistogramMetricFamily(
        f"{_OWN}stage_seconds", "Seconds that a stage of the cache takes", labels=["stage"]
    )
    for name, stage in list(stages.items()):
        family.add_metric([name], list(stage.counted.buckets()), sum_value=stage.counted.total)
    return family


def _semantic(told: Mapping[str, Any]) -> Iterator[Metric]:
    own = f"{_OWN}semantic_"
    for name, meaning in _COUNTED.items():
        yield counter(f"{own}{name}_total", meaning, told[name])
    yield _by("semantic_vetoes", "Candidates that were ruled out, by kind of difference", "kind", told["vetoes"])
    yield gauge(
        f"{own}wrong_rate_upper", "Most that hits are wrong, with 95 % certainty", told["wrong_rate"]["high"]
    )
    yield gauge(f"{own}max_error", "Most that they may be", told["max_error"])
    scopes = GaugeMetricFamily(f"{own}scopes", "Scopes that audits have narrowed, by level", labels=["level"])
    for level, count in told["scopes"].items():
        scopes.add_metric([level], count)
    yield scopes
    yield gauge(f"{own}embedder_up", "Whether questions get their vectors in time", told["embedder"] == "ready")
    yield gauge(f"{own}index_bytes", "Bytes of vectors in memory", told["bytes"])


_COUNTED = {
    "stored": "Questions that were stored by their vectors",
    "lookups": "Questions that were compared with others of their scope",
    "hits": "Questions that were answered from others",
    "shadow_hits": "Questions on trial: they would have been",
    "audits": "Hits that were compared with what the model says now",
    "audited": "Comparisons that came to a verdict",
    "wrong": "Comparisons that found the kept answer wrong",
    "undecided": "Comparisons without a verdict",
    "alarms": "Times that wrong answers narrowed what is served",
    "embedder_failures": "Questions that got no vector in time",
}


def _by(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"{_OWN}{name}", meaning, labels=[label])
    for kind, count in sorted(counts.items()):
        family.add_metric([kind], count)
    return family
