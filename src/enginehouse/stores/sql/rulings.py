"""The table of rulings about cached answers, and every statement on it."""

from sqlalchemy import Column, Connection, Index, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from enginehouse.stores.sql.metadata import COUNT, METADATA, WORDS

__all__ = ["RULINGS", "add", "since"]

RULINGS = Table(
    "cache_rulings",
    METADATA,
    Column("id", WORDS, primary_key=True),
    Column("time", COUNT, nullable=False, comment="microseconds since 1970, UTC"),
    Column("ruling", WORDS, nullable=False, comment="JSON: what shall not be served any more"),
)

Index(None, RULINGS.c.time)

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def add(connection: Connection, id_: str, time: int, ruling: str) -> None:
    """Keep a ruling; the same id is kept once."""
    insert = _INSERTS[connection.dialect.name](RULINGS).on_conflict_do_nothing()
    connection.execute(insert, {"id": id_, "time": time, "ruling": ruling})


def since(connection: Connection, time: int) -> list[str]:
    """The rulings that were made after a time, in their order."""
    statement = select(RULINGS.c.ruling).where(RULINGS.c.time > time).order_by(RULINGS.c.time, RULINGS.c.id)
    return list(connection.execute(statement).scalars())
