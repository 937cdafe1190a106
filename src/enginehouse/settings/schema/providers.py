"""Services of others that are asked."""

from enginehouse.settings.schema.section import Section
from enginehouse.settings.values import (
    Secret,
)

__all__ = ["OllamaSettings", "ProviderSettings"]


class ProviderSettings(Section):
    """A remote provider's address and key."""

    base_url: str | None = None
    """Root of its API."""
    api_key: Secret | None = None
    """Key sent upstream; never shown."""
    organization: str | None = None
    """Organisation header, where the provider has one."""
    project: str | None = None
    """Project header, where the provider has one."""


class OllamaSettings(ProviderSettings):
    """The Ollama server of models that name no other, and whether what it has is found by itself."""

    discover: bool = True
    """Whether all models of the server at `base_url` are in the catalogue; without a `base_url` none are."""
