"""SQLite: what one transaction does to the next, to other processes, and to the log."""

import asyncio
import sqlite3
import threading

import pytest
from sqlalchemy import text

from enginehouse.errors import StoreError
from enginehouse.stores.sql import database_url
from enginehouse.stores.sql.database import Database
from tests.ledger_requests import until

MAKE = "CREATE TABLE notes (note TEXT PRIMARY KEY)"


@pytest.fixture
async def database(tmp_path):
    opened = Database(database_url("", tmp_path))
    await opened.write(lambda c: c.execute(text(MAKE)))
    yield opened
    await opened.close()


def note(word):
    """A transaction by the driver itself, as the ledger's are."""
    return lambda connection: connection.connection.driver_connection.execute(
        "INSERT INTO notes VALUES (?)", (word,)
    )


async def notes(database):
    return await database.read(lambda c: sorted(c.execute(text("SELECT note FROM notes")).scalars()))


async def test_it_is_committed_when_it_returns(database, tmp_path):
    await database.write(note("a"))
    await database.write(lambda c: c.execute(text("INSERT INTO notes VALUES ('b')")))
    with sqlite3.connect(tmp_path / "enginehouse.db") as other:
        assert other.execute("SELECT note FROM notes").fetchall() == [("a",), ("b",)]
    other.close()


async def test_another_process_that_writes_is_waited_for(database, tmp_path):
    other = sqlite3.connect(tmp_path / "enginehouse.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.ensure_future(database.write(note("a")))
    await asyncio.to_thread(lambda: None)
    timer = threading.Timer(0.05, other.execute, ("COMMIT",))
    timer.start()
    await writing
    timer.join()
    other.close()
    assert await notes(database) == ["a"]


async def test_what_fails_leaves_nothing_behind(database):
    await database.write(note("a"))

    def twice(connection):
        note("b")(connection)
        note("a")(connection)

    with pytest.raises(StoreError, match="UNIQUE"):
        await database.write(twice)
    assert await notes(database) == ["a"]
    await database.write(note("b"))
    assert await notes(database) == ["a", "b"]


async def test_a_long_log_is_carried_over_and_begins_anew(database, tmp_path):
    def many(connection):
        for number in range(2000):
            note(str(number))(connection)

    def log():
        return (tmp_path / "enginehouse.db-wal").read_bytes()

    await database.write(many)
    size = (tmp_path / "enginehouse.db").stat().st_size
    await database.write(note("one more"))
    before = log()
    await until(lambda: (tmp_path / "enginehouse.db").stat().st_size > size, every=0.001)
    await database.write(note("at the beginning"))
    assert len(log()) == len(before), "it does not grow"
    assert log()[16:24] != before[16:24], "its salt tells that it has begun anew"
    assert len(await notes(database)) == 2002
