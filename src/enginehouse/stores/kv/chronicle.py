"""What all replicas tell, in one order that each of them reads in the same way."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

__all__ = ["Chronicle", "Line"]


class Line(Struct, frozen=True):
    """One thing that was told."""

    mark: tuple[int, int]
    """Its place: milliseconds since 1970 by the store's clock, and a number among those of one millisecond."""
    text: bytes


class Chronicle(Protocol):
    """The newest lines are kept, a bounded number of them."""

    name: str
    """This replica."""

    @property
    def up(self) -> bool:
        """Whether the store is believed to be there."""
        ...

    async def append(self, texts: Sequence[bytes]) -> None:
        """Write them, one after the other, after all that is there.

        Raises:
            StoreUnavailable: the store is away. Whether they were written is not known.
        """
        ...

    async def read(self, after: tuple[int, int] | None) -> Sequence[Line]:
        """What comes after a place, oldest first, and some of it at a time; waits up to a second or two for it.

        Args:
            after: without one, or when it lies behind all that is written, everything that is kept is read, and
                nobody waits for more.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...
