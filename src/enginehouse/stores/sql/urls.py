"""Where the database is: reads the addresses people write, and says them again without the password."""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from enginehouse.errors import SettingsError

__all__ = ["FILE_NAME", "database_url", "place"]

FILE_NAME = "enginehouse.db"
"""The embedded database, in the data directory."""

_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "postgresql+psycopg": "postgresql+asyncpg",
    "postgresql+psycopg2": "postgresql+asyncpg",
}


def database_url(text: str, data_dir: Path) -> URL:
    """Read an address as people write it; empty is the embedded database.

    Args:
        text: `postgresql://…`, `postgres://…`, `sqlite:///file`, with or without a driver's name.
        data_dir: where the embedded database and relative file names are.

    Raises:
        SettingsError: no address, another kind of database, or one that would be forgotten at the end.
    """
    if not text:
        return URL.create("sqlite", database=str(data_dir / FILE_NAME))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "stores.database_url is no address; write postgresql://user:password@host:5432/name or sqlite:///file."
        ) from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise SettingsError(
            f"stores.database_url names {url.drivername!r}; there are postgresql:// and sqlite:///file."
        )
    url = url.set(drivername=driver)
    return _file(url, data_dir) if url.get_backend_name() == "sqlite" else _server(url)


def place(url: URL) -> str:
    """The database in words for messages: kind, host and name, never the password."""
    if url.get_backend_name() == "sqlite":
        return f"SQLite file {Path(url.database or '').name}"
    port = f":{url.port}" if url.port else ""
    return f"PostgreSQL at {url.host or url.query.get('host', 'localhost')}{port}, database {url.database!r}"


def _file(url: URL, data_dir: Path) -> URL:
    name = url.database or ""
    if name in {"", ":memory:"} or name.startswith("file:"):
        raise SettingsError(
            "stores.database_url is a database in memory, which would be forgotten; write sqlite:///file."
        )
    return url.set(database=str(data_dir / Path(name).expanduser()))


def _server(url: URL) -> URL:
    """asyncpg calls `ssl` what PostgreSQL's own tools call `sslmode`."""
    query = dict(url.query)
    if (mode := query.pop("sslmode", None)) is not None:
        query.setdefault("ssl", mode)
    return url.set(query=query, database=url.database or url.username or "postgres")
