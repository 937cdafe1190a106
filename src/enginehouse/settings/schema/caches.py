"""What need not be computed again."""

from typing import Annotated, Literal

from pydantic import Field

from enginehouse.settings.schema.section import Section
from enginehouse.settings.values import (
    PositiveSeconds,
    Seconds,
)

__all__ = ["CacheSettings", "CacheTenantSettings", "PredictionSettings", "SemanticCacheSettings"]


class CacheTenantSettings(Section):
    """What is other for one tenant; what is left out is as the cache's own settings say."""

    id: str
    """The tenant."""
    sharing: Literal["user", "key", "tenant"] | None = None
    """Who may have whose answers."""
    trusted: bool = False
    """Whether an answer is its whole tenant's at once; else only when a second user's answer is equal."""
    epoch: str = ""
    """Any other word than before lets the tenant's answers be forgotten at once."""


class SemanticCacheSettings(Section):
    """Answers to questions that mean the same."""

    enabled: bool = True
    """Whether they are looked for at all."""
    model: str = "minilm"
    """Embedding model that finds questions alike; it has to run here. The calibration is for the default."""
    max_error: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Most of the hits that may be wrong, as a part of 1; more than 0.05 counts as that. Hits are served only where
    it was shown, with 95 % certainty."""
    trial: Annotated[int, Field(ge=0)] = 5
    """Hits on questions in other words that each scope first compares with what the model says itself."""
    audit: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Part of the later hits that are compared so."""
    deadline: PositiveSeconds = 0.25
    """Most seconds that a request waits for its vector; it waits less where one usually takes less."""
    max_bytes: Annotated[int, Field(gt=0)] = 512 * 1024 * 1024
    """Bytes of vectors that are kept in memory; the others are on disk until they are asked for."""


class CacheSettings(Section):
    """What need not be computed again."""

    enabled: bool = True
    """Whether answers are cached at all."""
    exact_ttl: Seconds = 86_400.0
    """Seconds an exact hit may be old."""
    semantic_ttl: Seconds = 604_800.0
    """Seconds a semantic hit may be old."""
    volatile_ttl: Seconds = 60.0
    """Seconds an exact hit may be old where the question is about now: today, latest, weather."""
    max_bytes: Annotated[int, Field(gt=0)] = 256 * 1024 * 1024
    """Bytes of answers that are kept, in this process or in Redis; beyond that the longest unused ones go."""
    max_entry_bytes: Annotated[int, Field(gt=0)] = 256 * 1024
    """Bytes of one answer; a longer one is not kept."""
    sharing: Literal["user", "key", "tenant"] = "user"
    """Who may have whose answers: each user its own, each key its own, or the users of a tenant each other's. Who
    has no tenant shares with nobody."""
    tenants: tuple[CacheTenantSettings, ...] = ()
    """Tenants with rules of their own, each with `id` and any of `sharing`, `trusted` and `epoch`."""
    epoch: str = ""
    """Any other word than before lets all answers be forgotten at once."""
    epochs: dict[str, str] = Field(default={})
    """The same for single models, by id."""
    skip_models: tuple[str, ...] = ()
    """Ids of models whose answers are not cached, with `*` for any ending."""
    embeddings: bool = True
    """Whether vectors are cached too."""
    max_temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """Highest temperature a caller may ask for and still get the answer to a question that means the same."""
    replay: Literal["instant", "paced"] = "instant"
    """How a kept answer is streamed: all at once, or word by word."""
    replay_speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 100.0
    """Words a second of a paced stream."""
    semantic: SemanticCacheSettings = SemanticCacheSettings()
    """Answers to questions that mean the same."""


class PredictionSettings(Section):
    """What classifiers say of texts."""

    default_model: str = "guard"
    """Model that `POST /predict` asks when its caller names none."""
    cache_entries: Annotated[int, Field(ge=0)] = 50_000
    """Most texts whose prediction is remembered; some 500 bytes each."""
    cache_ttl: Seconds = 3600.0
    """Seconds for which a prediction is remembered; 0 remembers none."""
