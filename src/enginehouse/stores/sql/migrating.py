"""Brings the schema up to date, and refuses to work with one that it does not know.

On SQLite migrations run by themselves at start; on PostgreSQL, which may be shared, somebody has to say so.
A migration is one transaction on both: it has happened, or it has not.
"""

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import Struct
from sqlalchemy import Connection, inspect, text

from enginehouse.errors import SettingsError
from enginehouse.stores.sql import audit, budgets, keys, registered, rollups, rulings, sessions, traces, usage
from enginehouse.stores.sql.database import Database
from enginehouse.stores.sql.metadata import METADATA

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["SchemaState", "alembic_config", "migrate", "prepare", "schema_state"]

log = structlog.get_logger()

TABLES = (
    *(usage.RECORDS, usage.PRICES, usage.UNSUMMED, rollups.ROLLUPS, rollups.USES),
    *(budgets.ACCOUNTS, budgets.RESERVATIONS),
    *(keys.KEYS, keys.STATE, audit.ACTIONS),
    *(sessions.SESSIONS, sessions.MESSAGES, sessions.TURNS, sessions.COUNTS),
    rulings.RULINGS,
    registered.REGISTERED,
    traces.TRACES,
)
"""Named here so that a module of tables that nobody imports is missed."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x656E67696E65  # "engine": one migration at a time on one PostgreSQL server


class SchemaState(Struct, frozen=True, kw_only=True):
    """What the schema of a database is to this version of the service."""

    state: str
    """`empty`, `current`, `older`, `newer` or `damaged`."""
    revision: str | None
    """What the database has."""
    head: str
    """What this version wants."""
    missing: tuple[str, ...] = ()
    """Tables and columns that should be there."""


def alembic_config(connection: Connection | None = None) -> "Config":
    """Alembic's configuration for the migrations in this package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def schema_state(database: Database) -> SchemaState:
    """Look at the schema and change nothing.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    return await database.read(_state)


async def migrate(database: Database) -> SchemaState:
    """Bring the schema up to date; what is current is left as it is.

    Raises:
        StoreUnavailable: the database cannot be reached.
        SettingsError: the schema is newer than this version, or damaged.
    """
    return await database.write(partial(_upgrade, place=database.place))


async def prepare(database: Database) -> None:
    """Make sure that the schema is the one this version knows; an embedded database is brought up to date.

    Raises:
        StoreUnavailable: the database cannot be reached.
        SettingsError: it is newer, damaged, or an older one that somebody has to upgrade.
    """
    if database.embedded:
        await migrate(database)
        return
    found = await schema_state(database)
    if found.state != "current":
        raise SettingsError(_complaint(found, database.place))


def _upgrade(connection: Connection, place: str) -> SchemaState:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    found = _state(connection)
    if found.state in {"newer", "damaged"}:
        raise SettingsError(_complaint(found, place))
    if found.state != "current":
        _run_migrations(connection)
        log.info("schema_upgraded", database=place, before=found.revision, now=found.head)
        found = _state(connection)
        if found.state != "current":
            raise SettingsError(_complaint(found, place))
    return found


def _state(connection: Connection) -> SchemaState:
    known = sorted(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*_*.py"))
    head, heads = known[-1], _stamps(connection)
    revision = heads[0] if heads else None
    if len(heads) > 1:
        return SchemaState(state="damaged", revision=", ".join(heads), head=head)
    missing = _missing(connection)
    if revision is None:
        ours = len(METADATA.tables) - sum("." not in name for name in missing)
        return SchemaState(state="damaged" if ours else "empty", revision=None, head=head, missing=missing)
    if revision not in known:
        return SchemaState(state="newer", revision=revision, head=head)
    if revision != head:
        return SchemaState(state="older", revision=revision, head=head)
    return SchemaState(state="damaged" if missing else "current", revision=revision, head=head, missing=missing)


def _run_migrations(connection: Connection) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # what it does we say in one line of ours
    from alembic import command  # only who has something to migrate needs it

    command.upgrade(alembic_config(connection), "head")


def _stamps(connection: Connection) -> list[str]:
    """What Alembic has written of the schema; it is asked for on every start, which has not to wait for Alembic."""
    if not inspect(connection).has_table("alembic_version"):
        return []
    return sorted(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def _missing(connection: Connection) -> tuple[str, ...]:
    inspector = inspect(connection)
    there = set(inspector.get_table_names())
    missing = [name for name in METADATA.tables if name not in there]
    for name, table in METADATA.tables.items():
        if name in there:
            columns: set[Any] = {column["name"] for column in inspector.get_columns(name)}
            missing += [f"{name}.{column.name}" for column in table.columns if column.name not in columns]
    return tuple(sorted(missing))


def _complaint(found: SchemaState, place: str) -> str:
    match found.state:
        case "newer":
            return (
                f"{place} has schema {found.revision}, which a newer Enginehouse made; this one knows up to "
                f"{found.head}. Install the newer version, or name another database in stores.database_url."
            )
        case "damaged":
            lacking = f" It lacks {', '.join(found.missing[:5])}." if found.missing else ""
            return (
                f"{place} is half-migrated (schema {found.revision or 'unknown'}).{lacking} Restore it from a "
                "backup, or name another database in stores.database_url."
            )
        case _:
            has = f"the older schema {found.revision}" if found.revision else "no schema yet"
            return f"{place} has {has}; this version wants {found.head}. Run: enginehouse db upgrade"
