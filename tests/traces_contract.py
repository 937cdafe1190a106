"""The promises of kept requests, whatever the database: SQLite here, PostgreSQL in the integration tests."""

import asyncio
import time

import msgspec
import pytest

from enginehouse.core.traces import Trace
from enginehouse.core.traces.keeping import Keeper, Keeping
from enginehouse.core.traces.reports import Question, Reports
from enginehouse.core.traces.traces import Traces
from enginehouse.errors import StoreUnavailable
from enginehouse.stores.sql import traces as sql

NOW = time.time_ns() // 1000


def trace(number=0, **changes):
    at = changes.pop("time", NOW + number)
    fields = {
        "id": f"{at:014x}{number:012x}",
        "time": at,
        "request_id": f"r{number}",
        "user_id": "ann",
        "model": "m",
        "asked": "odd \0 \ud800 name",
        "stream": True,
        "status": 200,
        "cost": 5,
        "total_us": 1000,
        "ttft_us": None,
        "phases": ("queue", "upstream", "100 %"),
        "times": (1, 2, 3, 4, 5, 6),
    }
    return Trace(**{**fields, **changes})


async def keep(database, *traces, **keeping):
    """Write these; what is left to write is written at the end of the context."""
    async with Keeper(database, Keeping(**keeping)) as keeper:
        for one in traces:
            keeper.hear(one)


def test_the_table_holds_all_there_is_of_a_request():
    assert set(sql.COLUMNS) == set(Trace.__struct_fields__) - {"phases", "times"} | {"spans"}


async def test_what_is_kept_comes_back_as_it_was(database):
    whole = trace(1, cost=None, ttft_us=7, outcome="failed", error="x", prompt="p", answer="ä", estimated=True)
    await keep(database, whole)
    (found,) = await Keeper(database, Keeping()).newest(Question(), 10)
    assert msgspec.structs.replace(found, asked="") == msgspec.structs.replace(whole, asked="")
    assert found.asked == "odd \ufffd ? name"


async def test_who_does_not_know_whether_it_was_written_writes_again(database):
    await keep(database, *(trace(n) for n in range(120)))
    await keep(database, *(trace(n, model="other") for n in range(100, 140)))
    found = await Keeper(database, Keeping()).newest(Question(), 1000)
    assert [(one.request_id, one.model) for one in reversed(found)] == [
        (f"r{n}", "m" if n < 120 else "other") for n in range(140)
    ]


async def test_many_are_kept_in_order_and_found_by_what_was_asked(database):
    many = [trace(n, user_id="bob" if n % 3 else "ann", error="" if n % 10 else "e") for n in range(250)]
    await keep(database, *many)
    keeper = Keeper(database, Keeping())
    every = await keeper.newest(Question(), 1000)
    assert [one.request_id for one in every] == [f"r{n}" for n in range(249, -1, -1)]
    questions = [
        Question(user="bob"),
        Question(failed=True),
        Question(user="bob", error="e"),
        Question(before=many[100].id),
        Question(since=many[100].time, until=many[200].time),
        Question(request_id="r7"),
        Question(request_id=many[7].id),
        Question(slower_than=1001),
        Question(model="other"),
        Question(status=200, outcome="completed", cache="", face="", key=""),
    ]
    for question in questions:
        found = await keeper.newest(question, 1000)
        assert [one.id for one in found] == [one.id for one in reversed(many) if question.fits(one)], question
    assert len(await keeper.newest(Question(), 7)) == 7


async def test_what_is_not_written_yet_is_told_as_well(database):
    await keep(database, trace(1))
    keeper = Keeper(database, Keeping())
    keeper.hear(trace(2))
    assert [one.request_id for one in await keeper.newest(Question(), 10)] == ["r2", "r1"]


async def test_words_that_are_written_wait_no_more(database):
    keeper = Keeper(database, Keeping())
    for turn in range(2):
        async with keeper:
            for number in range(600):
                keeper.hear(trace(number + 1000 * turn, prompt="x" * 32_000))
    assert keeper.dropped == 0


class Meanwhile:
    """A database that is busy: with each transaction some more requests end, until its keeper has paused twice."""

    def __init__(self, database, many):
        self.paused = asyncio.Event()
        self._database, self._many = database, many
        self._told = self._pauses = 0

    async def write(self, work):
        for _ in range(0 if self.paused.is_set() else self._many):
            self.tell()
        return await self._database.write(work)

    async def pause(self, _):
        self._pauses += 1
        if self._pauses > 1:
            self.paused.set()
            await asyncio.Event().wait()

    def tell(self):
        self._told += 1
        self.keeper.hear(trace(self._told))

    async def written_in_one_turn(self, many):
        """How many are, of so many that wait for it."""
        self.keeper = Keeper(self, Keeping(), pause=self.pause)
        for _ in range(many):
            self.tell()
        async with asyncio.timeout(20), self.keeper:
            await self.paused.wait()
            written = await Keeper(self._database, Keeping()).newest(Question(), 5000)
        every = await Keeper(self._database, Keeping()).newest(Question(), 5000)
        assert len(every) == self._told, "the end writes what is left"
        return len(written)


async def test_those_who_end_while_others_are_written_gather_for_the_next_time(database):
    assert await Meanwhile(database, 1).written_in_one_turn(5) == 5


async def test_where_many_end_there_is_no_pause_before_they_are_written(database):
    assert await Meanwhile(database, 400).written_in_one_turn(1000) > 2000


async def test_many_do_not_gather_for_long(database):
    written = asyncio.Event()

    class Watched:
        async def write(self, work):
            await database.write(work)
            written.set()

    async def for_ever(_):
        await asyncio.Event().wait()

    async with asyncio.timeout(20), Keeper(Watched(), Keeping(), pause=for_ever) as keeper:
        keeper.hear(*(trace(number) for number in range(1000)))
        await asyncio.sleep(0)
        keeper.hear(*(trace(number) for number in range(1000, 2000)))
        await written.wait()
    assert len(await Keeper(database, Keeping()).newest(Question(), 5000)) == 2000


async def test_what_is_too_old_is_forgotten(database):
    now = time.time_ns() // 1000  # of this moment: the module may have been read long ago
    old = [trace(n, time=now - 100_000_000 + n) for n in range(1, 1200)]
    await keep(database, *old, trace(5000, time=now))
    async with Keeper(database, Keeping(retention=60)) as keeper:
        for _ in range(100):
            if len(await keeper.newest(Question(), 2000)) == 1:
                break
            await asyncio.sleep(0.1)
        assert [one.request_id for one in await keeper.newest(Question(), 2000)] == ["r5000"]


async def test_nothing_is_kept_where_nothing_shall_be(database):
    await keep(database, trace(1), enabled=False)
    assert await Keeper(database, Keeping()).newest(Question(), 10) == []


async def test_strangers_do_not_fill_the_disk(database):
    keeper = Keeper(database, Keeping())
    for number in range(100):
        keeper.hear(trace(number, time=NOW - NOW % 1_000_000 + number, outcome="refused"))
    keeper.hear(trace(101, outcome="failed"))
    assert keeper.dropped == 90
    assert len(await keeper.newest(Question(), 200)) == 11


class Away:
    """A database that cannot be reached."""

    async def read(self, work):
        raise StoreUnavailable("away")

    async def write(self, work):
        raise StoreUnavailable("away")


async def test_memory_answers_while_the_database_is_away():
    keeper, traces = Keeper(Away(), Keeping()), Traces(10)
    traces.recent.append(trace(1))
    told = await Reports(traces, keeper).page(Question(), 10)
    assert (told["source"], len(told["data"])) == ("memory", 1)


async def test_only_so_many_wait_for_it():
    keeper = Keeper(Away(), Keeping())
    for number in range(10_005):
        keeper.hear(trace(number))
    assert keeper.dropped == 5
    wordy = Keeper(Away(), Keeping())
    for number in range(1005):
        wordy.hear(trace(number, prompt="x" * 16_000, answer="y" * 16_000))
    assert wordy.dropped == 5
    with pytest.raises(StoreUnavailable):
        await keeper.newest(Question(), 1)
