"""The connections to the database, and its errors in our words.

A transaction is a plain function over a connection. SQLite runs it as a whole in a thread: handing
each statement to a thread and back, as asynchronous drivers of SQLite do, takes ten times as long as the work.
PostgreSQL runs the same function over asyncpg.
"""

import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol, TypeVar

from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from enginehouse.errors import StoreError, StoreUnavailable
from enginehouse.stores.sql.embedded import Embedded
from enginehouse.stores.sql.urls import place

__all__ = ["Database", "open_database"]

T = TypeVar("T")


class _Driver(Protocol):
    """How one kind of database runs a transaction."""

    async def run(self, work: Callable[[Connection], T], *, writes: bool) -> T:
        """Run it: committed when it returns, rolled back when it raises."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Database:
    """Runs transactions.

    Args:
        url: from `database_url`.
        fsync: whether SQLite waits for the disk at each commit.
    """

    def __init__(self, url: URL, *, fsync: bool = False) -> None:
        self.place = place(url)
        """The database in words, without its password."""
        self.embedded = url.get_backend_name() == "sqlite"
        """Whether it is a file of ours, whose schema we may change ourselves."""
        self._driver: _Driver = Embedded(url, fsync=fsync) if self.embedded else _server(url)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run a function over one consistent view of the data.

        Raises:
            StoreUnavailable, StoreError: the database cannot be reached, or refused the question.
        """
        with self._translated():
            return await self._driver.run(work, writes=False)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run a function in a transaction: committed when it returns, rolled back when it raises.

        Raises:
            StoreUnavailable, StoreError: the database cannot be reached, or refused what it was given. Who was
                cancelled, or lost the connection in the commit itself, does not know whether it counted.
        """
        with self._translated():
            return await self._driver.run(work, writes=True)

    async def ping(self) -> float:
        """Seconds that a question takes.

        Raises:
            StoreUnavailable: nobody answers.
        """
        began = time.perf_counter()
        await self.read(lambda connection: connection.execute(text("SELECT 1")))
        return time.perf_counter() - began

    async def close(self) -> None:
        """Close all connections."""
        await self._driver.close()

    @contextmanager
    def _translated(self) -> Generator[None]:
        """The drivers' errors in ours, without the values that were sent."""
        try:
            yield
        except DBAPIError as error:
            kind = StoreError if _is_refused(error) else StoreUnavailable
            raise kind(f"{self.place}: {_first_line(error.orig)}", retry_after=5) from error
        except (OSError, TimeoutError) as error:
            raise StoreUnavailable(
                f"{self.place} cannot be reached: {_first_line(error)}", retry_after=5
            ) from error
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"{self.place}: {type(error).__name__}", retry_after=5) from error
        except sqlite3.Error as error:
            kind = StoreError if isinstance(error, sqlite3.DataError | sqlite3.IntegrityError) else StoreUnavailable
            raise kind(f"{self.place}: {_first_line(error)}", retry_after=5) from error
        except OverflowError as error:
            raise StoreError(f"{self.place} holds no number as large as this.") from error


@asynccontextmanager
async def open_database(url: URL, *, fsync: bool = False) -> AsyncGenerator[Database]:
    """The database for as long as the context lasts; its schema is the business of `prepare`.

    Raises:
        SettingsError: the driver is not installed.
    """
    database = Database(url, fsync=fsync)
    try:
        yield database
    finally:
        await database.close()


def _server(url: URL) -> _Driver:
    from enginehouse.stores.sql.server import Server  # and with it all of SQLAlchemy that is asynchronous

    return Server(url)


def _is_refused(error: DBAPIError) -> bool:
    """Whether it is the data's fault, so that the same will never work: PostgreSQL's classes 22 and 23.

    All else may be mended from outside: a server that stops, a full disk, a missing right.
    """
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state:
        return state[:2] in {"22", "23"}
    unsendable = isinstance(getattr(error.orig, "__cause__", None), ValueError)
    return unsendable or isinstance(error, DataError | IntegrityError)


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
