"""What every store of answers does; `answers` is the store, bounded to 10,000 bytes, `clock` tells it the time."""

import asyncio
import time

from enginehouse.types.cached import Entry

LIMIT = 10_000


def entry(number=0, *, size=0, ends=1000.0, **more):
    now = time.time()
    fields = {"answer": b"x" * size, "writer": "u", "model": "m", "asked": now, "expires": now + ends}
    return Entry(**{"key": number.to_bytes(16, "big"), **fields, **more})


async def test_what_is_kept_is_found_as_it_was(answers):
    one = entry(1, size=9, scope=b"s" * 16, question="wie?", tags=("a", "b"), cost=3, semantic_expires=2e9)
    await answers.put(one)
    assert await answers.get([one.key, entry(2).key]) == [one, None]


async def test_the_later_one_takes_the_place(answers):
    await answers.put(entry(1, size=5000))
    await answers.put(entry(1, size=7))
    holding = await answers.holding()
    assert (holding.entries, holding.bytes, holding.evicted) == (1, entry(1, size=7).size, 0)


async def test_the_longest_unused_goes_first(answers):
    for number in range(4):
        await answers.put(entry(number, size=1900))
    await answers.get([entry(0).key])
    await answers.put(entry(4, size=1900))
    found = await answers.get([entry(number).key for number in range(5)])
    assert [one is not None for one in found] == [True, False, True, True, True]
    assert (await answers.holding()).evicted == 1


async def test_bytes_are_bounded(answers):
    for number in range(200):
        await answers.put(entry(number, size=number * 7 % 900))
        assert (await answers.holding()).bytes <= LIMIT


async def test_one_that_is_larger_than_all_leaves_nothing(answers):
    await answers.put(entry(1, size=LIMIT))
    assert (await answers.holding()).entries == 0
    assert await answers.get([entry(1).key]) == [None]


async def test_nothing_outlives_its_time(answers):
    await answers.put(entry(1, ends=0.05))
    await answers.put(entry(2, ends=-1))
    await answers.put(entry(3, ends=-1, semantic_expires=time.time() + 1000))
    await asyncio.sleep(0.08)
    found = await answers.get([entry(number).key for number in (1, 2, 3)])
    assert [one is not None for one in found] == [False, False, True]


async def test_what_is_dropped_is_gone(answers):
    for number in (1, 2):
        await answers.put(entry(number))
    assert await answers.drop([entry(1).key, entry(9).key]) == 1
    assert await answers.drop([]) == 0
    holding = await answers.holding()
    assert (holding.entries, holding.bytes) == (1, entry(2).size)


async def test_what_is_dead_is_swept(answers):
    for number in range(9):
        await answers.put(entry(number, model="m" if number % 2 else "n"))
    gone = await answers.sweep(lambda one: one.model == "n")
    assert sorted(gone) == sorted(entry(number).id for number in (0, 2, 4, 6, 8))
    assert (await answers.holding()).entries == 4
    assert await answers.sweep(lambda one: False) == []
