"""Questions of all replicas: what one has stored the other finds, and nobody embeds it again."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from enginehouse.core.cache.semantic.feed import shared_with
from enginehouse.core.cache.semantic.index import open_index
from enginehouse.testing.chronicle import MemoryChronicle, Shelf
from tests.unit.semantic.test_semantic import OTHER, SAME, SCOPE, STORED, Setting


@asynccontextmanager
async def replica(folder, shelf, name):
    chronicle = MemoryChronicle(shelf, name)
    async with (
        open_index(folder / f"{name}.db", lasting=True, max_bytes=10**7) as index,
        shared_with(index, chronicle),
    ):
        setting = Setting(index)
        setting.chronicle = chronicle
        yield setting


@pytest.fixture
async def pair(tmp_path):
    shelf = Shelf()
    async with replica(tmp_path, shelf, "a") as a, replica(tmp_path, shelf, "b") as b:
        yield a, b


async def knows(setting, number):
    """In time."""
    async with asyncio.timeout(3):
        while await setting.index.count() != number:  # noqa: ASYNC110 - it is another task that stores them
            await asyncio.sleep(0.01)


async def test_what_one_stores_the_other_finds_and_does_not_embed(pair):
    a, b = pair
    assert await b.cache.find(SCOPE, SAME) is None
    await a.cache.put(SCOPE, STORED, "e1", answer="Once a week.")
    await knows(b, 1)
    assert b.words.calls == 0
    match = await b.cache.find(SCOPE, SAME)
    assert (match.entry, match.serve) == ("e1", True)
    assert await b.cache.find(OTHER, STORED) is None
    assert (await a.cache.find(SCOPE, SAME)).entry == "e1"


async def test_what_is_forgotten_here_is_forgotten_although_another_stored_it(pair):
    a, b = pair
    await a.cache.put(SCOPE, STORED, "e1")
    await knows(b, 1)
    await b.cache.forget(["e1"])
    assert await b.cache.find(SCOPE, SAME) is None


async def test_one_that_comes_later_finds_what_was_stored_before(pair, tmp_path):
    a, _ = pair
    for number in range(250):
        await a.cache.put(SCOPE, f"How do I water orchid number {number}?", f"e{number}")
    async with replica(tmp_path, a.chronicle.shelf, "late") as late:
        await knows(late, 250)


async def test_what_was_stored_while_nobody_could_be_told_is_told_afterwards(pair):
    a, b = pair
    await a.cache.put(OTHER, STORED, "e0")
    await knows(b, 1)
    a.chronicle.up = False
    await a.cache.put(SCOPE, STORED, "e1")
    await asyncio.sleep(0.05)
    assert await b.index.count() == 1
    a.chronicle.up = True
    await knows(b, 2)
    assert (await b.cache.find(SCOPE, SAME)).entry == "e1"


async def test_what_another_version_tells_is_left(pair):
    a, b = pair
    await a.chronicle.append([b"nonsense"])
    await a.cache.put(SCOPE, STORED, "e1")
    await knows(b, 1)
    assert (await b.cache.find(SCOPE, SAME)).entry == "e1"
