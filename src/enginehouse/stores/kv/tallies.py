"""Counting what callers ask, for limits: several windows and seats at once, all of them or none.

A window says how much was taken in any span of its length. It is kept in sixty parts, each of which counts until
its last instant is a whole span ago: never is more let in than the limit, and what is free again is so at most a
sixtieth of the span late. Seats are held until they are given back.
"""

from typing import Protocol

from msgspec import Struct

__all__ = ["PARTS", "Asked", "Seats", "Spent", "Standing", "Taken", "Tallies", "Window", "part_width"]

PARTS = 60


def part_width(seconds: float) -> int:
    """Microseconds of one part of a window."""
    return max(1, int(seconds * 1_000_000) // PARTS)


class Window(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What shall be taken from a window."""

    key: str
    """Whose it is, and of what."""
    seconds: float
    """Its length."""
    limit: int
    """Most that may be taken in a span."""
    need: int
    """So much has to be free; at most the limit."""
    take: int
    """So much is taken."""


class Seats(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One of so many seats."""

    key: str
    limit: int


class Asked(Struct, frozen=True, kw_only=True, gc=False):
    """What somebody wants to take."""

    id: str
    """Unique: under it seats are held."""
    windows: tuple[Window, ...] = ()
    seats: tuple[Seats, ...] = ()


class Standing(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """How a window is, after what was asked; times in microseconds from now."""

    used: int
    reset: int
    """Until all of it is free again."""
    wait: int
    """Until what was needed is free; 0 when it was."""


class Taken(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What became of it."""

    admitted: bool
    """Whether it was taken; else nothing was."""
    at: int
    """When, in microseconds of the tallies' own clock."""
    windows: tuple[Standing, ...]
    """In the order in which they were asked."""
    seats: tuple[int, ...]
    """How many are taken, with one's own."""


class Spent(Struct, kw_only=True, gc=False):
    """The end of it: seats are given back, and windows hear what it really was."""

    id: str
    windows: list[tuple[str, float, int, int, int]] = []
    """Key, length, when it was taken, how much was, and how much it really was."""
    seats: tuple[str, ...] = ()


class Tallies(Protocol):
    """Where it is counted."""

    async def take(self, asked: Asked) -> Taken:
        """Take all of it if all of it is free.

        Raises:
            StoreUnavailable: the store is away. Whether it was taken is not known; seats are given back later.
        """
        ...

    async def settle(self, spent: Spent) -> None:
        """Say how it ended; a store that is away hears it later."""
        ...
