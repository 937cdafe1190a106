"""All of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_data_path
from pydantic import Field, PrivateAttr

from enginehouse.settings.schema.caches import CacheSettings, PredictionSettings
from enginehouse.settings.schema.callers import ChatSettings, GuardSettings, LimitSettings
from enginehouse.settings.schema.memory import EngineSettings, FleetSettings, ResidencySettings, SourceSettings
from enginehouse.settings.schema.models import ModelSettings, RegistrationSettings
from enginehouse.settings.schema.money import BudgetSettings, DatedPriceSettings, LedgerSettings
from enginehouse.settings.schema.providers import OllamaSettings, ProviderSettings
from enginehouse.settings.schema.section import Section
from enginehouse.settings.schema.server import (
    AuthSettings,
    LogSettings,
    MetricsSettings,
    ServerSettings,
    TelemetrySettings,
)
from enginehouse.settings.schema.stores import QdrantSettings, SessionSettings, StoreSettings, VectorSettings
from enginehouse.settings.schema.turns import AdmissionSettings, RoutingSettings
from enginehouse.settings.values import (
    ModelId,
    Reading,
)

__all__ = ["RESTART", "Settings"]


RESTART = frozenset(
    {
        "server.host",
        "server.port",
        "server.workers",
        "log",
        "data_dir",
        "models_dir",
        "sources",
        "engines",
        "fleet",
        "stores",
        "telemetry.otlp_endpoint",
        "telemetry.otlp_headers",
        "telemetry.service_name",
        "telemetry.metrics_interval",
        "chat.max_message_bytes",
        "chat.socket_buffer",
        "chat.slow_reader_timeout",
        "ledger.spool_max_bytes",
        "sessions.hot_bytes",
        "sessions.hot_ttl",
        "qdrant",
        "vectors",
    }
)
"""Keys, or whole sections, that are read once at start: a change of one waits for the next start."""


class Settings(Section):
    """The whole configuration."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    data_dir: Path = Field(default_factory=lambda: user_data_path("enginehouse"))
    """Where the service keeps what it must not lose: fetched models, the database, engine logs."""
    models_dir: Path | None = None
    """Folder that is watched: a GGUF file or ONNX folder dropped here appears as a model."""
    sources: SourceSettings = SourceSettings()
    engines: EngineSettings = EngineSettings()
    residency: ResidencySettings = ResidencySettings()
    fleet: FleetSettings = FleetSettings()
    admission: AdmissionSettings = AdmissionSettings()
    routing: RoutingSettings = RoutingSettings()
    registration: RegistrationSettings = RegistrationSettings()
    limits: LimitSettings = LimitSettings()
    sessions: SessionSettings = SessionSettings()
    chat: ChatSettings = ChatSettings()
    cache: CacheSettings = CacheSettings()
    predictions: PredictionSettings = PredictionSettings()
    guard: GuardSettings = GuardSettings()
    ledger: LedgerSettings = LedgerSettings()
    prices: tuple[DatedPriceSettings, ...] = ()
    """Prices from a day on, each with `model`, `since` (a date) and what a model's `price` has."""
    budgets: tuple[BudgetSettings, ...] = ()
    """What may be spent, each with `scope` (user, key or tenant), `id` (`*` is everyone without a budget of
    its own), `period` (day, month or total) and `dollars`."""
    stores: StoreSettings = StoreSettings()
    qdrant: QdrantSettings = QdrantSettings()
    vectors: VectorSettings = VectorSettings()
    openai: ProviderSettings = ProviderSettings()
    anthropic: ProviderSettings = ProviderSettings()
    ollama: OllamaSettings = OllamaSettings()
    default_models: bool = True
    """Whether the default models (`smollm2`, `minilm`, `guard`, `nanoguard` and the classifiers to be pulled) are
    in the catalogue."""
    default_chat_model: str | None = None
    """Model that answers where a chat may name none: in kept conversations, and in `enginehouse chat`."""
    models: dict[ModelId, ModelSettings] = Field(default={})
    """Models by id."""

    _reading: Reading = PrivateAttr(default_factory=Reading)

    def model_post_init(self, context: Any, /) -> None:
        """Remember where the values came from, when the reader says so."""
        if isinstance(context, Reading):
            self._reading = Reading(folder=context.folder, origins=context.origins)

    @property
    def folder(self) -> Path:
        """Where relative paths of the file start: its own folder, or the working directory without a file."""
        return self._reading.folder

    @property
    def origins(self) -> Mapping[str, str]:
        """Dotted key → `file` or `environment NAME`; a key that is not here has its default."""
        return self._reading.origins
