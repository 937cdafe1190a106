"""PostgreSQL: transactions on a pool of connections over asyncpg."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.ext.asyncio import create_async_engine

from enginehouse.errors import SettingsError

__all__ = ["Server"]

T = TypeVar("T")

_CONNECT_SECONDS = 5.0
_COMMAND_SECONDS = 60.0


class Server:
    """Its connections.

    Args:
        url: of the database.

    Raises:
        SettingsError: the driver is not installed.
    """

    def __init__(self, url: URL) -> None:
        limits = {"timeout": _CONNECT_SECONDS, "command_timeout": _COMMAND_SECONDS}
        try:
            self._engine = create_async_engine(url, pool_pre_ping=True, connect_args=limits)
        except (ModuleNotFoundError, NoSuchModuleError):
            raise SettingsError(
                "stores.database_url wants PostgreSQL's driver: pip install 'enginehouse[postgres]'."
            ) from None

    async def run(self, work: Callable[[Connection], T], *, writes: bool) -> T:
        """Run it on a connection of the pool."""
        async with self._engine.connect() as connection:
            if not writes:
                await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                return await connection.run_sync(work)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()
