"""Who has room, found without asking everybody: a tree whose knots know the most of all that is below."""

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import TypeAlias

__all__ = ["Heights", "Row"]

Row: TypeAlias = tuple[int, ...]
"""Amounts of a few axes, always in the same order."""


class Heights:
    """A row for each of any number of places; a change and a search take steps of the order of log n.

    A search is that quick where one axis decides. Where rows are high on different axes, a knot may promise what
    none of those below it has on all of them, and the search looks below it in vain.

    Args:
        width: axes of a row.
    """

    def __init__(self, width: int) -> None:
        self._nothing: Row = (-1,) * width
        self._leaves = 1
        self._tree: list[Row] = [self._nothing] * 2

    def put(self, place: int, row: Row) -> None:
        """So much is there now."""
        while place >= self._leaves:
            self._grow()
        knot = place + self._leaves
        self._tree[knot] = row
        while knot > 1:
            knot //= 2
            highest = tuple(map(max, self._tree[2 * knot], self._tree[2 * knot + 1]))
            if highest == self._tree[knot]:
                return
            self._tree[knot] = highest

    def clear(self, place: int) -> None:
        """Nothing is there any more, not even room for nothing."""
        if place < self._leaves:
            self.put(place, self._nothing)

    def above(self, need: Sequence[int], lead: int) -> Iterator[int]:
        """Places with no less of anything than is needed; those with the most of the leading axis come first.

        Args:
            need: at least 0 each.
            lead: index of that axis.
        """
        knots: list[tuple[int, int, int]] = []

        def look(knot: int) -> None:
            row = self._tree[knot]
            if all(there >= wanted for there, wanted in zip(row, need, strict=True)):
                # Among equals the deeper one is followed, else a search among equals would look at all of them.
                heappush(knots, (-row[lead], -knot.bit_length(), knot))

        look(1)
        while knots:
            _, _, knot = heappop(knots)
            if knot >= self._leaves:
                yield knot - self._leaves
            else:
                look(2 * knot)
                look(2 * knot + 1)

    def _grow(self) -> None:
        rows = self._tree[self._leaves :]
        self._leaves *= 2
        self._tree = [self._nothing] * (2 * self._leaves)
        for place, row in enumerate(rows):
            self.put(place, row)
