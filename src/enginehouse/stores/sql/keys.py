"""The tables of API keys, and every statement on them; a key itself is in none of them, only its digest."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Index, Integer, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from enginehouse.stores.sql.metadata import COUNT, METADATA, WORDS

__all__ = ["KEYS", "STATE", "advance", "changed_since", "one", "put", "state"]

_JSON_COLUMNS = ("models", "tags", "limits", "budget")

KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", WORDS, primary_key=True),
    Column("digest", WORDS, nullable=False, comment="HMAC-SHA256 of the whole key, hex"),
    Column("old_digest", WORDS, comment="that of the key before the last rotation"),
    Column("old_until", COUNT, comment="seconds since 1970: until when the old one counts"),
    *(Column(n, WORDS, nullable=False) for n in ("name", "user_id", "tenant", "role", "tier")),
    *(Column(n, WORDS, nullable=False, comment="JSON") for n in _JSON_COLUMNS),
    Column("created", COUNT, nullable=False, comment="seconds since 1970"),
    Column("created_by", WORDS, nullable=False),
    *(Column(n, COUNT, comment="seconds since 1970") for n in ("expires", "revoked", "rotated")),
    Column("version", COUNT, nullable=False, comment="of api_key_state, when this row last changed"),
)
Index(None, KEYS.c.version)

STATE = Table(
    "api_key_state",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="1: there is one row"),
    Column("version", COUNT, nullable=False, comment="grows with every change of a key"),
    Column("fingerprint", WORDS, nullable=False, comment="of the secret that the digests are made with"),
)

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def state(connection: Connection) -> tuple[int, str]:
    """Version of the keys, and the fingerprint of the secret; 0 and nothing before the first key."""
    row = connection.execute(select(STATE.c.version, STATE.c.fingerprint)).first()
    return (0, "") if row is None else (row.version, row.fingerprint)


def advance(connection: Connection, fingerprint: str) -> tuple[int, str]:
    """The next version; whoever takes it is alone until the transaction ends, so versions commit in their order.

    The fingerprint is kept with the first one; later ones leave it as it is.
    """
    insert = _INSERTS[connection.dialect.name](STATE)
    statement = insert.on_conflict_do_update(
        index_elements=["id"], set_={"version": STATE.c.version + 1}
    ).returning(STATE.c.version, STATE.c.fingerprint)
    row = connection.execute(statement, {"id": 1, "version": 1, "fingerprint": fingerprint}).one()
    return row.version, row.fingerprint


def changed_since(connection: Connection, version: int) -> list[dict[str, Any]]:
    """The keys that changed after a version, in the order in which they were made."""
    statement = select(KEYS).where(KEYS.c.version > version).order_by(KEYS.c.created, KEYS.c.id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def one(connection: Connection, key_id: str) -> dict[str, Any] | None:
    """A key by its id."""
    row = connection.execute(select(KEYS).where(KEYS.c.id == key_id)).mappings().first()
    return None if row is None else dict(row)


def put(connection: Connection, row: Mapping[str, Any], *, new: bool) -> None:
    """Write a whole row."""
    statement = KEYS.insert() if new else update(KEYS).where(KEYS.c.id == row["id"])
    connection.execute(statement.values(**row))
