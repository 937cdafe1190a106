"""The table of what became of requests, and every statement on it."""

from collections.abc import Mapping
from functools import lru_cache
from itertools import chain, count, islice
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Index, Integer, Table, delete, or_, select

from enginehouse.stores.sql.metadata import COUNT, METADATA, WORDS
from enginehouse.stores.sql.sheets import FULL, Columns, Sheets

__all__ = ["AT_ONCE", "COLUMNS", "TEXTS", "TRACES", "forget", "insert", "newest"]

TRACES = Table(
    "telemetry_requests",
    METADATA,
    Column("id", WORDS, primary_key=True, comment="time-ordered, so that a range of ids is one of time"),
    Column("time", COUNT, nullable=False, comment="microseconds since 1970, UTC: when it came"),
    *(Column(n, WORDS, nullable=False) for n in ("request_id", "trace_id", "user_id", "key_id", "tenant", "role")),
    *(Column(n, WORDS, nullable=False) for n in ("tier", "model", "asked", "deployment", "engine", "provider")),
    *(Column(n, WORDS, nullable=False) for n in ("face", "path", "operation")),
    Column("stream", Boolean(create_constraint=False), nullable=False),
    Column("priority", WORDS, nullable=False),
    Column("status", Integer, nullable=False),
    *(Column(n, WORDS, nullable=False) for n in ("outcome", "error", "cause", "message", "cache", "guard")),
    Column("calls", Integer, nullable=False),
    *(Column(n, COUNT, nullable=False) for n in ("input_tokens", "cached_input_tokens")),
    *(Column(n, COUNT, nullable=False) for n in ("output_tokens", "reasoning_tokens")),
    Column("estimated", Boolean(create_constraint=False), nullable=False),
    Column("cost", COUNT, comment="picodollars"),
    Column("total_us", COUNT, nullable=False),
    Column("ttft_us", COUNT),
    Column("gateway_us", COUNT, nullable=False),
    Column("spans", WORDS, nullable=False, comment="JSON: phase, beginning, length in microseconds"),
    Column("prompt", WORDS, nullable=False),
    Column("answer", WORDS, nullable=False),
)
Index(None, TRACES.c.user_id, TRACES.c.id)
Index(None, TRACES.c.request_id)

_NAMES = tuple(column.name for column in TRACES.columns)
_OWN = ("id", "request_id", "spans")
_TEXTS = tuple(column.name for column in TRACES.columns if column.type is WORDS and column.name not in _OWN)
_KINDS = ("stream", "status", "calls")
_NUMBERS = tuple(name for name in _NAMES if name not in {*_OWN, *_TEXTS, *_KINDS})
COLUMNS = (*_OWN, *_TEXTS, *_KINDS, *_NUMBERS)
"""Names, in the order in which values are written: texts first; those that many requests share in the middle."""
TEXTS = len(_OWN) + len(_TEXTS)
_SHEETS = Sheets(TRACES.name, COLUMNS, (len(_OWN), len(COLUMNS) - len(_NUMBERS)))

AT_ONCE = FULL
"""Rows of one statement."""


def insert(connection: Connection, columns: Columns) -> None:
    """Keep requests; one that is kept already stays as it is.

    Args:
        columns: of the requests, in the order of `COLUMNS`.
    """
    if connection.dialect.name == "sqlite":
        _SHEETS.insert(connection, columns)
        return
    rows = list(zip(*columns, strict=True))
    for first in range(0, len(rows), AT_ONCE):
        part = rows[first : first + AT_ONCE]
        connection.exec_driver_sql(_on_server(len(part)), tuple(chain.from_iterable(part)))


@lru_cache(2 * AT_ONCE)
def _on_server(rows: int) -> str:
    places = (f"${number}" for number in count(1))
    row = [f"({', '.join(islice(places, len(COLUMNS)))})" for _ in range(rows)]
    names = ", ".join(COLUMNS)
    return f"INSERT INTO {TRACES.name} ({names}) VALUES {', '.join(row)} ON CONFLICT DO NOTHING"  # noqa: S608


def newest(
    connection: Connection,
    *,
    equal: Mapping[str, Any],
    named: str | None = None,
    since: str | None = None,
    before: str | None = None,
    slower_than: int | None = None,
    failed: bool = False,
    limit: int,
) -> list[dict[str, Any]]:
    """The newest so many, the newest first.

    Args:
        equal: what columns have to hold.
        named: our id of one, or the caller's.
        since: no id below this.
        before: only ids below this.
        slower_than: microseconds that they took at least.
        failed: only those that went wrong.
    """
    of = TRACES.c
    # Few have one name. SQLite would rather look through all of the user's, unless an index does not fit that.
    user = of.user_id if named is None else of.user_id.concat("")
    wanted = [(user if name == "user_id" else of[name]) == value for name, value in equal.items()]
    if named is not None:
        wanted.append(or_(of.id == named, of.request_id == named))
    if since is not None:
        wanted.append(of.id >= since)
    if before is not None:
        wanted.append(of.id < before)
    if slower_than is not None:
        wanted.append(of.total_us >= slower_than)
    if failed:
        wanted.append(of.error != "")
    statement = select(TRACES).where(*wanted).order_by(of.id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(statement).mappings()]


def forget(connection: Connection, before: str, most: int) -> int:
    """Delete the oldest so many with ids below this; how many there were."""
    oldest = select(TRACES.c.id).where(TRACES.c.id < before).order_by(TRACES.c.id).limit(most).scalar_subquery()
    return connection.execute(delete(TRACES).where(TRACES.c.id.in_(oldest))).rowcount
