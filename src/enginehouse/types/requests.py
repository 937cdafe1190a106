"""What a request is: who asks, how it stands in lines, what it may take, and what it took."""

from typing import Protocol

from msgspec import Struct

from enginehouse.errors import EnginehouseError
from enginehouse.types.models import Deployment, Model, Operation, Priority
from enginehouse.types.phases import Phase, Said, Span
from enginehouse.types.rates import Allowance, Rates

__all__ = [
    "Caching",
    "Patience",
    "Place",
    "Principal",
    "Queueing",
    "Request",
    "Spends",
    "Timings",
    "Tried",
    "Usage",
]


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


class Tried(Struct, frozen=True, kw_only=True):
    """One try of a request that has failed before it came by the general way."""

    model: Model
    deployment: Deployment
    error: EnginehouseError
    began: float
    """When the request came, on the loop's clock."""


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
    tried: Tried | None = None
    """What was tried for it already, in vain."""
