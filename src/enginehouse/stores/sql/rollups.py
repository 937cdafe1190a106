"""The tables of sums over usage, and every statement that changes them; `sums` asks them.

A request alone would change twenty sums, a hundred of them hardly more. So a record and its place in the line of
those that are not summed up yet are one transaction; leaving the line and counting in the sums are another, of many
records at once. Where many come together, on SQLite, they are counted in the transaction that keeps them.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Table, func, select, text

from enginehouse.stores.sql import usage
from enginehouse.stores.sql.metadata import COUNT, METADATA, WORDS
from enginehouse.stores.sql.sheets import Columns

__all__ = [
    "DIMENSIONS",
    "EACH",
    "MEASURED",
    "MEASURES",
    "PERIODS",
    "ROLLUPS",
    "USES",
    "VALUES",
    "keep",
    "recounted",
    "sum_up",
]

PERIODS = MappingProxyType({"hour": 3600, "day": 86_400, "octave": 8 * 86_400})
"""Name → seconds, each a multiple of the one before; all begin with the UTC day.

Eight days are kept of everybody's usage only: by key a month is long, of one user it is short.
"""
DIMENSIONS = ("total", "model", "user", "key", "tenant", "tag")
CELL_KEY = ("period", "user_id", "dimension", "start", "value", "operation")

MEASURED = MappingProxyType(
    {
        "requests": "1",
        "failed": "CASE WHEN r.outcome = 'failed' THEN 1 ELSE 0 END",
        "cancelled": "CASE WHEN r.outcome = 'cancelled' THEN 1 ELSE 0 END",
        "cache_hits": "CASE WHEN r.cache <> '' THEN 1 ELSE 0 END",
        "input_tokens": "r.input_tokens",
        "cached_input_tokens": "r.cached_input_tokens",
        "output_tokens": "r.output_tokens",
        "reasoning_tokens": "r.reasoning_tokens",
        "cost": "coalesce(r.cost, 0)",
        "unpriced": "CASE WHEN r.cost IS NULL THEN 1 ELSE 0 END",
    }
)
"""What one record counts: name → expression over a record `r`."""
MEASURES = tuple(MEASURED)

ROLLUPS = Table(
    "usage_rollups",
    METADATA,
    *(Column(n, COUNT if n == "start" else WORDS, primary_key=True, autoincrement=False) for n in CELL_KEY),
    *(Column(n, COUNT, nullable=False) for n in MEASURES),
    sqlite_with_rowid=False,
)
USES = Table(
    "api_key_uses",
    METADATA,
    Column("key_id", WORDS, primary_key=True),
    Column("used", COUNT, nullable=False, comment="seconds since 1970: when its last request came"),
    sqlite_with_rowid=False,
)

VALUES = MappingProxyType({"model": "model", "key": "key_id", "tenant": "tenant", "user": "user_id"})
"""Dimension → the column of a record in which its value is; a tag is one of many, a total has none."""
_TURN = 0x726F6C6C757073  # "rollups": on one PostgreSQL server one at a time sums up
_MANY = 20
"""Records that are alike, from which on counting them at once takes less than standing in line does."""
_likeness = itemgetter(*map(usage.COLUMNS.index, ("user_id", "key_id", "model", "tags", "operation")))
"""Of columns, those in which records are alike that count in the same sums."""


def keep(connection: Connection, columns: Columns) -> None:
    """Insert records that are not there yet: each is counted in the sums now, or waits for it.

    Args:
        columns: of the records, in the order of `usage.COLUMNS`.
    """
    kinds = len(set(zip(*_likeness(columns), strict=True)))
    if connection.dialect.name == "sqlite" and len(columns[0]) >= _MANY * kinds:
        past = usage.insert_rows(connection, columns)
        statements = _statements(connection.dialect.name)
        connection.execute(statements.add_new, {"past": past, "sign": 1})
        connection.execute(statements.uses_new, {"past": past})
    else:
        usage.insert_records(connection, columns)


def sum_up(connection: Connection, most: int) -> int:
    """Count at most so many records that wait for it, oldest first; how many it were.

    It is none, too, while another replica does the same.
    """
    if not _turn(connection, wait=False):
        return 0
    statements = _statements(connection.dialect.name)
    ids = list(connection.execute(statements.taken, {"most": most}).scalars())
    if ids:
        connection.execute(statements.add, {**_given(ids), "sign": 1})
        connection.execute(statements.uses, _given(ids))
    return len(ids)


@contextmanager
def recounted(connection: Connection, ids: Sequence[str]) -> Generator[None]:
    """Inside, records get other costs: the sums forget what they hold of them before, and count it again after."""
    _turn(connection, wait=True)
    statements = _statements(connection.dialect.name)
    summed = list(connection.execute(statements.summed, _given(ids)).scalars())
    if summed:
        connection.execute(statements.add, {**_given(summed), "sign": -1})
    yield
    if summed:
        connection.execute(statements.add, {**_given(summed), "sign": 1})


def _turn(connection: Connection, *, wait: bool) -> bool:
    """On PostgreSQL sums are changed by one at a time, until its transaction ends; whether it is our turn."""
    if connection.dialect.name == "sqlite":
        return True
    if wait:
        connection.execute(select(func.pg_advisory_xact_lock(_TURN)))
        return True
    return bool(connection.execute(select(func.pg_try_advisory_xact_lock(_TURN))).scalar_one())


def _given(ids: Sequence[str]) -> dict[str, Any]:
    return {"ids": msgspec.json.encode(ids).decode()}


EACH = MappingProxyType(
    {"sqlite": "json_each({0}) AS {1}", "postgresql": "json_array_elements_text(CAST({0} AS JSON)) AS {1}(value)"}
)
"""The items of a list of texts as a table with a column `value`, on each kind of database."""


class _Statements:
    """What SQLAlchemy would say at great length, for one kind of database."""

    def __init__(self, dialect: str) -> None:
        each = EACH[dialect].format
        ids, tags = each(":ids", "taken"), each("tags", "tag")
        self.taken = text(_TAKEN)
        given = _OF_IDS.format(ids=ids)
        self.add, self.add_new = (
            text(_ADD.format(records=records, placed=_placed(tags), periods=_periods(), **_lists()))
            for records in (given, _NEW)
        )
        self.uses, self.uses_new = (text(_USED.format(records=records)) for records in (given, _NEW))
        self.summed = text(_SUMMED.format(ids=ids))


_statements = cache(_Statements)

_TAKEN = """
    DELETE FROM usage_unsummed
    WHERE record_id IN (SELECT record_id FROM usage_unsummed ORDER BY record_id LIMIT :most)
    RETURNING record_id
"""
_SUMMED = """
    SELECT taken.value FROM {ids}
    WHERE NOT EXISTS (SELECT 1 FROM usage_unsummed WHERE record_id = taken.value)
"""
_OF_IDS = "{ids} JOIN usage_records AS r ON r.id = taken.value WHERE TRUE"
_NEW = "usage_records AS r WHERE r.rowid > :past"
_USED = """
    INSERT INTO api_key_uses (key_id, used)
    SELECT r.key_id, max(r.time) / 1000000 FROM {records} AND r.key_id <> '' GROUP BY r.key_id ORDER BY r.key_id
    ON CONFLICT (key_id) DO UPDATE SET used = excluded.used WHERE excluded.used > api_key_uses.used
"""
# Alike records are one row first, then one for each sum of an hour they count in, then those of longer periods.
_ADD = """
    WITH alike AS (
        SELECT r.user_id, r.key_id, r.tenant, r.model, r.tags, r.operation,
               r.time / 3600000000 * 3600 AS start, {measured}
        FROM {records}
        GROUP BY 1, 2, 3, 4, 5, 6, 7
    ),
    hours AS (
        SELECT scope, dimension, value, start, operation, {summed} FROM ({placed}) AS placed
        GROUP BY 1, 2, 3, 4, 5
    ),
    periods(period, seconds) AS (VALUES {periods})
    INSERT INTO usage_rollups ({columns})
    SELECT period, scope, dimension, start / seconds * seconds, value, operation, {signed}
    FROM hours CROSS JOIN periods WHERE scope = '' OR period <> 'octave'
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT ({key}) DO UPDATE SET {grown}
"""


def _lists() -> dict[str, str]:
    """Lists of columns and measures, as the statement wants them."""
    return {
        "columns": ", ".join((*CELL_KEY, *MEASURES)),
        "key": ", ".join(CELL_KEY),
        "measured": ", ".join(f"sum({expression}) AS {name}" for name, expression in MEASURED.items()),
        "summed": ", ".join(f"sum({name}) AS {name}" for name in MEASURES),
        "signed": ", ".join(f"CAST(:sign AS BIGINT) * sum({name})" for name in MEASURES),
        "grown": ", ".join(f"{name} = usage_rollups.{name} + excluded.{name}" for name in MEASURES),
    }


def _placed(tags: str) -> str:
    """Everybody's sums and each user's own, by each dimension; what a record has none of is not told by it."""
    places = [("''", "total", "''"), ("user_id", "total", "''"), ("''", "user", "user_id")]
    places += [(scope, name, VALUES[name]) for scope in ("''", "user_id") for name in ("model", "key", "tenant")]
    parts = [_part(scope, name, value, "alike") for scope, name, value in places]
    parts += [_part(scope, "tag", "tag.value", f"alike CROSS JOIN {tags}") for scope in ("''", "user_id")]
    return " UNION ALL ".join(parts)


def _part(scope: str, dimension: str, value: str, source: str) -> str:
    wanted = "" if value == "''" else f" WHERE {value} <> ''"
    return (
        f"SELECT {scope} AS scope, '{dimension}' AS dimension, {value} AS value, start, operation, "  # noqa: S608
        f"{', '.join(MEASURES)} FROM {source}{wanted}"
    )


def _periods() -> str:
    return ", ".join(f"('{name}', {seconds})" for name, seconds in PERIODS.items())
