"""Bodies of the model cache's routes, field by field as its clients know them; MB are of 1024 x 1024 bytes."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "CacheStats",
    "CachedModel",
    "CachedModelDetail",
    "CachedModels",
    "CleanupReport",
    "CleanupSummary",
    "Loaded",
    "MemoryBefore",
    "MemoryUsage",
    "ModelInfo",
    "ModelStats",
    "Performance",
    "PerformanceMetrics",
    "PredictionStats",
    "Stats",
    "Summary",
    "SystemStats",
    "Unloaded",
    "Warmed",
]


class Body(BaseModel):
    """Names that begin with `model_` are the documented ones."""

    model_config = ConfigDict(protected_namespaces=())


class CachedModel(Body):
    """A model and its place in memory."""

    name: str
    cached: bool = Field(description="Whether it takes memory here.")
    loaded: bool = Field(description="Whether it answers without a load.")
    memory_usage_mb: float = Field(description="What it takes, in main memory and on GPUs.")
    last_accessed: datetime | None = Field(description="When a request last asked for it.")
    access_count: int = Field(description="Requests that asked for it since the service started.")
    cache_priority: Literal["high", "medium", "low"] = Field(description="High is evicted last.")
    source: str = Field(description="Where its files come from, or who runs it.")


class Summary(Body):
    """All of them together."""

    total_models: int
    cached_models: int
    total_memory_usage_mb: float
    available_memory_mb: float = Field(description="What models may still take without one of them leaving.")
    cache_efficiency: float = Field(description="Share of requests that found their model in memory; 0 before any.")


class CachedModels(Body):
    """Every model, by id."""

    models: dict[str, CachedModel]
    cache_summary: Summary
    timestamp: datetime


class ModelInfo(Body):
    """The model itself."""

    type: str = Field(description="Format of its files: `gguf`, `onnx`; `api` when it runs elsewhere.")
    size_mb: float = Field(description="What it takes in memory, or took the last time; 0 when that is not known.")
    loaded_at: datetime | None
    load_time_seconds: float | None = Field(description="What its last load took.")
    warmup_completed: bool = Field(description="Whether every request of its last warm-up was answered.")
    warmup_time_seconds: float | None


class PerformanceMetrics(Body):
    """What was measured since the service started; callers' requests only. Zero before the first."""

    avg_inference_time_ms: float
    total_inferences: int = Field(description="Requests that were answered to their end.")
    cache_hits: int = Field(description="Requests that found it in memory.")
    cache_misses: int = Field(description="Requests that had to wait for a load.")
    hit_rate: float
    p50_inference_time_ms: float | None = Field(description="Of the newest 512.")
    p95_inference_time_ms: float | None
    loads: int
    evictions: dict[str, int] = Field(description="How often it left memory, by cause.")


class CachedModelDetail(CachedModel):
    """One model, with what was measured of it."""

    model_info: ModelInfo
    performance_metrics: PerformanceMetrics
    timestamp: datetime


class Loaded(Body):
    """It is in memory."""

    message: str
    model_name: str
    load_time_seconds: float = Field(description="What its last load took; that may have been earlier.")
    memory_usage_mb: float
    cache_status: Literal["loaded"] = "loaded"
    timestamp: datetime


class Unloaded(Body):
    """It is not in memory."""

    message: str
    model_name: str
    memory_freed_mb: float
    cache_status: Literal["unloaded"] = "unloaded"
    timestamp: datetime


class Warmed(Body):
    """How a warm-up went; the times are null while it runs."""

    message: str
    model_name: str
    warmup_requests: int
    warmup_time_seconds: float | None = Field(description="For all requests; the load before them is not counted.")
    avg_response_time_ms: float | None = Field(description="What the engine took for one.")
    warmup_status: Literal["completed", "incomplete", "running"] = Field(
        description="`incomplete` when some requests were not answered."
    )
    failed_requests: int = 0
    error: str | None = Field(default=None, description="Why the first one failed that did.")
    timestamp: datetime


class MemoryUsage(Body):
    """What models take of the machine's memory, main memory and GPUs together."""

    used_mb: float
    total_mb: float
    usage_percentage: float
    threshold: float = Field(description="Percentage above which idle models are cleaned up.")


class Performance(Body):
    """All models together."""

    cache_hit_rate: float
    avg_inference_time_ms: float
    total_inferences: int
    cache_hits: int
    cache_misses: int


class ModelStats(Body):
    """One model in short."""

    cached: bool
    memory_usage_mb: float
    access_count: int
    hit_rate: float


class PredictionStats(Body):
    """Texts whose prediction is remembered; these hits are those that `cache_hit` tells."""

    entries: int
    hits: int = Field(description="Texts that were answered from memory.")
    misses: int = Field(description="Texts that a classifier was asked for.")
    hit_rate: float


class CacheStats(Body):
    """Memory and how well it is used."""

    total_models: int
    cached_models: int
    memory_usage: MemoryUsage
    performance: Performance
    models: dict[str, ModelStats]
    predictions: PredictionStats


class SystemStats(Body):
    """The service, and its clean-ups since it started."""

    uptime_seconds: int
    last_cleanup: datetime | None
    cleanup_count: int = Field(description="Clean-ups that were asked for, or found memory too full.")
    memory_cleanup_mb: float = Field(description="What all of them freed.")


class Stats(Body):
    """Everything that is counted."""

    cache_stats: CacheStats
    system_stats: SystemStats
    timestamp: datetime


class CleanupSummary(Body):
    """Who left."""

    models_unloaded: int
    memory_freed_mb: float
    models_affected: list[str]
    cleanup_reason: Literal["memory_threshold_exceeded", "below_memory_threshold", "forced"]


class MemoryBefore(Body):
    """What models took."""

    before_mb: float
    after_mb: float
    freed_mb: float = Field(description="By those that left, as the ledger had them.")


class CleanupReport(Body):
    """How a clean-up went."""

    message: str
    cleanup_summary: CleanupSummary
    memory_usage: MemoryBefore
    cache_status: Literal["optimized"] = "optimized"
    timestamp: datetime
