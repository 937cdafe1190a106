"""Single flight."""

import asyncio

import pytest

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.flights import Flights
from enginehouse.stores.artifacts.progress import SILENT
from tests.unit.artifacts.watchers import Diary


class Work:
    """A piece of work that ends when it is told to."""

    def __init__(self, error=None):
        self.runs = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self._error = error

    async def __call__(self, progress):
        self.runs += 1
        self.begun.set()
        progress.started("f", 10, 2)
        progress.advanced("f", 3)
        await self.go.wait()
        if self._error is not None:
            raise self._error
        progress.advanced("f", 5)
        progress.finished("f")


async def test_many_who_want_the_same_share_one_run():
    flights, work = Flights(), Work()
    diaries = [Diary() for _ in range(50)]
    async with asyncio.TaskGroup() as group:
        for diary in diaries:
            group.create_task(flights.share("k", work, diary))
        await work.begun.wait()
        await asyncio.sleep(0)
        work.go.set()
    assert work.runs == 1
    assert diaries[0].events[:2] == [("started", "f", 10, 2), ("advanced", "f", 3)]
    for diary in diaries[1:]:
        assert diary.events == [("started", "f", 10, 5), ("advanced", "f", 5), ("finished", "f")]


async def test_all_get_the_same_error_and_the_next_call_tries_again():
    flights, work = Flights(), Work(SourceError("no network"))

    async def caller():
        with pytest.raises(SourceError, match="no network"):
            await flights.share("k", work, SILENT)

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(caller())
        await work.begun.wait()
        work.go.set()
    assert work.runs == 1
    await caller()
    assert work.runs == 2


async def test_the_next_in_line_takes_over_from_one_who_was_cancelled():
    flights, abandoned, work = Flights(), Work(), Work()
    async with asyncio.TaskGroup() as group:
        leader = group.create_task(flights.share("k", abandoned, SILENT))
        await abandoned.begun.wait()
        followers = [group.create_task(flights.share("k", work, SILENT)) for _ in range(3)]
        await asyncio.sleep(0)
        leader.cancel()
        await work.begun.wait()
        work.go.set()
    assert leader.cancelled()
    assert all(follower.result() is None for follower in followers)
    assert (abandoned.runs, work.runs) == (1, 1)


async def test_a_cancelled_follower_disturbs_nobody():
    flights, work, diary = Flights(), Work(), Diary()
    async with asyncio.TaskGroup() as group:
        leader = group.create_task(flights.share("k", work, SILENT))
        await work.begun.wait()
        follower = group.create_task(flights.share("k", work, diary))
        await asyncio.sleep(0)
        follower.cancel()
        await asyncio.sleep(0)
        work.go.set()
    assert leader.result() is None
    assert diary.kinds() == ["started"]
    assert work.runs == 1


async def test_different_things_do_not_wait_for_each_other():
    flights, slow, quick = Flights(), Work(), Work()
    quick.go.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(flights.share("slow", slow, SILENT))
        await slow.begun.wait()
        await flights.share("quick", quick, SILENT)
        slow.go.set()
    assert (slow.runs, quick.runs) == (1, 1)
