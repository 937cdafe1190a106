"""Who goes next, and where to."""

from typing import Annotated

from pydantic import Field

from enginehouse.settings.schema.section import Section
from enginehouse.settings.values import (
    PositiveSeconds,
)

__all__ = ["AdmissionSettings", "RoutingSettings"]


class AdmissionSettings(Section):
    """Who goes next."""

    default_slots: Annotated[int, Field(ge=1)] = 1
    """Sequences a model runs at once when it does not say itself."""
    max_queue_size: Annotated[int, Field(ge=0)] = 500
    """Most requests that may wait for one model."""
    request_timeout: PositiveSeconds = 600.0
    """Seconds a request may wait for the engine's next byte."""
    queue_timeout: PositiveSeconds = 600.0
    """Seconds a request may wait for a slot."""
    aging: PositiveSeconds = 60.0
    """Seconds of waiting after which a request counts as one priority higher."""
    high_priority_roles: tuple[str, ...] = ("admin", "user")
    """Roles that may ask for priority high; others are refused."""


class RoutingSettings(Section):
    """Servers elsewhere: which one is asked, whether to ask again, and when to leave one alone. Nothing is
    asked twice after its first byte."""

    affinity: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.5
    """A conversation goes back to the server that has read its beginning, unless that one has so many times its
    share of all requests; 0 sends each request where the least is outstanding."""
    cold_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    """Requests by which an Ollama server that has the model in memory may be busier than one that has not,
    before that one is made to load it."""
    health_interval: PositiveSeconds = 5.0
    """Seconds between two looks at each server of a model with several; one that does not answer is passed over
    while another one does."""

    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often the last server that is left is asked again after a failure that may pass."""
    backoff: PositiveSeconds = 0.25
    """Seconds before it is asked the second time; each further pause is twice as long, less up to half by lot."""
    max_pause: PositiveSeconds = 10.0
    """Most seconds of such a pause; a longer `Retry-After` is handed on to the caller."""
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    """Failures in a row after which a server is left alone."""
    breaker_cooldown: PositiveSeconds = 30.0
    """Seconds for which it is; then one request at a time tries it."""
    max_retry_after: PositiveSeconds = 300.0
    """Most seconds for which a server's own `Retry-After` is believed."""
