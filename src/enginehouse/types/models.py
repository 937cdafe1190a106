"""What a model and a deployment are: what is named, what answers, and where it stands."""

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from enginehouse.types.engines import EngineName

__all__ = [
    "Deployment",
    "Instances",
    "Kind",
    "Model",
    "Operation",
    "Price",
    "Priority",
    "ResidentState",
    "Source",
]


class Kind(StrEnum):
    """What a model is for."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    RERANK = "rerank"
    CLASSIFIER = "classifier"


class Priority(StrEnum):
    """How urgent: of a request, its place in the queue; of a model, how late it is evicted."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class ResidentState(StrEnum):
    """Where a deployment stands between disk and memory."""

    OFF = "off"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Operation(StrEnum):
    """What a caller wants done, whatever dialect it was said in."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    RERANK = "rerank"
    """How well documents answer a query."""
    CLASSIFICATION = "classification"
    """Which labels fit a text."""
    COUNT = "count"
    """The tokens of a prompt, and nothing of an answer."""
    LOAD = "load"
    """Nothing but the model in memory."""


Source: TypeAlias = str | dict[str, str]
"""Where a model's files come from: one spec (`path`, `hf:…`, `pypi:…`), or file name → spec for a folder."""


class Price(Struct, frozen=True, kw_only=True):
    """What a model costs, as decimal strings in US dollars per thousand tokens; None means unknown, not free."""

    input_per_1k: str | None = None
    output_per_1k: str | None = None


class Deployment(Struct, frozen=True, kw_only=True):
    """One model on one engine at one place.

    Two deployments that compare equal may share a running engine: a change of any field means a new process.
    """

    id: str
    model: str
    kind: Kind
    engine: EngineName
    source: Source | None = None
    """Model files, for engines that run here."""
    sha256: Source | None = None
    """Expected digests in hex, in the shape of `source`."""
    flags: tuple[str, ...] = ()
    """Engine flags exactly as the user wrote them."""
    context_length: int | None = None
    """Tokens one sequence may hold; None lets the engine take the model's own."""
    slots: int = 1
    """Sequences that run at once."""
    base_url: str | None = None
    """Where a remote engine is."""
    api_key: str | None = None
    """The remote engine's key. Never shown."""
    upstream_model: str | None = None
    """What the remote engine calls the model, when it is not our id."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with every request, such as an organisation's name."""
    weight: float = 1.0
    """Its share of the work among the deployments of one model."""
    request_timeout: float | None = None
    """Seconds the engine may be silent; None takes the service's limit."""
    connect_timeout: float | None = None
    """Seconds until a connection has to be there; None takes the usual ones."""
    first_token_timeout: float | None = None
    """Seconds until the first piece of an answer has to be there."""
    total_timeout: float | None = None
    """Seconds until the whole of it has to be there."""
    defaults: tuple[tuple[str, str], ...] = ()
    """Generation parameters for requests that do not give them: name and JSON value."""
    labels: tuple[tuple[str, str], ...] = ()
    """What the node has to say of itself on which it is placed, in a fleet of several."""

    @property
    def name_there(self) -> str:
        """What its server calls the model."""
        return self.upstream_model or self.model

    def __repr__(self) -> str:
        """Name and place only: a deployment may hold a key."""
        return f"Deployment({self.id!r}, {self.engine.value})"


class Instances(Struct, frozen=True, kw_only=True):
    """How many copies of a model may be in memory side by side, once it is in memory at all."""

    min: int = 1
    max: int = 1


class Model(Struct, frozen=True, kw_only=True):
    """What a caller names."""

    id: str
    kind: Kind
    deployments: tuple[Deployment, ...]
    name: str = ""
    """For people; the id when empty."""
    version: str | None = None
    aliases: tuple[str, ...] = ()
    context_length: int | None = None
    max_tokens: int | None = None
    capabilities: tuple[str, ...] = ()
    price: Price = Price()
    priority: Priority = Priority.NORMAL
    ttl: float | None = None
    """Idle seconds before it leaves memory; None takes the service's default, 0 means never."""
    fallbacks: tuple[str, ...] = ()
    """Models that answer in its stead when none of its deployments can."""
    pinned: bool = False
    preload: bool = False
    instances: Instances = Instances()
    created: int = 0
    """Unix seconds, as the OpenAI list wants it: the file's own time, or the start of the service."""
    origin: str = "settings"
    """Where the catalogue has it from: `settings`, `default`, `models_dir`, `ollama` or `api`."""
