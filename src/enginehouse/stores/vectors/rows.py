"""Small vectors and what belongs to them, on disk, a scope at a time: what an index in memory is made from.

The table is the truth: a row is there when its call has returned, also after `kill -9`, and an index that was lost
is read from it again. Every call blocks; who calls does so from one thread.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

__all__ = ["Row", "Rows"]

_VERSION = 2
"""Of the table and of the notes in it: what an older version left is thrown away."""
_AT_A_TIME = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    scope BLOB NOT NULL,
    entry TEXT NOT NULL UNIQUE,
    vector BLOB NOT NULL,
    scale REAL NOT NULL,
    note BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS rows_scope ON rows (scope, number);
"""


class Row(Struct, frozen=True, array_like=True):
    """One vector."""

    scope: bytes
    entry: str
    """Whose it is, unique in all scopes."""
    vector: bytes
    """Numbers as int8."""
    scale: float
    """What to multiply them with."""
    note: bytes
    """What belongs to it, as the caller packed it."""


class Rows:
    """The table.

    Args:
        file: where it is.
        lasting: whether it is to outlive the process; else what an earlier process left is thrown away.
    """

    def __init__(self, file: Path, *, lasting: bool) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not lasting:
            _removed(file)
        self._connection = _opened(file)
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            self._connection.execute("DROP TABLE IF EXISTS rows")
        self._connection.executescript(f"{_SCHEMA} PRAGMA user_version={_VERSION};")

    def put(self, rows: Sequence[Row]) -> list[int]:
        """Put rows in, over those of the same entries; their numbers, which only grow."""
        statement = "INSERT INTO rows (scope, entry, vector, scale, note) VALUES (?, ?, ?, ?, ?) RETURNING number"
        with self._connection as connection:
            connection.executemany("DELETE FROM rows WHERE entry = ?", [(row.entry,) for row in rows])
            return [
                connection.execute(statement, (row.scope, row.entry, row.vector, row.scale, row.note)).fetchone()[0]
                for row in rows
            ]

    def drop(self, entries: Sequence[str]) -> list[tuple[bytes, int]]:
        """Take rows out by their entries; scope and number of those that were there."""
        gone: list[tuple[bytes, int]] = []
        with self._connection as connection:
            for some in _slices(entries):
                marks = ",".join("?" * len(some))
                gone += connection.execute(
                    f"DELETE FROM rows WHERE entry IN ({marks}) RETURNING scope, number",  # noqa: S608 - marks only
                    some,
                ).fetchall()
        return gone

    def scope(self, scope: bytes) -> list[tuple[int, bytes, float]]:
        """Number, vector and scale of all rows of a scope."""
        statement = "SELECT number, vector, scale FROM rows WHERE scope = ? ORDER BY number"
        return self._connection.execute(statement, (scope,)).fetchall()

    def notes(self, numbers: Sequence[int]) -> dict[int, tuple[str, bytes]]:
        """Entry and note of rows, by their numbers; those that are gone are left out."""
        marks = ",".join("?" * len(numbers))
        found = self._connection.execute(
            f"SELECT number, entry, note FROM rows WHERE number IN ({marks})",  # noqa: S608 - marks only
            list(numbers),
        )
        return {number: (entry, note) for number, entry, note in found}

    def count(self) -> int:
        """How many there are."""
        return self._connection.execute("SELECT count(*) FROM rows").fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA cache_size=-16000")
    return connection


def _removed(file: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        file.with_name(file.name + ending).unlink(missing_ok=True)


def _slices(entries: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(entries), _AT_A_TIME):
        yield list(entries[start : start + _AT_A_TIME])
