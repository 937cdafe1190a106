"""What residency asks of a launcher, and what a launcher tells in return."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from msgspec import Struct

from enginehouse.engines.base import Engine
from enginehouse.engines.metadata import Weight
from enginehouse.types import Deployment, Model, Priority

__all__ = ["USUAL", "Door", "Launcher", "Lease", "Loaded", "Offloads", "Terms", "Watcher", "terms_of"]


class Terms(Struct, frozen=True, kw_only=True):
    """How long a deployment stays in memory once it is there, and how it stands against others."""

    ttl: float | None = None
    """Idle seconds before it leaves; None takes the service's default, 0 means never."""
    priority: Priority = Priority.NORMAL
    """How late it is evicted, and whom it may evict itself."""
    pinned: bool = False
    """Never evicted."""
    refreshed: bool = False
    """When its TTL ends its engine is asked how it is, and the TTL begins anew: idleness does not end its stay."""
    evicts: bool = True
    """Whether others may have to leave for it."""


USUAL = Terms()
"""What holds where a model says nothing."""


def terms_of(model: Model) -> Terms:
    """What a model's entry in the catalogue says of its stay in memory."""
    return Terms(ttl=model.ttl, priority=model.priority, pinned=model.pinned, refreshed=model.preload)


class Door(Struct, frozen=True, kw_only=True):
    """How an engine is reached over HTTP, by who knows its key."""

    address: str
    """Root of its API."""
    api_key: str
    """Made for this one process."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rpartition(":")[2])

    def __repr__(self) -> str:
        """Without the key."""
        return f"Door({self.address!r})"


class Loaded(Struct, frozen=True, kw_only=True):
    """A deployment that answers."""

    engine: Engine
    pid: int | None = None
    """The engine's own process, if it has one."""
    port: int | None = None
    """Where that process listens."""
    door: Door | None = None
    """How it is reached, where that is over HTTP."""
    measure: Callable[[], Awaitable[int | None]] | None = None
    """Bytes of main memory it takes now, where its process is on another machine."""


class Lease(Struct, frozen=True, kw_only=True):
    """The right to use a resident now; while it is held the resident is not stopped by us."""

    engine: Engine
    waited: float
    """Seconds from asking to having it: next to nothing when it was ready."""


class Watcher(Protocol):
    """Hears what happens to an engine; called from the event loop, never awaited."""

    def progressed(self, sign: str) -> None:
        """The load moves: bytes arrived, the engine printed a line."""
        ...

    def printed(self, lines: Sequence[str]) -> None:
        """The engine process wrote these lines."""
        ...

    def ended(self, reason: str) -> None:
        """The engine stopped by itself; leases on it are worth nothing any more."""
        ...


class Launcher(Protocol):
    """Brings a deployment into memory, and out again when its context ends."""

    async def weigh(self, deployment: Deployment, watcher: Watcher) -> int:
        """Bytes of memory it will take, by what its files say; they are fetched first if they have to be.

        Raises:
            SourceError: the model's files could not be had.
            ModelLoadFailed: it cannot be loaded at all, whatever the memory.
        """
        ...

    def load(self, deployment: Deployment, watcher: Watcher) -> AbstractAsyncContextManager[Loaded]:
        """Enter to load, leave to unload; both may take long and may be cancelled.

        Raises:
            ModelLoadFailed: the engine did not come up; the message ends with its own last lines.
            SourceError: the model's files could not be had.
        """
        ...


@runtime_checkable
class Offloads(Protocol):
    """A launcher whose engines can keep layers on GPUs."""

    async def offload(self, deployment: Deployment, watcher: Watcher) -> Weight | None:
        """What it takes with its layers where its flags want them; None when this engine can use no GPU.

        Raises:
            SourceError: the model's files could not be had.
            ModelLoadFailed: it cannot be loaded at all, whatever the memory.
        """
        ...

    def load_on(
        self, deployment: Deployment, watcher: Watcher, gpus: Mapping[int, int]
    ) -> AbstractAsyncContextManager[Loaded]:
        """Like `load`, which leaves GPUs to its flags, and no other GPUs than these are used.

        Args:
            gpus: bytes that were set aside for it, by GPU; over several it is divided in this proportion. Empty
                means that it lies in main memory.
        """
        ...
