"""SQLite: one connection writes, in a thread; a few more read beside it.

A transaction runs in a thread as a whole, so that the event loop never waits for the disk or for another process.
Carrying the log over into the file (a checkpoint) comes after a transaction, when nobody waits for it.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, create_engine, event

__all__ = ["Embedded"]

T = TypeVar("T")

# The driver asks of whatever is no text and no number if it can be made one, in vain and at length, unless it was
# told. These are told as what it takes them for in the end; a dictionary's `get` says None without being Python.
_NOTHING: dict[None, None] = {}
sqlite3.register_adapter(type(None), _NOTHING.get)
sqlite3.register_adapter(bool, int)

_BUSY_SECONDS = 10.0
_READERS = 3
_LONG_LOG = 2000
"""Changed rows after which the log is carried over: some 20 MB."""


class Embedded:
    """The file's connections.

    Args:
        url: of the file.
        fsync: whether each commit waits for the disk.
    """

    def __init__(self, url: URL, *, fsync: bool) -> None:
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
        event.listen(self._engine, "connect", _prepared("FULL" if fsync else "NORMAL"))
        self._writer = ThreadPoolExecutor(1, "database writer")
        self._readers = ThreadPoolExecutor(_READERS, "database reader")
        self._writing: Connection | None = None
        """The only one that writes; the writer's thread has it."""
        self._changed = self._carried = 0
        """Rows that it has changed: by now, and when the log was last carried over."""

    async def run(self, work: Callable[[Connection], T], *, writes: bool) -> T:
        """Run it in a thread: committed when it returns, rolled back when it raises."""
        if not writes:
            return await asyncio.wrap_future(self._readers.submit(self._read, work))
        written = self._writer.submit(self._write, work)
        if self._changed - self._carried >= _LONG_LOG:
            self._writer.submit(self._carry_over)  # afterwards, so that nobody waits for it
        return await asyncio.wrap_future(written)

    async def close(self) -> None:
        """Let running transactions end, then close."""
        await asyncio.to_thread(self._close)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("BEGIN")
            return work(connection)

    def _write(self, work: Callable[[Connection], T]) -> T:
        writing = self._opened()
        driver = _driver(writing)
        try:
            with writing.begin():
                # Who is going to write says so at once: a reader that turns writer could be refused half-way.
                driver.execute("BEGIN IMMEDIATE")
                result = work(writing)
        except BaseException:
            self._let_go()  # whatever state it is in
            raise
        self._changed = driver.total_changes
        return result

    def _opened(self) -> Connection:
        if self._writing is None:
            self._writing = self._engine.connect()
            driver = _driver(self._writing)
            driver.execute("PRAGMA wal_autocheckpoint=0").fetchall()
            self._changed = self._carried = driver.total_changes
        return self._writing

    def _carry_over(self) -> None:
        """Carry a long log over into the file."""
        if self._writing is not None:
            _driver(self._writing).execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._carried = self._changed

    def _let_go(self) -> None:
        if self._writing is not None:
            connection, self._writing = self._writing, None
            connection.invalidate()  # nobody else shall have it as it is
            connection.close()

    def _close(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self._let_go()
        self._engine.dispose()


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _prepared(synchronous: str) -> Callable[[Any, object], None]:
    """What each new connection is told."""
    pragmas = ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", "temp_store=MEMORY")

    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver shall not begin transactions of its own
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    return prepare
