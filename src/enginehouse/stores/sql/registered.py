"""The table of registered models, and every statement on it: one row, which is changed as a whole or not at all."""

from sqlalchemy import Column, Connection, Integer, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from enginehouse.stores.sql.metadata import COUNT, METADATA, WORDS

__all__ = ["REGISTERED", "entries", "put", "version"]

REGISTERED = Table(
    "registered_models",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="1: there is one row"),
    Column("version", COUNT, nullable=False, comment="grows with every change"),
    Column(
        "entries", WORDS, nullable=False, comment="JSON: by id, what would stand in the settings; it may hold keys"
    ),
)

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def version(connection: Connection) -> int:
    """Of what is there; 0 before the first change."""
    return connection.execute(select(REGISTERED.c.version)).scalar() or 0


def entries(connection: Connection) -> tuple[int, str]:
    """The version and what is there, as JSON."""
    row = connection.execute(select(REGISTERED.c.version, REGISTERED.c.entries)).first()
    return (0, "{}") if row is None else (row.version, row.entries)


def put(connection: Connection, known: int, changed: str) -> bool:
    """Write what follows on a version; whether that was still the newest one."""
    if known == 0:
        insert = _INSERTS[connection.dialect.name](REGISTERED).on_conflict_do_nothing()
        done = connection.execute(insert, {"id": 1, "version": 1, "entries": changed})
    else:
        statement = update(REGISTERED).where(REGISTERED.c.version == known)
        done = connection.execute(statement.values(version=known + 1, entries=changed))
    return done.rowcount == 1
