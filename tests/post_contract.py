"""The post between replicas, wherever it is kept.

Who runs them has the fixture `replicas`: two of them, `a` and `b`, open and empty, and ways to kill the first and
to cut off the second.
"""

import asyncio

import pytest

from enginehouse.errors import StoreUnavailable


async def arrived(letters, number):
    async with asyncio.timeout(5):
        while len(letters) < number:  # noqa: ASYNC110 - whoever brings them is no task of ours
            await asyncio.sleep(0.01)
    return letters


async def test_letters_come_to_whom_they_are_sent_in_order(replicas):
    a, b = replicas.a, replicas.b
    heard = {"a": [], "b": []}
    a.receive(heard["a"].append)
    b.receive(heard["b"].append)
    letters = [bytes([number]) * number for number in range(50)] + [b"x" * 100_000]
    for letter in letters:
        assert await a.send("b", letter)
    assert await b.send("a", b"thanks")
    assert await arrived(heard["b"], len(letters)) == letters
    assert await arrived(heard["a"], 1) == [b"thanks"]


async def test_nobody_hears_what_is_sent_to_nobody(replicas):
    assert not await replicas.a.send("c", b"hello")


async def test_a_thing_is_one_replica_s_until_it_is_released(replicas):
    a, b = replicas.a, replicas.b
    assert await b.find("x") is None
    assert await a.claim("x", 60) is None
    assert await a.claim("x", 60) is None
    assert (await b.claim("x", 60), await b.find("x"), await a.find("x")) == ("a", "a", "a")
    await b.release("x", 60)  # which is not b's to release
    assert await b.claim("x", 60) == "a"
    await a.release("x", 60)
    assert await b.find("x") == "a"
    assert await b.claim("x", 60) is None
    await a.release("x", 60)
    assert (await a.find("x"), await a.claim("x", 60)) == ("b", "b")
    assert await a.claim("y", 60) is None


async def test_a_thing_is_given_up_in_time(replicas):
    a, b = replicas.a, replicas.b
    await a.claim("x", 0.05)
    await a.claim("y", 60)
    await a.release("y", 0.05)
    assert await b.find("y") == "a"
    await asyncio.sleep(0.1)
    assert (await b.find("x"), await b.find("y")) == (None, None)


async def test_what_the_dead_had_is_anybody_s(replicas):
    await replicas.a.claim("x", 60)
    await replicas.kill_a()
    assert await replicas.b.find("x") is None
    assert await replicas.b.claim("x", 60) is None
    assert await replicas.b.find("x") == "b"
    assert not await replicas.b.send("a", b"hello")


async def test_a_store_that_is_away_says_so(replicas):
    await replicas.cut_off()
    for asked in (
        replicas.b.find("x"),
        replicas.b.claim("x", 1),
        replicas.b.release("x", 1),
        replicas.b.send("a", b""),
    ):
        with pytest.raises(StoreUnavailable):
            await asked
