"""`enginehouse db`: what the database's schema is, and bringing it up to date."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import typer

from enginehouse.errors import SettingsError
from enginehouse.settings.schema import Settings
from enginehouse.stores.sql import Database, SchemaState, database_url, migrate, open_database, schema_state

__all__ = ["run_status", "run_upgrade", "usable", "with_database"]

T = TypeVar("T")

_WORDS = {
    "empty": "has no schema yet; enginehouse db upgrade makes it",
    "current": "is up to date",
    "older": "is older than this version wants; enginehouse db upgrade brings it up to date",
    "newer": "was made by a newer version of Enginehouse; install that one",
    "damaged": "is half-migrated; restore it from a backup",
}


def run_status(settings: Settings, *, as_json: bool) -> int:
    """Say what the schema is; exit code 0 when the service can work with it.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    return asyncio.run(with_database(settings, lambda database: _say(database, schema_state, as_json=as_json)))


def run_upgrade(settings: Settings, *, as_json: bool) -> int:
    """Bring the schema up to date.

    Raises:
        StoreUnavailable: the database cannot be reached.
        SettingsError: the schema is newer than this version, or damaged.
    """
    return asyncio.run(with_database(settings, lambda database: _say(database, migrate, as_json=as_json)))


async def with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Do something with the database of the settings."""
    url = database_url(settings.stores.database_url, settings.data_dir)
    async with open_database(url, fsync=settings.stores.fsync) as database:
        return await work(database)


async def usable(database: Database) -> None:
    """Make sure that there is something to ask.

    Raises:
        SettingsError: the schema is not the one this version knows.
    """
    found = await schema_state(database)
    if found.state != "current":
        raise SettingsError(f"{database.place} {_WORDS[found.state]}.")


async def _say(database: Database, ask: Callable[[Database], Awaitable[SchemaState]], *, as_json: bool) -> int:
    found = await ask(database)
    if as_json:
        typer.echo(json.dumps({"database": database.place, **msgspec.to_builtins(found)}, indent=2))
    else:
        revision = f" (schema {found.revision}, wanted {found.head})" if found.revision != found.head else ""
        typer.echo(f"{database.place}{revision}: {_WORDS[found.state]}.")
        if found.missing and found.state == "damaged":
            typer.echo(f"Missing: {', '.join(found.missing)}.")
    return 0 if found.state == "current" else 1
