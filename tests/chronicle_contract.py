"""The chronicle of replicas, wherever it is kept.

Who runs them has the fixture `replicas`: two of them, `a` and `b`, open and empty, and ways to cut off the second,
to let it back, and to lose everything that is written (`lose`).
"""

import asyncio

import pytest

from enginehouse.errors import StoreUnavailable


async def read_on(chronicle, after, number):
    """So many lines that come after a place."""
    lines = []
    async with asyncio.timeout(5):
        while len(lines) < number:
            lines += await chronicle.read(lines[-1].mark if lines else after)
    return lines


async def test_everybody_reads_the_same_in_the_same_order(replicas):
    a, b = replicas.a, replicas.b
    assert list(await a.read(None)) == []
    for number in range(50):
        await (a, b)[number % 2].append([b"%d" % number, b"x" * number])
    by_a, by_b = await read_on(a, None, 100), await read_on(b, None, 100)
    assert by_a == by_b
    assert [line.text for line in by_a[::2]] == [b"%d" % number for number in range(50)]
    assert [line.mark for line in by_a] == sorted({line.mark for line in by_a})


async def test_who_has_read_to_a_place_hears_what_came_after_it(replicas):
    await replicas.a.append([b"1", b"2", b"3"])
    lines = await read_on(replicas.b, None, 3)
    assert [line.text for line in await replicas.b.read(lines[0].mark)] == [b"2", b"3"]


async def test_who_waits_hears_it_at_once(replicas):
    await replicas.a.append([b"1"])
    (line,) = await read_on(replicas.b, None, 1)
    waits = asyncio.ensure_future(read_on(replicas.b, line.mark, 1))
    await asyncio.sleep(0.05)
    assert not waits.done()
    await replicas.a.append([b"2"])
    async with asyncio.timeout(0.5):
        assert [line.text for line in await waits] == [b"2"]


async def test_who_waits_for_nothing_is_not_kept_for_ever(replicas):
    await replicas.a.append([b"1"])
    (line,) = await read_on(replicas.b, None, 1)
    async with asyncio.timeout(4):
        assert list(await replicas.b.read(line.mark)) == []


async def test_a_place_behind_all_that_is_written_is_begun_anew(replicas):
    await replicas.a.append([b"1"])
    (line,) = await read_on(replicas.b, None, 1)
    await replicas.lose()
    await replicas.a.append([b"2"])
    async with asyncio.timeout(4):
        assert [line.text for line in await replicas.b.read((line.mark[0] + 3_600_000, 0))] == [b"2"]


async def test_a_store_that_is_away_says_so_and_is_found_again(replicas):
    await replicas.a.append([b"1"])
    (line,) = await read_on(replicas.b, None, 1)
    waits = asyncio.ensure_future(replicas.b.read(line.mark))
    await asyncio.sleep(0.05)
    await replicas.cut_off()
    with pytest.raises(StoreUnavailable):
        await waits
    assert not replicas.b.up
    for asked in (replicas.b.append([b"2"]), replicas.b.read(None)):
        with pytest.raises(StoreUnavailable):
            await asked
    await replicas.let_back()
    await replicas.b.append([b"3"])
    assert [line.text for line in await replicas.b.read(None)][-1] == b"3"
