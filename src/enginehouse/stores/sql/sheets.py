"""Many rows into a table of SQLite's by few statements, in which what rows have in common is bound once.

To hand a text over takes SQLite a quarter of what it takes to keep a short row, and rows of one hour say mostly the
same. What a statement repeats has one number in it wherever it stands.

Behind each full sheet the thread rests for a moment, so that an event loop that waits goes on: otherwise who has
something to do keeps the interpreter for a millisecond and more, whoever is woken meanwhile.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, count, islice
from typing import Any, TypeAlias

from sqlalchemy import Connection

__all__ = ["FULL", "Columns", "Sheets"]

FULL = 40
"""Rows of a full sheet, which take some 0.2 ms."""
_SIZES = (FULL, 5, 1)
"""Rows of one statement: many cost half of what they do alone."""
_BREATH = 0.00005
"""Seconds; the kernel may make them twice as many."""
_FEW = 5
"""Fewer rows that are alike are written together with others."""

Values: TypeAlias = tuple[Any, ...]
Columns: TypeAlias = Sequence[Sequence[Any]]
"""Rows, column by column, each of them as long: so many are made, and looked at, by few calls."""


class Sheets:
    """The statements of one table; a row that is there already stays as it is.

    Args:
        table: its name.
        columns: in the order in which rows have them.
        alike: how many columns come before those that many rows share, and how many before the rest.
        breathe: lets others go first; a short sleep.
    """

    def __init__(
        self,
        table: str,
        columns: Sequence[str],
        alike: tuple[int, int],
        *,
        breathe: Callable[[], None] = lambda: time.sleep(_BREATH),
    ) -> None:
        self._begins, self._ends = alike
        self._into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608 - names only
        self._width = len(columns)
        self._statement = lru_cache(self._written)
        self._breathe = breathe

    def insert(self, connection: Connection, columns: Columns) -> None:
        """Insert rows, in whatever order."""
        if not columns[0]:
            return
        driver: Any = connection.connection.driver_connection  # every request writes: SQLAlchemy would take longer
        begins, ends = self._begins, self._ends
        own = (*columns[:begins], *columns[ends:])
        groups = _groups(columns[begins:ends], list(zip(*own, strict=True)))
        others: list[Values] = []
        for shared, alike in groups.items():
            many = len(alike) // _FEW * _FEW
            others += [row[:begins] + shared + row[begins:] for row in alike[many:]]
            self._insert(driver, shared, alike[:many])
        self._insert(driver, (), others)

    def _insert(self, driver: Any, shared: Values, rows: Sequence[Values]) -> None:
        begin = 0
        for size in _SIZES:
            end = begin + (len(rows) - begin) // size * size
            for at in range(begin, end, size):
                values = tuple(chain(shared, *rows[at : at + size]))
                driver.execute(self._statement(size, shared=bool(shared)), values)
                if size == FULL:
                    self._breathe()
            begin = end

    def _written(self, rows: int, *, shared: bool) -> str:
        """A statement for so many rows; of shared columns the values come first, once for all of them."""
        begins, ends = (self._begins, self._ends) if shared else (0, 0)
        numbers = (f"?{number}" for number in count(1))
        once = list(islice(numbers, ends - begins))
        values = ((*islice(numbers, begins), *once, *islice(numbers, self._width - ends)) for _ in range(rows))
        places = ", ".join([f"({', '.join(row)})" for row in values])
        return f"{self._into}{places} ON CONFLICT DO NOTHING"


def _groups(shared: Columns, own: Sequence[Values]) -> Mapping[Values, Sequence[Values]]:
    """What rows have of their own, by what they share; mostly all share the same.

    Args:
        shared: columns of what many rows share.
        own: of each row.
    """
    if all(column.count(column[0]) == len(own) for column in shared):
        return {tuple(column[0] for column in shared): own}
    groups: defaultdict[Values, list[Values]] = defaultdict(list)
    for key, row in zip(zip(*shared, strict=True), own, strict=True):
        groups[key].append(row)
    return groups
