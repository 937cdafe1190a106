"""The service itself: where it listens, who may call, what it tells of itself."""

from typing import Annotated, Literal

from pydantic import Field

from enginehouse.settings.schema.section import Section
from enginehouse.settings.values import (
    Pattern,
    PositiveSeconds,
    Seconds,
    Secret,
    words,
)

__all__ = ["AuthSettings", "LogSettings", "MetricsSettings", "ServerSettings", "TelemetrySettings"]


class ServerSettings(Section):
    """Where the service listens and how it treats connections."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback wants `auth.api_keys` or `auth.jwt_secret`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """TCP port; 0 takes a free one."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that share the port: more than one where one core is too few for the frames of all streams. One of
    them owns models and limits, whom the others ask; in Kubernetes leave it at 1 and start replicas."""
    max_body_bytes: Annotated[int, Field(gt=0)] = 10 * 1024 * 1024
    """Largest request body that is read."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call from a browser, such as `https://chat.example`; `*` is every page."""
    ping_interval: PositiveSeconds = 15.0
    """Seconds of silence after which a stream gets a comment ping."""
    fast_path: bool = True
    """Whether plain requests to OpenAI's chat and text completions take a shorter way with the same effects;
    without it all take the general one."""
    drain_delay: Seconds = 0.0
    """Seconds after a stop signal for which new requests are still served while `/ready` says 503 already: as long
    as a load balancer takes to notice, and to send its requests elsewhere."""
    shutdown_timeout: PositiveSeconds = 30.0
    """Seconds that running requests may still take after a stop signal."""
    debug: bool = False
    """Log at level debug, whatever `log.level` says."""


class AuthSettings(Section):
    """Who may call."""

    api_keys: tuple[Secret, ...] = ()
    """Keys with role admin. Callers send one as `Authorization: Bearer` or `X-API-Key`."""
    key_secret: Secret | None = None
    """Secret with which stored keys are hashed; when left out, one is made in the data directory. Replicas that
    share a database want the same one."""
    key_offline: Seconds = 3600.0
    """Seconds for which stored keys are still believed while the database is away."""
    jwt_secret: Secret | None = None
    """Secret that signs callers' JSON web tokens with HS256, HS384 or HS512; at least 32 bytes."""
    jwt_algorithm: Literal["HS256", "HS384", "HS512", "RS256", "ES256"] = "HS256"
    """The only algorithm a token may be signed with."""
    jwks_url: str | None = None
    """Where the issuer publishes its public keys, for RS256 and ES256."""
    jwks_ttl: PositiveSeconds = 300.0
    """Seconds after which these keys are fetched again."""
    jwks_cooldown: PositiveSeconds = 30.0
    """Seconds between two fetches, also when a token names a key that is not known."""
    jwt_audience: str | None = None
    """What a token's `aud` has to hold; without it a token that names an audience is refused."""
    jwt_issuer: str | None = None
    """What a token's `iss` has to be."""
    jwt_leeway: Seconds = 10.0
    """Seconds by which clocks may differ."""


class LogSettings(Section):
    """What is logged and how."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], words(warn="warning", critical="error", fatal="error")
    ] = "info"
    """Lowest level that is written."""
    format: Annotated[Literal["auto", "human", "json"], words(text="human", console="human")] = "auto"
    """`auto` is human lines on a terminal and JSON elsewhere."""


class MetricsSettings(Section):
    """Who may read metrics."""

    public: bool = False
    """Whether `/metrics` wants no key also where the service listens on more than loopback."""


class TelemetrySettings(Section):
    """What is remembered of requests, beside what they cost."""

    kept: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Requests that are kept in memory, the newest."""
    database: bool = True
    """Whether requests are kept in the database too, a moment after their end."""
    retention: PositiveSeconds = 7 * 86_400.0
    """Seconds for which the database keeps them."""
    content: bool = False
    """Whether prompts (what is new in them) and answers are kept with requests, redacted. Their owners and admins
    can read them."""
    content_chars: Annotated[int, Field(gt=0)] = 16_384
    """Most characters of a prompt, and of an answer."""
    redact: tuple[Pattern, ...] = ()
    """Regular expressions of what else is taken out of prompts and answers. Keys, tokens, e-mail addresses and card
    numbers always are."""
    log_requests: bool = True
    """Whether each request to a model is a line of the log, at level info."""
    otlp_endpoint: str | None = None
    """Root of an OpenTelemetry collector that speaks OTLP over HTTP, such as `http://localhost:4318`; without one
    nothing is told. Wants the extra `otel`."""
    otlp_headers: Secret | None = None
    """Headers for it, as `name=value` with commas between them."""
    service_name: str = "enginehouse"
    """What this service is called there."""
    metrics_interval: PositiveSeconds = 60.0
    """Seconds between two tellings of the measures."""
