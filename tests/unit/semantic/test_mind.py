"""Patience with an embedder, on the simulated clock: what it costs a request that there are no vectors."""

import asyncio
from itertools import count

import pytest

from enginehouse.core.cache.semantic.mind import Mind
from enginehouse.errors import StoreUnavailable
from enginehouse.testing import simulate

DEADLINE = 0.25
_numbers = count()


def a_text():
    """One that nobody has seen."""
    return f"text {next(_numbers)}"


class Embedder:
    """Takes its time, fails or hangs, as told."""

    def __init__(self):
        self.seconds, self.error, self.hangs, self.calls = 0.004, None, False, 0

    async def __call__(self, texts):
        self.calls += 1
        if self.error:
            raise self.error
        await (asyncio.Event().wait() if self.hangs else asyncio.sleep(self.seconds))
        return [[3.0, 4.0] for _ in texts]


def with_mind(test):
    """Run a test on the simulated clock, its mind being watched."""

    async def main():
        embedder = Embedder()
        mind = Mind(embedder, DEADLINE, asyncio.get_running_loop().time)
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(mind.watch())
            await test(mind, embedder)
            watch.cancel()

    def run():
        simulate(main())

    return run


async def took(waiting):
    """Seconds it took, and what came of it."""
    clock = asyncio.get_running_loop().time
    began = clock()
    found = await waiting
    return clock() - began, found


@with_mind
async def test_vectors_are_of_unit_length(mind, embedder):
    assert (await mind.soon(a_text())).tolist() == pytest.approx([0.6, 0.8])
    assert (await mind.later("one", "two")).shape == (2, 2)


@with_mind
async def test_a_stranger_is_given_the_whole_deadline_a_known_one_what_it_usually_takes(mind, embedder):
    assert mind.patience == DEADLINE
    for _ in range(50):
        assert await mind.soon(a_text()) is not None
    assert mind.patience == pytest.approx(0.025, abs=1e-6), "the least"
    for seconds in (0.06, 0.04) * 50:
        embedder.seconds = seconds
        await mind.later(a_text())
    assert 0.06 < mind.patience < DEADLINE
    embedder.seconds = 1.0
    await mind.later(a_text())
    assert mind.patience == DEADLINE, "the most"


@with_mind
async def test_an_embedder_that_hangs_costs_the_first_its_patience_and_all_others_nothing(mind, embedder):
    for _ in range(50):
        await mind.soon(a_text())
    embedder.hangs = True
    seconds, found = await took(mind.soon(a_text()))
    assert found is None
    assert seconds == pytest.approx(mind.patience)
    for _ in range(200):
        seconds, found = await took(mind.soon(a_text()))
        assert (seconds, found) == (0, None)


@with_mind
async def test_a_chore_is_done_until_the_watch_has_asked_in_vain(mind, embedder):
    await mind.soon(a_text())
    embedder.seconds = 0.3
    assert await mind.soon(a_text()) is None
    assert mind.resting
    assert await mind.later(a_text()) is not None
    embedder.error = StoreUnavailable("away")
    await asyncio.sleep(5)
    calls = embedder.calls
    assert await took(mind.later(a_text())) == (0, None)
    assert embedder.calls == calls


@with_mind
async def test_who_waits_beside_the_first_is_let_go_with_it(mind, embedder):
    embedder.hangs = True

    async def after(seconds):
        await asyncio.sleep(seconds)
        return await took(mind.soon(a_text()))

    waits = await asyncio.gather(*(after(seconds) for seconds in (0, 0, 0.1, 0.249)))
    assert [wait for wait, _ in waits] == pytest.approx([0.25, 0.25, 0.15, 0.001])
    assert {found for _, found in waits} == {None}
    assert mind.failed == 4


@with_mind
async def test_a_failure_costs_nothing_and_the_watch_sees_when_it_is_back(mind, embedder):
    embedder.error = StoreUnavailable("away")
    assert await took(mind.soon(a_text())) == (0, None)
    assert mind.resting
    await asyncio.sleep(60)
    calls = embedder.calls
    assert 25 <= calls <= 35, "every two seconds"
    embedder.error = None
    await asyncio.sleep(2.1)
    assert not mind.resting
    assert await mind.soon(a_text()) is not None


@with_mind
async def test_one_that_was_slow_once_is_asked_again_at_once(mind, embedder):
    embedder.seconds = 0.3
    assert await mind.soon(a_text()) is None
    embedder.seconds = 0.004
    await asyncio.sleep(0.31)
    assert mind.resting is False


@with_mind
async def test_one_that_is_always_too_slow_is_left_alone(mind, embedder):
    embedder.seconds = 0.3
    assert await mind.soon(a_text()) is None
    for _ in range(20):
        await asyncio.sleep(1)
        assert await took(mind.soon(a_text())) == (0, None)
        assert await mind.later(a_text()) is not None, "chores have time"


@with_mind
async def test_what_fails_unforeseen_does_not_end_the_watch(mind, embedder):
    embedder.error = StoreUnavailable("away")
    await mind.soon(a_text())
    embedder.error = ZeroDivisionError("a mistake")
    await asyncio.sleep(10)
    embedder.error = None
    await asyncio.sleep(2.1)
    assert await mind.soon(a_text()) is not None


@with_mind
async def test_a_caller_that_leaves_is_no_failure(mind, embedder):
    embedder.hangs = True
    async with asyncio.TaskGroup() as group:
        task = group.create_task(mind.soon(a_text()))
        await asyncio.sleep(0.001)
        task.cancel()
    assert (mind.failed, mind.resting) == (0, False)


@with_mind
async def test_a_chore_is_given_up_too(mind, embedder):
    embedder.hangs = True
    seconds, found = await took(mind.later(a_text()))
    assert (seconds, found) == (10, None)


@with_mind
async def test_a_text_is_embedded_once_for_looking_and_storing(mind, embedder):
    found = await mind.soon("one")
    assert (await mind.later("one"))[0].tolist() == found.tolist()
    assert embedder.calls == 1
    embedder.hangs = True
    await mind.soon("two")
    assert mind.resting
    assert await mind.soon("one") is not None, "even while it rests"
    for number in range(600):
        embedder.hangs = False
        await mind.later(f"{number}", "two at a time are not remembered")
    assert len(mind._recent) == 1


@with_mind
async def test_it_is_lost_when_the_watch_asked_in_vain_and_nothing_is_at_hand(mind, embedder):
    embedder.error = StoreUnavailable("away")
    assert not mind.lost
    assert await mind.later(a_text()) is None
    await asyncio.sleep(0.01)
    assert mind.lost
    embedder.error = None
    await asyncio.sleep(5)
    assert not mind.lost
    text = a_text()
    assert await mind.soon(text) is not None
    embedder.error = StoreUnavailable("away")
    assert await mind.soon(a_text()) is None
    await asyncio.sleep(5)
    assert (mind.resting, mind.lost) == (True, False)
    assert await mind.later(text) is not None
