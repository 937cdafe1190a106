"""`GET /metrics`: how things are, for Prometheus; the model cache's names are those of its documentation."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import TypeAlias

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client.core import CounterMetricFamily, Metric

from enginehouse.api.model_cache_views import mib, performance, usage
from enginehouse.api.openapi import ANY_KEY
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.gateway import Guarding
from enginehouse.core.holdings import Holdings
from enginehouse.core.identity import is_loopback
from enginehouse.core.prediction_cache import PredictionCache
from enginehouse.residency.cleanup import Cleanup
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import Settings
from enginehouse.telemetry.metrics import MEDIA_TYPE, Metrics, Reader, bare_counter, counter, gauge, written

__all__ = ["guard_metrics", "metrics_router", "model_cache_metrics", "open_paths"]


Aside: TypeAlias = Callable[[Callable[[list[Metric]], bytes], list[Metric]], Awaitable[bytes]]


def open_paths(settings: Settings) -> Collection[str]:
    """What the settings let anybody read: metrics on loopback, or where they say so."""
    return {"/metrics"} if settings.metrics.public or is_loopback(settings.server.host) else ()


async def _in_a_thread(work: Callable[[list[Metric]], bytes], told: list[Metric]) -> bytes:
    return await asyncio.to_thread(work, told)


def metrics_router(metrics: Metrics, aside: Aside = _in_a_thread) -> APIRouter:
    """The route; who may read it is decided at the door.

    Args:
        aside: runs what takes a while beside the event loop.
    """
    router = APIRouter(tags=["operation"])

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
        openapi_extra={"security": [{}, *ANY_KEY]},
    )
    async def text() -> Response:
        """All metrics, in the text format of Prometheus."""
        told = metrics.collect()
        return Response(await aside(written, told), media_type=MEDIA_TYPE)

    return router


def model_cache_metrics(catalogue: Catalogue, residency: Residency, holdings: Holdings, cleanup: Cleanup) -> Reader:
    """What `/stats` tells, under the documented names."""

    def read() -> Iterator[Metric]:
        every = [holdings.of(model) for model in catalogue.models()]
        memory = usage(holdings, residency.settings.memory_threshold)
        used = performance(holdings.figures(catalogue.models()))
        yield gauge("model_cache_models_total", "Total number of models", len(every))
        yield gauge("model_cache_models_cached", "Cached models count", sum(one.is_held for one in every))
        yield gauge("model_cache_memory_usage_mb", "Memory usage in MB", memory.used_mb)
        yield gauge("model_cache_memory_usage_percentage", "Memory usage percentage", memory.usage_percentage)
        yield gauge("model_cache_hit_rate", "Cache hit rate", used.cache_hit_rate)
        yield gauge(
            "model_cache_inference_time_ms", "Average inference time in milliseconds", used.avg_inference_time_ms
        )
        yield counter("model_cache_inferences_total", "Total number of inferences", used.total_inferences)
        yield counter("model_cache_cache_hits_total", "Total cache hits", used.cache_hits)
        yield counter("model_cache_cache_misses_total", "Total cache misses", used.cache_misses)
        yield counter("model_cache_cleanup_events_total", "Total cleanup events", cleanup.count)
        yield bare_counter("model_cache_memory_cleanup_mb", "Total memory cleaned up in MB", mib(cleanup.freed))

    return read


def guard_metrics(guarding: Guarding, cache: PredictionCache) -> Reader:
    """What classifiers were spared, and what the guard did."""

    def read() -> Iterator[Metric]:
        yield gauge("enginehouse_predictions_remembered", "Texts whose prediction is remembered", len(cache))
        yield counter("enginehouse_prediction_hits_total", "Texts answered from memory", cache.hits)
        yield counter("enginehouse_prediction_misses_total", "Texts that classifiers were asked for", cache.misses)
        outcomes = CounterMetricFamily(
            "enginehouse_guard", "Requests under guard, by mode and outcome", labels=["mode", "outcome"]
        )
        for (mode, outcome), count in sorted(guarding.outcomes.items()):
            outcomes.add_metric([mode, outcome], count)
        yield outcomes

    return read
