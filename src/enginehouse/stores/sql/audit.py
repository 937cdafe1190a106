"""The table of management actions, and every statement on it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Integer, Table, select

from enginehouse.stores.sql.metadata import COUNT, METADATA, WORDS

__all__ = ["ACTIONS", "add", "latest"]

ACTIONS = Table(
    "audit_actions",
    METADATA,
    Column("id", WORDS, primary_key=True, comment="time-ordered"),
    Column("time", COUNT, nullable=False, comment="microseconds since 1970, UTC"),
    *(Column(n, WORDS, nullable=False) for n in ("user_id", "key_id", "tenant", "role")),
    *(Column(n, WORDS, nullable=False) for n in ("action", "request_id")),
    Column("detail", WORDS, nullable=False, comment="JSON"),
    Column("status", Integer, nullable=False),
)


def add(connection: Connection, row: Mapping[str, Any]) -> None:
    """Keep an action."""
    connection.execute(ACTIONS.insert(), [dict(row)])


def latest(connection: Connection, *, before: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest actions, newest first; `before` is the id from which to go on."""
    statement = select(ACTIONS).order_by(ACTIONS.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(ACTIONS.c.id < before)
    return [dict(row) for row in connection.execute(statement).mappings()]
