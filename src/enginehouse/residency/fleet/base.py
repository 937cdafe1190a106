"""What is said in a fleet: between replicas and the owner of residency, and between the owner and the nodes."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from enginehouse.engines.base import Engine
from enginehouse.engines.metadata import Weight
from enginehouse.errors import (
    Conflict,
    EnginehouseError,
    InsufficientMemory,
    LoadTimeout,
    ModelLoadFailed,
    OutOfMemory,
    ShuttingDown,
    SourceError,
)
from enginehouse.residency.base import Door, Terms
from enginehouse.residency.fleet.views import FleetView
from enginehouse.types import Deployment

__all__ = [
    "Answer",
    "Connect",
    "Ended",
    "EngineGone",
    "Grid",
    "Line",
    "NodeFacts",
    "OwnerAway",
    "Pulse",
    "Recalled",
    "Refusal",
    "RemoteEngine",
    "Report",
    "Sign",
    "Stay",
    "Survivor",
    "Tiding",
    "error_of",
    "refusal_of",
]


class OwnerAway(Exception):
    """The owner does not answer; it comes back by itself."""


class EngineGone(Exception):
    """What ran an engine is no more."""


# Between replicas and the owner


class Stay(Struct, frozen=True, kw_only=True):
    """An engine that a replica may use until it gives that back."""

    door: Door
    life: str
    """Which life of the deployment this is: another one is another process."""
    node: str


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a replica may not: an error of the tree, as it can be sent."""

    kind: str
    message: str
    retry_after: float | None = None


class Report(Struct, frozen=True, kw_only=True):
    """How a replica uses what it holds."""

    ticket: str
    running: bool
    """Whether requests use it now."""
    requests: int
    """How many there were since the last report."""


class Recalled(Struct, frozen=True, tag=True):
    """It shall be given back once its running requests have ended."""

    ticket: str


class Ended(Struct, frozen=True, tag=True):
    """The engine is no more."""

    ticket: str
    reason: str


class Sign(Struct, frozen=True, tag=True):
    """The load goes on."""

    ticket: str
    sign: str


Tiding = Recalled | Ended | Sign


class Answer(Struct, frozen=True, kw_only=True):
    """What the owner says to a replica that has told that it lives."""

    tidings: tuple[Tiding, ...] = ()
    unknown: tuple[str, ...] = ()
    """Tickets of the replica that the owner knows nothing of: it has begun anew, or had taken the replica for
    dead."""


class Line(Protocol):
    """How a replica speaks to the owner; every method raises OwnerAway while it does not answer."""

    async def hold(self, replica: str, ticket: str, deployment: Deployment, terms: Terms) -> Stay | Refusal:
        """Have a deployment loaded, and keep it until it is released; a ticket that is known is answered again."""
        ...

    async def release(self, replica: str, ticket: str, fault: str | None) -> None:
        """Give it back, or ask for it no more.

        Args:
            fault: what is wrong with the engine, if the replica found something.
        """
        ...

    async def beat(self, replica: str, tickets: Sequence[str], reports: Sequence[Report]) -> Answer:
        """The replica lives and uses these; returns when there is something to tell, or after a moment."""
        ...

    async def view(self) -> FleetView:
        """The whole fleet, for people."""
        ...


# Between the owner and the nodes


class NodeFacts(Struct, frozen=True, kw_only=True):
    """A node that is alive."""

    id: str
    host: str = ""
    """Its address."""
    ram: int
    """Bytes of main memory that it has for engines."""
    gpus: Mapping[int, int] = {}
    """Bytes of each of its GPUs, by index."""
    labels: Mapping[str, str] = {}


class Pulse(Struct, frozen=True, kw_only=True):
    """What an engine's keeper has to tell since it was last asked."""

    lines: tuple[str, ...] = ()
    sign: str | None = None
    ended: str | None = None
    """Why the engine stopped by itself, if it did."""


class RemoteEngine(Protocol):
    """One life of an engine on a node; every method raises EngineGone when its keeper is no more."""

    life: str

    async def start(self) -> Door:
        """Load it; once it answers this returns at once.

        Raises:
            ModelLoadFailed, SourceError: it did not come up.
        """
        ...

    async def listen(self) -> Pulse:
        """Returns when there is something to tell, or after a moment. Who does not listen for long is taken for
        dead, and the engine ends by itself."""
        ...

    async def measure(self) -> int | None:
        """Bytes of main memory it takes now."""
        ...

    async def stop(self) -> None:
        """End it and its keeper; returns when it is gone or nothing can be known of it. Never raises."""
        ...


class Survivor(Struct, frozen=True, kw_only=True):
    """An engine that was there before the owner."""

    deployment: Deployment
    node: str
    weight: Weight
    """What was set aside for it."""
    engine: RemoteEngine


class Grid(Protocol):
    """The nodes, as the owner needs them."""

    async def nodes(self) -> Sequence[NodeFacts]:
        """Those that are alive now."""
        ...

    async def weigh(self, deployment: Deployment, node: str) -> Weight:
        """What it takes, as its files say on a node; they are fetched there first if they have to be.

        Raises:
            SourceError, ModelLoadFailed: they could not be had, or cannot be loaded at all.
            EngineGone: the node does not answer.
        """
        ...

    def engine(
        self, deployment: Deployment, node: str, weight: Weight, gpus: Mapping[int, int] | None
    ) -> RemoteEngine:
        """A new life on a node, yet to be started.

        Args:
            weight: bytes set aside for it.
            gpus: those on each GPU; None leaves GPUs to its flags.
        """
        ...

    async def survivors(self) -> Sequence[Survivor]:
        """Engines that live already."""
        ...

    async def want(self, bundles: Sequence[Mapping[str, float]], labels: Sequence[Mapping[str, str]]) -> None:
        """Let there be nodes for all of these at once, now and as long as nothing else is said.

        Args:
            bundles: amounts by Ray's name of the resource.
            labels: what the node of each bundle has to say of itself.
        """
        ...


class Connect(Protocol):
    """Opens the way to an engine that runs somewhere."""

    def __call__(self, deployment: Deployment, door: Door, /) -> AbstractAsyncContextManager[Engine]:
        """Leaving closes it, and cuts what is under way."""
        ...


_ERRORS = {
    error.__name__: error
    for error in (
        Conflict,
        InsufficientMemory,
        LoadTimeout,
        ModelLoadFailed,
        OutOfMemory,
        ShuttingDown,
        SourceError,
    )
}


def refusal_of(error: EnginehouseError) -> Refusal:
    """As it can be sent."""
    return Refusal(kind=type(error).__name__, message=error.message, retry_after=error.retry_after)


def error_of(refusal: Refusal) -> EnginehouseError:
    """As it can be raised."""
    return _ERRORS.get(refusal.kind, ModelLoadFailed)(refusal.message, retry_after=refusal.retry_after)
