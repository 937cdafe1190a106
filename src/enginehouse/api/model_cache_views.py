"""From what models hold and how they are used to the bodies of the model cache."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from enginehouse.api.model_cache_bodies import (
    CachedModel,
    CachedModelDetail,
    MemoryUsage,
    ModelInfo,
    Performance,
    PerformanceMetrics,
    PredictionStats,
    Summary,
    Warmed,
)
from enginehouse.core.holdings import Holding, Holdings
from enginehouse.core.prediction_cache import PredictionCache
from enginehouse.residency.figures import Figures, WarmUp
from enginehouse.types import Deployment, EngineName, Model, Priority, ResidentState

__all__ = ["cached_model", "detail", "mib", "performance", "predicted", "summary", "usage", "warmed"]

_MIB = 1024 * 1024

_PRIORITIES: Mapping[Priority, Literal["high", "medium", "low"]] = {
    Priority.HIGH: "high",
    Priority.NORMAL: "medium",
    Priority.LOW: "low",
}

_OWNERS = {EngineName.OPENAI: "OpenAI API", EngineName.ANTHROPIC: "Anthropic API", EngineName.OLLAMA: "Ollama"}

_SOURCES = {"hf": "Hugging Face", "pypi": "PyPI"}


def mib(amount: int) -> float:
    """Bytes as MB of 1024 x 1024."""
    return round(amount / _MIB, 1)


def cached_model(model: Model, holding: Holding) -> CachedModel:
    """A model in the list."""
    return CachedModel(
        name=model.id,
        cached=holding.is_held,
        loaded=holding.status.state is ResidentState.READY,
        memory_usage_mb=mib(holding.bytes),
        last_accessed=holding.figures.last_asked,
        access_count=holding.figures.asked,
        cache_priority=_PRIORITIES[model.priority],
        source=_source(model.deployments[0]),
    )


def detail(model: Model, holding: Holding, at: datetime) -> CachedModelDetail:
    """A model by itself."""
    return CachedModelDetail(
        **cached_model(model, holding).model_dump(),
        model_info=_info(model, holding),
        performance_metrics=_metrics(holding.figures),
        timestamp=at,
    )


def summary(every: Iterable[Holding], holdings: Holdings) -> Summary:
    """All models together."""
    listed = list(every)
    return Summary(
        total_models=len(listed),
        cached_models=sum(one.is_held for one in listed),
        total_memory_usage_mb=mib(sum(one.bytes for one in listed)),
        available_memory_mb=mib(holdings.free()),
        cache_efficiency=_rate(Figures.sum(one.figures for one in listed)),
    )


def usage(holdings: Holdings, threshold: float) -> MemoryUsage:
    """What models take of all memory there is."""
    used = sum(holdings.taken().values())
    total = holdings.ram().total + sum(gpu.memory.total for gpu in holdings.gpus())
    return MemoryUsage(
        used_mb=mib(used),
        total_mb=mib(total),
        usage_percentage=round(used / total * 100, 1),
        threshold=round(threshold * 100, 1),
    )


def performance(figures: Figures) -> Performance:
    """All models' figures in short."""
    return Performance(
        cache_hit_rate=_rate(figures),
        avg_inference_time_ms=_milliseconds(figures.mean) or 0.0,
        total_inferences=figures.answers,
        cache_hits=figures.found,
        cache_misses=figures.missed,
    )


def predicted(cache: PredictionCache) -> PredictionStats:
    """How well predictions are remembered."""
    asked = cache.hits + cache.misses
    rate = round(cache.hits / asked, 4) if asked else 0.0
    return PredictionStats(entries=len(cache), hits=cache.hits, misses=cache.misses, hit_rate=rate)


def warmed(model: Model, warm_up: WarmUp, at: datetime) -> Warmed:
    """How a warm-up went."""
    whole = not warm_up.failed
    return Warmed(
        message=f"Model {model.id} warmed up successfully" if whole else f"Model {model.id} warmed up in part",
        model_name=model.id,
        warmup_requests=warm_up.requests,
        warmup_time_seconds=round(warm_up.seconds, 4),
        avg_response_time_ms=_milliseconds(warm_up.mean),
        warmup_status="completed" if whole else "incomplete",
        failed_requests=warm_up.failed,
        error=warm_up.error,
        timestamp=at,
    )


def _info(model: Model, holding: Holding) -> ModelInfo:
    figures = holding.figures
    warm_up = figures.warm_up
    return ModelInfo(
        type={EngineName.LLAMA_SERVER: "gguf", EngineName.ONNX: "onnx"}.get(model.deployments[0].engine, "api"),
        size_mb=mib(holding.usual),
        loaded_at=figures.loaded_at,
        load_time_seconds=_rounded(holding.status.load_seconds),
        warmup_completed=warm_up is not None and not warm_up.failed,
        warmup_time_seconds=_rounded(warm_up.seconds) if warm_up else None,
    )


def _metrics(figures: Figures) -> PerformanceMetrics:
    return PerformanceMetrics(
        avg_inference_time_ms=_milliseconds(figures.mean) or 0.0,
        total_inferences=figures.answers,
        cache_hits=figures.found,
        cache_misses=figures.missed,
        hit_rate=_rate(figures),
        p50_inference_time_ms=_milliseconds(figures.percentile(0.5)),
        p95_inference_time_ms=_milliseconds(figures.percentile(0.95)),
        loads=figures.loads,
        evictions={cause.value: count for cause, count in sorted(figures.departures.items())},
    )


def _source(deployment: Deployment) -> str:
    """Where files come from; the first of several speaks for all."""
    if deployment.engine in _OWNERS:
        return _OWNERS[deployment.engine]
    source = deployment.source
    first = next(iter(source.values()), "") if isinstance(source, dict) else source or ""
    return _SOURCES.get(first.partition(":")[0], "local")


def _rate(figures: Figures) -> float:
    return round(figures.hit_rate or 0.0, 4)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
