"""The tables of budgets, and every statement on them: what is promised to requests that still run."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, ForeignKeyConstraint, Index, Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from enginehouse.stores.sql.metadata import COUNT, METADATA, WORDS

__all__ = ["ACCOUNTS", "RESERVATIONS", "hold", "lock_account", "release", "reserved"]

ACCOUNTS = Table(
    "budget_accounts",
    METADATA,
    Column("scope", WORDS, primary_key=True),
    Column("subject", WORDS, primary_key=True),
    Column("used", COUNT, nullable=False, comment="seconds since 1970: when a request last asked"),
    sqlite_with_rowid=False,
)
RESERVATIONS = Table(
    "budget_reservations",
    METADATA,
    Column("record_id", WORDS, primary_key=True),
    Column("scope", WORDS, primary_key=True),
    Column("subject", WORDS, primary_key=True),
    Column("amount", COUNT, nullable=False),
    Column("expires", COUNT, nullable=False, comment="seconds since 1970: when it no longer counts"),
    ForeignKeyConstraint(["scope", "subject"], ["budget_accounts.scope", "budget_accounts.subject"]),
    sqlite_with_rowid=False,
)
Index(None, RESERVATIONS.c.scope, RESERVATIONS.c.subject)

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def lock_account(connection: Connection, scope: str, subject: str, now: int) -> None:
    """From here to the end of the transaction nobody else reserves from this account."""
    insert = _INSERTS[connection.dialect.name](ACCOUNTS)
    statement = insert.on_conflict_do_update(
        index_elements=["scope", "subject"], set_={"used": insert.excluded.used}
    )
    connection.execute(statement, {"scope": scope, "subject": subject, "used": now})


def reserved(connection: Connection, scope: str, subject: str, now: int, *, but: str = "") -> int:
    """Picodollars promised to requests that still run, but for one of them; what has expired is taken away."""
    of_account = (RESERVATIONS.c.scope == scope, RESERVATIONS.c.subject == subject)
    connection.execute(delete(RESERVATIONS).where(*of_account, RESERVATIONS.c.expires <= now))
    total = select(func.coalesce(func.sum(RESERVATIONS.c.amount), 0)).where(
        *of_account, RESERVATIONS.c.record_id != but
    )
    return int(connection.execute(total).scalar_one())


def hold(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Promise amounts to a request."""
    connection.execute(RESERVATIONS.insert(), rows)


def release(connection: Connection, record_ids: Sequence[str]) -> None:
    """Take back what was promised to these requests."""
    connection.execute(delete(RESERVATIONS).where(RESERVATIONS.c.record_id.in_(record_ids)))
