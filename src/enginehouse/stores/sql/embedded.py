"""SQLite: one connection writes, in a thread or at once; a few more read beside it.

A transaction runs in a thread as a whole, so that the event loop never waits for the disk or for another process.
One that only appends a little may run on the loop instead: it takes a third of the time that a thread takes to wake
up and to tell. What would make it wait is left to the thread: another writer, and carrying the log over into
the file (a checkpoint), together with the first write after it, which waits for the disk too.
"""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, create_engine, event

__all__ = ["Embedded"]

T = TypeVar("T")

_BUSY_SECONDS = 10.0
_READERS = 3
_LONG_LOG = 2000
"""Changed rows after which the log is carried over: some 20 MB."""
_SLOW, _REST = 0.002, 1.0
"""Seconds: when transactions on the loop take so long on an average, the thread has them all for a while."""
_LATEST = 16
"""About so many count for the average, so that one which lost the processor for a moment changes nothing."""


class Embedded:
    """The file's connections.

    Args:
        url: of the file.
        fsync: whether each commit waits for the disk; then none is made on the loop.
        clock: seconds, never going back.
    """

    def __init__(self, url: URL, *, fsync: bool, clock: Callable[[], float] = time.perf_counter) -> None:
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
        event.listen(self._engine, "connect", _prepared("FULL" if fsync else "NORMAL"))
        self._writer = ThreadPoolExecutor(1, "database writer")
        self._readers = ThreadPoolExecutor(_READERS, "database reader")
        self._writing: Connection | None = None
        """The only one that writes: the thread's while anything is queued for it, the loop's otherwise."""
        self._queued: deque[Future[Any]] = deque()
        self._changed = self._carried = 0
        """Rows that it has changed: by now, and when the log was last carried over."""
        self._fsync = fsync
        self._clock = clock
        self._usual = 0.0
        self._rests_until = clock()

    async def run(self, work: Callable[[Connection], T], *, writes: bool) -> T:
        """Run it in a thread: committed when it returns, rolled back when it raises."""
        if not writes:
            return await asyncio.wrap_future(self._readers.submit(self._read, work))
        written = self._submit(partial(self._write, work))
        if self._is_long:
            self._submit(self._carry_over)  # afterwards, so that nobody waits for it
        return await asyncio.wrap_future(written)

    def run_now(self, work: Callable[[Connection], object]) -> bool:
        """Run a short transaction here and now, unless it would have to wait; whether it was."""
        driver = self._free()
        if driver is None:
            return False
        began = self._clock()
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:  # another process writes
            return False
        with self._kept_whole() as connection:
            work(connection)
            connection.commit()
            driver.commit()  # where SQLAlchemy was not asked for anything, it has nothing to commit
        self._note(began, self._clock())
        return True

    def _note(self, began: float, ended: float) -> None:
        """So long the loop was held up; when that is too long, it is spared for a while."""
        self._usual += (ended - began - self._usual) / _LATEST
        if self._usual > _SLOW:
            self._rests_until, self._usual = ended + _REST, 0.0

    async def close(self) -> None:
        """Let running transactions end, then close."""
        await asyncio.to_thread(self._close)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        self._forget_ended()
        future = self._writer.submit(work)
        self._queued.append(future)
        return future

    def _forget_ended(self) -> None:
        while self._queued and self._queued[0].done():
            self._queued.popleft()

    def _free(self) -> Any:
        """The writing connection, if the loop may have it and would not wait; None otherwise."""
        self._forget_ended()
        waits = self._fsync or self._is_long or self._clock() < self._rests_until
        return None if self._queued or waits or self._writing is None else _driver(self._writing)

    @property
    def _is_long(self) -> bool:
        """Whether the log is to be carried over."""
        return self._changed - self._carried >= _LONG_LOG

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("BEGIN")
            return work(connection)

    def _write(self, work: Callable[[Connection], T]) -> T:
        driver = self._opened()
        with self._kept_whole() as connection, connection.begin():
            _wait_for_others(driver, _BUSY_SECONDS)
            # Who is going to write says so at once: a reader that turns writer could be refused half-way.
            driver.execute("BEGIN IMMEDIATE")
            result = work(connection)
        _wait_for_others(driver, 0)  # the loop does not
        return result

    @contextmanager
    def _kept_whole(self) -> Generator[Connection]:
        """The writing connection; after an error it is given up, whatever state it is in."""
        assert self._writing is not None, "somebody has opened it"
        try:
            yield self._writing
        except BaseException:
            self._let_go()
            raise
        self._changed = _driver(self._writing).total_changes

    def _opened(self) -> Any:
        if self._writing is not None:
            return _driver(self._writing)
        self._writing = self._engine.connect()
        driver = _driver(self._writing)
        driver.execute("PRAGMA wal_autocheckpoint=0").fetchall()
        self._changed = self._carried = driver.total_changes
        return driver

    def _carry_over(self) -> None:
        """Carry a long log over into the file, and be the first who writes afterwards."""
        if self._writing is not None:
            driver = _driver(self._writing)
            driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            driver.execute("PRAGMA user_version=0")
            self._changed = self._carried = driver.total_changes

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


def _wait_for_others(driver: Any, seconds: float) -> None:
    driver.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}").fetchall()


def _prepared(synchronous: str) -> Callable[[Any, object], None]:
    """What each new connection is told."""
    pragmas = ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", "temp_store=MEMORY")

    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver shall not begin transactions of its own
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    return prepare
