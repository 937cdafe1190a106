"""The contract of conversations on SQLite, each replica with copies of its own."""

import pytest

from enginehouse.stores.kv import MemoryCopies
from enginehouse.stores.sql import database_url, migrate, open_database
from tests.hot_contract import *  # noqa: F403 - the tests themselves
from tests.sessions_contract import *  # noqa: F403 - the tests themselves


@pytest.fixture
async def database(tmp_path):
    async with open_database(database_url("", tmp_path)) as opened:
        await migrate(opened)
        yield opened


@pytest.fixture
def copies():
    return lambda: MemoryCopies(10**6, 60.0)


async def test_memory_is_bounded_and_the_least_used_goes_first():
    copies = MemoryCopies(10, 60.0)
    for key in "abc":
        await copies.put(key, 1, b"1234")
        await copies.get("a", 1)
    assert [await copies.get(key, 1) is not None for key in "abc"] == [True, False, True]
    await copies.put("d", 1, b"x" * 11)
    assert copies.size == 8


async def test_what_nobody_uses_is_forgotten():
    now = [0.0]
    copies = MemoryCopies(100, 60.0, lambda: now[0])
    await copies.put("a", 1, b"1234")
    now[0] = 59
    assert await copies.get("a", 1) == b"1234"
    now[0] = 118
    assert await copies.get("a", 1) == b"1234"
    now[0] = 178
    assert await copies.get("a", 1) is None
    assert copies.size == 0


async def test_the_next_turn_reads_the_copy_and_not_the_database(database):
    class Watched(MemoryCopies):
        hits = 0

        async def get(self, key, version):
            found = await super().get(key, version)
            self.hits += found is not None
            return found

    copies = Watched(10**6, 60.0)
    here = Replica(database, copies)  # noqa: F405
    for said in ("one", "two", "three"):
        turn = await here.ask(said, session_id="s")
    assert copies.hits == 2
    assert len(turn.messages) == 5
