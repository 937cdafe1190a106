"""Finished answers by their keys: what a store of them can do, whether it is this process or Redis."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from enginehouse.types.cached import Entry

__all__ = ["Answers", "Holding"]


class Holding(Struct, frozen=True, kw_only=True):
    """How full a store is."""

    entries: int
    bytes: int
    """By `Entry.size`."""
    evicted: int
    """Entries that had to go for newer ones, since the start."""


class Answers(Protocol):
    """Keeps a bounded number of bytes; the longest unused entries go first. Nothing outlives its time."""

    backend: str
    """`memory` or `redis`."""

    async def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """What is kept under each key, whose time has not come.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...

    async def put(self, entry: Entry) -> None:
        """Keep it, in the place of what was under its key.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...

    async def drop(self, keys: Sequence[bytes]) -> int:
        """Keep nothing under these keys; returns how many there were.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...

    async def sweep(self, dead: Callable[[Entry], bool]) -> list[str]:
        """Drop all entries that are dead, a few at a time; returns their ids.

        Raises:
            StoreUnavailable: the store is away; some may be left.
        """
        ...

    async def holding(self) -> Holding:
        """How full it is.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...

    def adopt(self, max_bytes: int) -> None:
        """A new bound counts from the next entry on."""
        ...
