"""SQLite on the event loop itself: what is committed there, and all for which a thread is the better place."""

import asyncio
import sqlite3
import threading
import time

import pytest
from sqlalchemy import text

from enginehouse.errors import StoreError
from enginehouse.stores.sql import database_url
from enginehouse.stores.sql.database import Database
from tests.ledger_requests import until

MAKE = "CREATE TABLE notes (note TEXT PRIMARY KEY)"


class Clock:
    """Seconds; every look takes some of them."""

    def __init__(self):
        self.now, self.each = 0.0, 0.0

    def __call__(self):
        self.now += self.each
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def database(tmp_path, clock):
    opened = Database(database_url("", tmp_path), clock=clock)
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
    assert database.write_now(note("a"))
    with sqlite3.connect(tmp_path / "enginehouse.db") as other:
        assert other.execute("SELECT note FROM notes").fetchall() == [("a",)]
    other.close()


async def test_statements_by_sqlalchemy_are_committed_too(database):
    assert database.write_now(lambda c: c.execute(text("INSERT INTO notes VALUES ('a')")))
    assert database.write_now(note("b"))
    await database.write(note("c"))
    assert await notes(database) == ["a", "b", "c"]


async def test_nobody_is_waited_for(database, tmp_path):
    """Neither another process that writes, nor our own thread."""
    other = sqlite3.connect(tmp_path / "enginehouse.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.perf_counter()
    assert not database.write_now(note("a"))
    assert time.perf_counter() - began < 5
    other.execute("COMMIT")
    other.close()
    assert database.write_now(note("b"))

    go_on = threading.Event()

    def slow(connection):
        note("c")(connection)
        connection.connection.driver_connection.commit()  # it has the connection even where nothing is begun
        go_on.wait(10)

    writing = asyncio.ensure_future(database.write(slow))
    queued = asyncio.ensure_future(database.write(note("d")))
    await asyncio.sleep(0)
    assert not database.write_now(note("a"))
    queued.cancel()
    await asyncio.wait([queued])
    go_on.set()
    await writing
    assert database.write_now(note("e")), "neither what has ended nor who was cancelled is in the way"
    assert await notes(database) == ["b", "c", "e"]


async def test_the_thread_waits_for_others_also_after_the_loop_did_not(database, tmp_path):
    other = sqlite3.connect(tmp_path / "enginehouse.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    assert not database.write_now(note("a"))
    writing = asyncio.ensure_future(database.write(note("a")))
    await asyncio.to_thread(lambda: None)
    timer = threading.Timer(0.05, other.execute, ("COMMIT",))
    timer.start()
    await writing
    timer.join()
    other.close()
    assert await notes(database) == ["a"]


async def test_what_fails_leaves_nothing_behind(database):
    assert database.write_now(note("a"))

    def twice(connection):
        note("b")(connection)
        note("a")(connection)

    with pytest.raises(StoreError, match="UNIQUE"):
        database.write_now(twice)
    assert await notes(database) == ["a"]
    await database.write(note("b"))
    assert database.write_now(note("c"))
    assert await notes(database) == ["a", "b", "c"]


async def test_a_commit_that_waits_for_the_disk_is_none_for_the_loop(tmp_path):
    database = Database(database_url("", tmp_path), fsync=True)
    await database.write(lambda c: c.execute(text(MAKE)))
    assert not database.write_now(note("a"))
    await database.close()


async def test_on_a_slow_disk_the_thread_has_them_for_a_while(database, clock):
    clock.each = 0.005
    kept = [database.write_now(note(f"{number}")) for number in range(20)]
    at_once = kept.index(False)
    assert 3 < at_once < 12
    assert not any(kept[at_once:])
    clock.each = 0.0
    clock.now += 0.85
    assert not database.write_now(note("b"))
    clock.now += 0.2
    assert database.write_now(note("b"))


async def test_one_that_took_long_says_nothing_of_the_disk(database, clock):
    clock.each = 0.03
    assert database.write_now(note("a"))
    clock.each = 0.0
    assert database.write_now(note("b"))
    clock.each = 0.1
    assert database.write_now(note("c"))
    assert not database.write_now(note("d")), "but a tenth of a second does"


def salt(folder):
    """Changes when the log begins anew, which is when the disk is waited for."""
    return (folder / "enginehouse.db-wal").read_bytes()[16:24]


async def test_a_long_log_is_carried_over_by_the_thread(database, tmp_path):
    for number in range(1999):
        assert database.write_now(note(str(number)))
    before, size = salt(tmp_path), (tmp_path / "enginehouse.db").stat().st_size
    assert database.write_now(note("last"))
    assert not database.write_now(note("one more")), "it is long"
    await database.write(note("by the thread"))
    await until(lambda: database.write_now(note("at once again")), every=0)
    assert (tmp_path / "enginehouse.db").stat().st_size > size, "what the log held is in the file"
    after = salt(tmp_path)
    assert after != before, "and the log has begun anew"
    assert database.write_now(note("and again"))
    assert salt(tmp_path) == after
    assert len(await notes(database)) == 2003


async def test_the_log_begins_anew_in_the_thread(database, tmp_path):
    """The loop does not make the first write after a checkpoint: that one waits for the disk."""
    for number in range(2000):
        assert database.write_now(note(str(number)))
    before = salt(tmp_path)
    await database.write(note("by the thread"))
    await database.write(lambda c: None)  # stands behind what the thread does after the one before
    assert salt(tmp_path) != before
