"""The post between replicas of one process, on the loop's own clock, with a plug to pull."""

import asyncio
from collections.abc import Callable

from enginehouse.errors import StoreUnavailable

__all__ = ["MemoryPost", "PostOffice"]


class PostOffice:
    """What the replicas share."""

    def __init__(self) -> None:
        self.replicas: dict[str, MemoryPost] = {}
        """The living, by name."""
        self.things: dict[str, tuple[str, bool, float]] = {}
        """Who has each thing, whether it is claimed, and when it is given up."""
        self.lost: Callable[[bytes], bool] = lambda _: False
        """Whether a letter never arrives."""


class MemoryPost:
    """Satisfies `Post` for one replica.

    Args:
        office: what the replicas share.
        name: this replica.
    """

    def __init__(self, office: PostOffice, name: str) -> None:
        self.name = name
        self.up = True
        """Whether the office can be reached."""
        self._office = office
        self.hear: Callable[[bytes], None] = lambda _: None
        """Who is told what is sent to this replica."""
        office.replicas[name] = self

    def die(self) -> None:
        """As a process that is killed."""
        self.up = False
        del self._office.replicas[self.name]

    def receive(self, hear: Callable[[bytes], None]) -> None:
        """From now on this one is told what is sent to this replica."""
        self.hear = hear

    async def send(self, replica: str, letter: bytes) -> bool:
        """It arrives in the next tick."""
        await self._way()
        addressee = self._office.replicas.get(replica)
        if addressee is None or not addressee.up:
            return False
        if not self._office.lost(letter):
            asyncio.get_running_loop().call_soon(addressee.hear, letter)
        return True

    async def claim(self, thing: str, seconds: float) -> str | None:
        """As the protocol says."""
        await self._way()
        owner, claimed = self._owner(thing)
        if claimed and owner != self.name:
            return owner
        self._office.things[thing] = (self.name, True, self._now() + seconds)
        return None

    async def release(self, thing: str, seconds: float) -> None:
        """As the protocol says."""
        await self._way()
        if self._owner(thing) == (self.name, True):
            self._office.things[thing] = (self.name, False, self._now() + seconds)

    async def find(self, thing: str) -> str | None:
        """As the protocol says."""
        await self._way()
        return self._owner(thing)[0]

    def _owner(self, thing: str) -> tuple[str | None, bool]:
        owner, claimed, ends = self._office.things.get(thing, (None, False, 0.0))
        alive = owner in self._office.replicas and self._now() < ends
        return (owner, claimed) if alive else (None, False)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _way(self) -> None:
        await asyncio.sleep(0)
        if not self.up:
            raise StoreUnavailable("The office is away.")
