"""The tables of usage, and every statement on them: records, prices, rollups."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Executable,
    Index,
    Integer,
    Table,
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from enginehouse.stores.sql.metadata import COUNT, METADATA, WORDS

__all__ = [
    "CELL_KEY",
    "MEASURES",
    "PRICES",
    "RECORDS",
    "ROLLUPS",
    "Row",
    "add_cells",
    "asked",
    "insert_prices",
    "insert_records",
    "newest",
    "read_records",
    "spent",
    "sums",
    "update_costs",
    "work_done",
]

Row: TypeAlias = Mapping[str, Any]
"""Column → value."""


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
    *(_count(n) for n in ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")),
    Column("estimated", Boolean(create_constraint=False), nullable=False),
    *(_maybe(n) for n in ("input_cost", "output_cost", "cost")),
    Column("price_id", WORDS),
    Column("slots", Integer, nullable=False),
    *(_maybe(n) for n in ("queue_us", "load_us", "ttft_us", "upstream_us")),
    _count("total_us"),
    Column("digest", WORDS, nullable=False, server_default="", comment="keyed, of what was asked; empty: not kept"),
)
Index(None, RECORDS.c.user_id, RECORDS.c.id)
Index(None, RECORDS.c.request_id)

PRICES = Table(
    "usage_prices",
    METADATA,
    Column("id", WORDS, primary_key=True),
    *(_words(n) for n in ("model", "source", "since")),
    *(Column(n, WORDS) for n in ("input_per_1k", "cached_input_per_1k", "output_per_1k", "per_hour")),
)

CELL_KEY = ("period", "user_id", "dimension", "start", "value", "operation")
MEASURES = (
    "requests",
    "failed",
    "cancelled",
    "cache_hits",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost",
    "unpriced",
)
ROLLUPS = Table(
    "usage_rollups",
    METADATA,
    *(Column(n, COUNT if n == "start" else WORDS, primary_key=True, autoincrement=False) for n in CELL_KEY),
    *(_count(n) for n in MEASURES),
    sqlite_with_rowid=False,
)

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@cache
def _new_records(dialect: str) -> Executable:
    insert = _INSERTS[dialect](RECORDS)
    return insert.on_conflict_do_nothing(index_elements=["id"]).returning(RECORDS.c.id)


@cache
def _new_prices(dialect: str) -> Executable:
    return _INSERTS[dialect](PRICES).on_conflict_do_nothing(index_elements=["id"])


@cache
def _added_cells(dialect: str) -> Executable:
    insert = _INSERTS[dialect](ROLLUPS)
    sums = {name: ROLLUPS.c[name] + insert.excluded[name] for name in MEASURES}
    return insert.on_conflict_do_update(index_elements=list(CELL_KEY), set_=sums)


def insert_records(connection: Connection, rows: Sequence[Row]) -> set[str]:
    """Insert records that are not there yet; returns the ids of those that were not."""
    return set(connection.execute(_new_records(connection.dialect.name), rows).scalars())


def insert_prices(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert prices that are not there yet."""
    connection.execute(_new_prices(connection.dialect.name), rows)


def add_cells(connection: Connection, rows: Sequence[Row]) -> None:
    """Add to the rollups, in the order of their keys, so that two writers never wait for each other in a ring."""
    ordered = sorted(rows, key=lambda row: [row[name] for name in CELL_KEY])
    connection.execute(_added_cells(connection.dialect.name), ordered)


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
    sums = {name: func.coalesce(func.sum(of[name]), 0) for name in MEASURES if name in of}
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
    tokens = [of[name] for name in MEASURES if name.endswith("_tokens")]
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


def sums(
    connection: Connection,
    *,
    period: str,
    user: str,
    dimension: str,
    start: int,
    end: int,
    by: str,
    operation: str | None = None,
    value: str | None = None,
) -> list[Row]:
    """Sums of all measures in [start, end), one row for each `by` (`value` or `start`), in its order.

    Args:
        user: whose usage; empty is everybody's.
        operation: only this one.
        value: only this one of the dimension.
    """
    cell = ROLLUPS.c
    wanted = [cell.period == period, cell.user_id == user, cell.dimension == dimension]
    wanted += [cell.start >= start, cell.start < end]
    if operation is not None:
        wanted.append(cell.operation == operation)
    if value is not None:
        wanted.append(cell.value == value)
    measures = [func.sum(cell[name]).label(name) for name in MEASURES]
    statement = select(cell[by], *measures).where(and_(*wanted)).group_by(cell[by]).order_by(cell[by])
    rows = connection.execute(statement).mappings()
    return [{name: row[name] if name == by else int(row[name]) for name in row} for row in rows]


def spent(connection: Connection, *, user: str, dimension: str, value: str, start: int) -> int:
    """Picodollars that were spent since a day."""
    cell = ROLLUPS.c
    statement = select(func.coalesce(func.sum(cell.cost), 0)).where(
        cell.period == "day",
        cell.user_id == user,
        cell.dimension == dimension,
        cell.value == value,
        cell.start >= start,
    )
    return int(connection.execute(statement).scalar_one())
