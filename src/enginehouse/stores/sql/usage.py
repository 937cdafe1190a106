"""The tables of usage, and every statement on them: records, prices, and the line of what is not summed up yet."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Executable,
    Index,
    Integer,
    Table,
    bindparam,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from enginehouse.stores.sql.metadata import COUNT, METADATA, WORDS
from enginehouse.stores.sql.sheets import Columns, Sheets

__all__ = [
    "COLUMNS",
    "PRICES",
    "RECORDS",
    "TOKENS",
    "UNSUMMED",
    "Row",
    "asked",
    "insert_prices",
    "insert_records",
    "insert_rows",
    "newest",
    "read_records",
    "update_costs",
    "work_done",
]

Row: TypeAlias = Mapping[str, Any]
"""Column → value."""

TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
"""Columns that count tokens, each other ones."""


def _words(name: str) -> Column[str]:
    return Column(name, WORDS, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, COUNT, nullable=False)


def _maybe(name: str) -> Column[int]:
    return Column(name, COUNT)


RECORDS = Table(
    "usage_records",
    METADATA,
    Column("id", WORDS, primary_key=True, comment="time-ordered, so that a range of ids is a range of time"),
    _words("request_id"),
    Column("time", COUNT, nullable=False, comment="microseconds since 1970, UTC: when the request came"),
    *(_words(n) for n in ("user_id", "key_id", "tenant", "tier", "model", "version", "deployment", "engine")),
    *(_words(n) for n in ("provider", "upstream_model", "face", "operation")),
    Column("stream", Boolean(create_constraint=False), nullable=False),
    *(_words(n) for n in ("outcome", "error", "cache", "tags")),
    *(_count(n) for n in TOKENS),
    Column("estimated", Boolean(create_constraint=False), nullable=False),
    *(_maybe(n) for n in ("input_cost", "output_cost", "cost")),
    Column("price_id", WORDS),
    Column("slots", Integer, nullable=False),
    *(_maybe(n) for n in ("queue_us", "load_us", "ttft_us", "upstream_us")),
    _count("total_us"),
    Column("digest", WORDS, nullable=False, server_default="", comment="keyed, of what was asked; empty: not kept"),
)
Index(None, RECORDS.c.user_id, RECORDS.c.id)

UNSUMMED = Table(
    "usage_unsummed",
    METADATA,
    Column("record_id", WORDS, primary_key=True, comment="a record that the sums do not hold yet"),
    sqlite_with_rowid=False,
)

PRICES = Table(
    "usage_prices",
    METADATA,
    Column("id", WORDS, primary_key=True),
    *(_words(n) for n in ("model", "source", "since")),
    *(Column(n, WORDS) for n in ("input_per_1k", "cached_input_per_1k", "output_per_1k", "per_hour")),
)

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


_NAMES = tuple(column.name for column in RECORDS.columns if column.name not in {"tags", "price_id"})
_OWN = _NAMES.index("user_id")
COLUMNS = (*_NAMES[:_OWN], "tags", "price_id", *_NAMES[_OWN:])
"""The columns of records in the order of the rows that are inserted."""
_LISTED = ", ".join(COLUMNS)
_SHEETS = Sheets("usage_records", COLUMNS, (_OWN, COLUMNS.index("input_tokens")))
# SQLite has one writer at a time: what is behind its last row was put there by this transaction.
_NEWEST_ROW = "SELECT coalesce(max(rowid), 0) FROM usage_records"
_IN_LINE = "INSERT INTO usage_unsummed (record_id) SELECT id FROM usage_records WHERE rowid > ?"
# One question whatever the number of records, so that it is prepared once; only what is new stands in line.
_KEPT_ON_SERVER = text(f"""
    WITH new AS (
        INSERT INTO usage_records ({_LISTED})
        SELECT {_LISTED} FROM json_populate_recordset(CAST(NULL AS usage_records), CAST(:rows AS JSON))
        ON CONFLICT DO NOTHING RETURNING id
    )
    INSERT INTO usage_unsummed (record_id) SELECT id FROM new
""")  # noqa: S608 - nothing but the names of columns


@cache
def _new_prices(dialect: str) -> Executable:
    return _INSERTS[dialect](PRICES).on_conflict_do_nothing(index_elements=["id"])


def insert_records(connection: Connection, columns: Columns) -> None:
    """Insert records that are not there yet, and let them wait to be summed up.

    Args:
        columns: of the records, in the order of `COLUMNS`.
    """
    if connection.dialect.name == "sqlite":
        past = insert_rows(connection, columns)
        connection.exec_driver_sql(_IN_LINE, (past,))
    else:
        named = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
        connection.execute(_KEPT_ON_SERVER, {"rows": msgspec.json.encode(named).decode()})


def insert_rows(connection: Connection, columns: Columns) -> int:
    """Insert records into SQLite that are not there yet, without a place in the line of those to be summed up.

    Args:
        columns: of the records, in the order of `COLUMNS`.

    Returns:
        The number of a row: those behind it are the new ones, until the transaction ends.
    """
    past = connection.exec_driver_sql(_NEWEST_ROW).scalar_one()
    _SHEETS.insert(connection, columns)
    return int(past)


def insert_prices(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert prices that are not there yet."""
    connection.execute(_new_prices(connection.dialect.name), rows)


def read_records(
    connection: Connection, *, after: str, before: str, limit: int, user: str | None = None, lock: bool = False
) -> list[Row]:
    """Records with ids above `after` and below `before`, in the order of time."""
    statement = select(RECORDS).where(RECORDS.c.id > after, RECORDS.c.id < before)
    if user is not None:
        statement = statement.where(RECORDS.c.user_id == user)
    if lock:
        statement = statement.with_for_update()
    rows = connection.execute(statement.order_by(RECORDS.c.id).limit(limit))
    return [dict(row) for row in rows.mappings()]


def newest(connection: Connection, after: str, before: str, most: int, user: str | None = None) -> str | None:
    """The id behind which the newest so many records are; None when there are no more than that."""
    statement = select(RECORDS.c.id).where(*_between(after, before, user))
    return connection.execute(statement.order_by(RECORDS.c.id.desc()).offset(most).limit(1)).scalar_one_or_none()


def work_done(connection: Connection, after: str, before: str, user: str | None = None) -> list[Row]:
    """Sums over records that an engine or a cache answered, by what matters where costs are compared."""
    of = RECORDS.c
    unpriced = of.cost.is_(None)
    groups = (of.model, of.provider, of.upstream_model, of.stream, of.outcome, of.cache)
    sums = {name: func.coalesce(func.sum(of[name]), 0) for name in (*TOKENS, "cost")}
    read = of.input_tokens + of.cached_input_tokens
    longest = {"longest_input": read, "longest": read + of.output_tokens + of.reasoning_tokens}
    statement = (
        select(*groups, unpriced.label("unpriced"), func.count().label("requests"))
        .add_columns(*(term.label(name) for name, term in sums.items()))
        .add_columns(*(func.max(term).label(name) for name, term in longest.items()))
        .where(*_between(after, before, user), or_(of.upstream_us.is_not(None), of.cache != ""))
        .group_by(*groups, unpriced)
    )
    counts = {"requests", *sums, *longest}
    rows = connection.execute(statement).mappings()
    return [{name: int(row[name]) if name in counts else row[name] for name in row} for row in rows]


def asked(connection: Connection, *, after: str, before: str, limit: int, user: str | None = None) -> list[Row]:
    """What tells repeats of answers that an engine completed, in the order of time."""
    of = RECORDS.c
    names = ("id", "time", "total_us", "user_id", "model", "operation", "face", "digest", "cost")
    tokens = [of[name] for name in TOKENS]
    statement = (
        select(*(of[name] for name in names), *tokens)
        .where(
            *_between(after, before, user), of.outcome == "completed", of.upstream_us.is_not(None), of.cache == ""
        )
        .order_by(of.id)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def _between(after: str, before: str, user: str | None) -> list[ColumnElement[bool]]:
    wanted = [RECORDS.c.id > after, RECORDS.c.id < before]
    return wanted if user is None else [*wanted, RECORDS.c.user_id == user]


def update_costs(connection: Connection, rows: Sequence[Row]) -> None:
    """Give records new costs; each row has `id`, `input_cost`, `output_cost`, `cost`, `price_id`."""
    statement = update(RECORDS).where(RECORDS.c.id == bindparam("of"))
    connection.execute(statement, [{**row, "of": row["id"]} for row in rows])
