"""The inner vocabulary: what a model, a deployment and a request are, in words every room shares."""

import re
from enum import StrEnum
from typing import Protocol, TypeAlias

from msgspec import Struct

from enginehouse.types.engines import EngineName
from enginehouse.types.phases import Phase, Said, Span

__all__ = [
    "Allowance",
    "Caching",
    "Deployment",
    "EngineName",
    "Instances",
    "Kind",
    "Model",
    "Operation",
    "Patience",
    "Place",
    "Price",
    "Principal",
    "Priority",
    "Queueing",
    "Rate",
    "Rates",
    "Request",
    "ResidentState",
    "Source",
    "Spends",
    "Timings",
    "Usage",
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


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one answer; the columns are disjoint."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    """Input that was also put into the maker's prompt cache, where that is counted apart."""
    output: int = 0
    reasoning: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        """All tokens that were read or written."""
        return self.input + self.cached_input + self.cache_write + self.output + self.reasoning


_UNITS = {"day": 86_400, "hour": 3600, "minute": 60, "second": 1}
_RATE = re.compile(r"(?P<count>\d{1,15})\s*/\s*(?:(?P<times>\d{1,6})\s*)?(?P<unit>second|minute|hour|day)s?")


class Rate(Struct, frozen=True):
    """So many in any span of so many seconds; in words `100/hour`, or `5/30 seconds`."""

    count: int
    seconds: int

    @classmethod
    def of(cls, text: str) -> "Rate":
        """Read the words.

        Raises:
            ValueError: they are none.
        """
        found = _RATE.fullmatch(text.strip().lower())
        if found is None or not int(found["count"]) or not int(found["times"] or 1):
            raise ValueError(f"{text!r} is no rate; write 100/hour, 10/minute or 5/30 seconds")
        return cls(int(found["count"]), int(found["times"] or 1) * _UNITS[found["unit"]])

    def __str__(self) -> str:
        """The words."""
        unit = next(name for name, seconds in _UNITS.items() if self.seconds % seconds == 0)
        times = self.seconds // _UNITS[unit]
        return f"{self.count}/{unit}" if times == 1 else f"{self.count}/{times} {unit}s"


class Rates(Struct, frozen=True, kw_only=True):
    """How much may be asked; what is None is not limited. In words `100/hour, 5000 tokens/minute, 3 at once`."""

    requests: Rate | None = None
    tokens: Rate | None = None
    concurrent: int | None = None
    """Requests that may run, or wait, at the same time."""

    @classmethod
    def of(cls, text: str) -> "Rates":
        """Read the words; `unlimited` is no limit.

        Raises:
            ValueError: they are none, or say the same twice.
        """
        found: dict[str, Rate | int] = {}
        for part in text.lower().split(",") if text.strip().lower() != "unlimited" else ():
            name, value = _limit(part.strip())
            if name in found:
                raise ValueError(f"{text!r} limits {name} twice")
            found[name] = value
        return cls(**found)  # pyright: ignore[reportArgumentType] - each name has its own type

    def __str__(self) -> str:
        """The words."""
        tokens = None if self.tokens is None else str(self.tokens).replace("/", " tokens/")
        seats = None if self.concurrent is None else f"{self.concurrent} at once"
        said = [str(part) for part in (self.requests, tokens, seats) if part is not None]
        return ", ".join(said) or "unlimited"


def _limit(text: str) -> tuple[str, Rate | int]:
    if (seats := re.fullmatch(r"([1-9]\d{0,8})\s*at once", text)) is not None:
        return "concurrent", int(seats[1])
    without = re.sub(r"\s*tokens\s*/", "/", text)
    return "requests" if without == text else "tokens", Rate.of(re.sub(r"\s*requests\s*/", "/", without))


class Allowance(Struct, frozen=True, kw_only=True):
    """What may be spent in a period."""

    dollars: str
    """As a decimal string."""
    period: str = "month"
    """`day`, `month` or `total`."""


class Principal(Struct, frozen=True, kw_only=True):
    """Who is calling."""

    user: str
    role: str = "user"
    """`admin` may manage models and keys, `user` may not."""
    tier: str = "standard"
    tenant: str = ""
    """With whom the caller shares turns; when empty, nobody but itself."""
    key: str = ""
    """Id of the API key that was shown, never the key itself; empty when it was none of the stored ones."""
    tags: tuple[str, ...] = ()
    """Labels under which its usage is also summed up."""
    models: tuple[str, ...] = ()
    """Names of the models it may use, with `*` for any ending; empty is all of them."""
    limits: Rates = Rates()
    """Its key's own, beside those of its tier."""
    budget: Allowance | None = None
    """Its key's own; it comes before what the settings say of keys in the same period."""


class Place(Protocol):
    """Where a request stands in a line, as things are now."""

    @property
    def position(self) -> int:
        """1 for who goes next."""
        ...

    @property
    def expected_wait(self) -> float:
        """Seconds until it may run, by the measured service rate."""
        ...


class Patience(Protocol):
    """A time that runs out: `asyncio.Timeout`."""

    def expired(self) -> bool:
        """Whether it has."""
        ...


class Timings(Struct, kw_only=True):
    """Seconds a request spent in each phase, filled in as it passes; None while a phase has not ended."""

    queue: float | None = None
    """Waiting for a slot."""
    load: float | None = None
    """Waiting for the model to be in memory."""
    ttft: float | None = None
    """From the engine having the request to its first byte for the caller."""
    upstream: float | None = None
    """From the engine having the request to the end of its answer."""
    model: str | None = None
    """Which model is to answer, once its name is resolved."""
    deployment: str | None = None
    """Which deployment it runs on, once that is decided."""
    place: Place | None = None
    """Where it stands in the line, while it waits for a slot."""
    stood: int | None = None
    """Where it stood when it came, 0 when it had not to wait; None before it has a slot."""
    cache: str = "bypass"
    """Where the answer is from: `exact` or `semantic`, `miss` when it was not kept, `bypass` when nobody looked."""
    age: float | None = None
    """Seconds since the kept answer was made."""
    guard: str | None = None
    """What the guard says of it, where it may be told."""
    patience: Patience | None = None
    """What its caller is willing to wait, where that is known."""
    gone: bool = False
    """Whether its caller has left."""
    spans: list[Span] = []
    """Its stays in phases, in the order in which they ended."""
    way: object | None = None
    """What telemetry knows it by."""
    said: Said | None = None
    """What is said, where that is kept."""

    def phase(self, name: str) -> Phase:
        """A context that is one stay in a phase."""
        return Phase(self.spans, name)


class Queueing(Struct, frozen=True, kw_only=True):
    """How the requests of a route stand in lines, where it has rules of its own."""

    tenant: str
    """With whom they share turns: one line of its own for all who come by this route, first in, first out."""
    limit: int
    """Most that may wait for a model when one of them comes."""


class Spends(Protocol):
    """A request's share of its caller's limits."""

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited at all."""
        ...

    async def expect(self, tokens: int) -> None:
        """Hold so many tokens; what is not spent of them comes back in the end."""
        ...

    def spent(self, tokens: int) -> None:
        """So many more were read and written."""
        ...


class Caching(Struct, frozen=True, kw_only=True):
    """What a caller wants of the cache."""

    read: bool = True
    """Whether a kept answer will do."""
    write: bool = True
    """Whether the answer may be kept."""
    max_age: float | None = None
    """Seconds a kept answer may be old, at most."""
    namespace: str = ""
    """A part of the caller's own: nothing is found across namespaces."""
    tags: tuple[str, ...] = ()
    """Under which what is kept can be cleared."""


class Request(Struct, frozen=True, kw_only=True):
    """What a face has understood of a call: enough to decide who answers and when."""

    operation: Operation
    model: str
    """As the caller named it: id, alias or `name@version`."""
    principal: Principal
    request_id: str
    body: bytes = b""
    """The call as the caller wrote it, where its bytes may pass through."""
    face: str = ""
    """Which dialect or family of routes it came by."""
    stream: bool = False
    priority: Priority = Priority.NORMAL
    timeout: float | None = None
    """Seconds the caller is willing to wait for the first byte."""
    timings: Timings
    queueing: Queueing | None = None
    """How it stands in lines; None is as everybody."""
    grant: Spends | None = None
    """What it was given of its caller's limits; None when nothing limits it."""
    caching: Caching = Caching()
    """What its caller wants of the cache."""
