"""Copies of conversations at hand, so that the next turn need not read the whole of one from the database.

A copy belongs to one version of its conversation. The database says which version is the right one, and a copy of
another version is none; so a copy that is lost, late or old is never wrong, only of no use.
"""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Protocol

__all__ = ["HotCopies", "MemoryCopies"]


class HotCopies(Protocol):
    """Where they are kept."""

    async def get(self, key: str, version: int) -> bytes | None:
        """The copy of this version; None where there is none, or nobody answers."""
        ...

    async def put(self, key: str, version: int, copy: bytes) -> None:
        """Keep a copy, unless one of a later version is there or the conversation was deleted."""
        ...

    async def drop(self, key: str) -> None:
        """The conversation was deleted: nothing is kept of it any more, nor is what comes late."""
        ...


class MemoryCopies:
    """Satisfies `HotCopies` in this process.

    Args:
        limit: bytes of all copies.
        ttl: seconds for which one is kept after it was last used.
        clock: seconds.
    """

    def __init__(self, limit: int, ttl: float, clock: Callable[[], float] = monotonic) -> None:
        self._limit, self._ttl, self._clock = limit, ttl, clock
        self._kept: OrderedDict[str, tuple[int, bytes | None, float]] = OrderedDict()
        self.size = 0
        """Bytes that are kept."""

    async def get(self, key: str, version: int) -> bytes | None:
        """The copy of this version."""
        self._expire()
        had, copy, _ = self._kept.get(key, (0, None, 0.0))
        if copy is None or had != version:
            return None
        self._keep(key, version, copy)
        return copy

    async def put(self, key: str, version: int, copy: bytes) -> None:
        """Keep a copy."""
        self._expire()
        had, kept, _ = self._kept.get(key, (0, b"", 0.0))
        if kept is None or had > version or len(copy) > self._limit:
            return
        self._keep(key, version, copy)
        while self.size > self._limit:
            self._forget(next(iter(self._kept)))

    async def drop(self, key: str) -> None:
        """Keep nothing; the place is held until what comes late has come."""
        self._expire()
        self._keep(key, 0, None)

    def _keep(self, key: str, version: int, copy: bytes | None) -> None:
        self._forget(key)
        self._kept[key] = (version, copy, self._clock() + self._ttl)
        self.size += len(copy or b"")

    def _forget(self, key: str) -> None:
        _, copy, _ = self._kept.pop(key, (0, None, 0.0))
        self.size -= len(copy or b"")

    def _expire(self) -> None:
        """The one that was used the longest ago stands first."""
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[2] <= now:
            self._forget(next(iter(self._kept)))
