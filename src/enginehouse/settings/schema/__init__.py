"""The shape of the configuration: every key, its type, its default and what it means.

The example file, the JSON schema and the reference page are made from these classes, so a description here
is the only place where a key is explained. Rooms get the smallest piece they need, never the whole.
"""

from enginehouse.settings.schema.caches import (
    CacheSettings,
    CacheTenantSettings,
    PredictionSettings,
    SemanticCacheSettings,
)
from enginehouse.settings.schema.callers import ChatSettings, GuardMode, GuardSettings, LimitSettings
from enginehouse.settings.schema.memory import (
    EngineSettings,
    FleetSettings,
    LlamaServerSettings,
    RaySettings,
    ResidencySettings,
    SourceSettings,
)
from enginehouse.settings.schema.models import (
    DeploymentSettings,
    GenerationSettings,
    InstanceSettings,
    ModelSettings,
    RegistrationSettings,
)
from enginehouse.settings.schema.money import BudgetSettings, DatedPriceSettings, LedgerSettings, PriceSettings
from enginehouse.settings.schema.providers import ProviderSettings
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
from enginehouse.settings.schema.whole import RESTART, Settings

__all__ = [
    "RESTART",
    "AdmissionSettings",
    "AuthSettings",
    "BudgetSettings",
    "CacheSettings",
    "CacheTenantSettings",
    "ChatSettings",
    "DatedPriceSettings",
    "DeploymentSettings",
    "EngineSettings",
    "FleetSettings",
    "GenerationSettings",
    "GuardMode",
    "GuardSettings",
    "InstanceSettings",
    "LedgerSettings",
    "LimitSettings",
    "LlamaServerSettings",
    "LogSettings",
    "MetricsSettings",
    "ModelSettings",
    "PredictionSettings",
    "PriceSettings",
    "ProviderSettings",
    "QdrantSettings",
    "RaySettings",
    "RegistrationSettings",
    "ResidencySettings",
    "RoutingSettings",
    "Section",
    "SemanticCacheSettings",
    "ServerSettings",
    "SessionSettings",
    "Settings",
    "SourceSettings",
    "StoreSettings",
    "TelemetrySettings",
    "VectorSettings",
]
