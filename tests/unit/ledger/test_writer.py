"""Whatever happens to whom and when: what was acknowledged is in the books, and counts once."""

import asyncio
from collections import Counter
from itertools import chain, cycle, repeat

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.writer import Writer
from enginehouse.errors import LedgerUnavailable, StoreError, StoreUnavailable
from enginehouse.stores.spool import Spool
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.stores.sql.rollups import PERIODS
from enginehouse.stores.sql.sums import sums
from enginehouse.stores.sql.usage import RECORDS
from enginehouse.testing import FakeBooks, FakeSpool, simulate
from tests.ledger_contract import record
from tests.ledger_requests import until

END = 1 << 40


async def at_once(_):
    await asyncio.sleep(0)


class Life:
    """One life of the process, from its start to its crash."""

    def __init__(self, books, spool, pause=asyncio.sleep):
        self.writer = Writer(books, spool, pause=pause)
        self.tasks = [asyncio.ensure_future(run()) for run in (self.writer.run, self.writer.catch_up)]
        self.made, self.acknowledged, self.refused = {}, set(), set()

    def ask(self, tokens, after, leaves):
        self.tasks.append(asyncio.ensure_future(self._ask(tokens, after, leaves)))

    async def _ask(self, tokens, after, leaves):
        for _ in range(after):
            await asyncio.sleep(0)
        one = record(input_tokens=tokens)
        self.made[one.id] = one
        future = self.writer.put(one)
        if leaves:
            return
        try:
            await asyncio.shield(future)
        except LedgerUnavailable:
            self.refused.add(one.id)
        else:
            self.acknowledged.add(one.id)

    async def crash(self):
        """Every task ends at the await it is in; nothing is flushed."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


callers = st.lists(st.tuples(st.integers(1, 99), st.integers(0, 12), st.booleans()), max_size=8)
lives = st.lists(
    st.tuples(
        callers,
        st.lists(st.sampled_from(["ok", "away", "unknown"]), max_size=8),
        st.integers(0, 60),
        st.lists(st.booleans(), max_size=8),
    ),
    min_size=1,
    max_size=4,
)


@given(lives=lives)
@settings(max_examples=300)
def test_what_was_acknowledged_is_there_once_whatever_happens(lives):
    async def main():
        books, spool = FakeBooks(), FakeSpool()
        made, acknowledged = {}, set()
        for asked, fates, ticks, prompt in [*lives, ([], [], 500, [])]:
            script, free = chain(fates, repeat("ok")), cycle([*prompt, False])
            books.fate = lambda script=script: next(script)
            books.prompt = lambda free=free: next(free)
            life = Life(books, spool, at_once)
            for tokens, after, leaves in asked:
                life.ask(tokens, after, leaves)
            for _ in range(ticks):
                await asyncio.sleep(0)
            await life.crash()
            made |= life.made
            acknowledged |= life.acknowledged
            assert not life.refused
        assert spool.backlog == 0
        assert acknowledged <= books.kept.keys() <= made.keys()
        generated = sum(made[id_].input_tokens for id_ in acknowledged)
        assert sum(books.kept[id_].input_tokens for id_ in acknowledged) == generated
        assert not spool.rejected

    simulate(main())


@given(lives=lives)
@settings(max_examples=15, deadline=None)
async def test_the_same_holds_for_files_and_sql(tmp_path_factory, lives):
    """The real spool and SQLite, with commits that fail before or after they count, and crashes at any point."""
    folder = tmp_path_factory.mktemp("life")
    made, acknowledged = {}, set()

    class Failing:
        def __init__(self, books, fates):
            self.books, self.fates = books, chain(fates, repeat("ok"))

        async def write(self, records):
            fate = next(self.fates)
            if fate != "away":
                await self.books.write(records)
            if fate != "ok":
                raise StoreUnavailable(fate)

        def write_now(self, records):
            fate = next(self.fates)
            kept = fate != "away" and self.books.write_now(records)
            if fate != "ok":
                raise StoreUnavailable(fate)
            return kept

        async def sum_up(self):
            return await self.books.sum_up()

    for asked, fates, ticks, _ in [*lives, ([], [], 0, [])]:
        async with open_database(database_url("", folder)) as database:
            await prepare(database)
            life = Life(Failing(SqlBooks(database), fates), Spool(folder / "spool", 10**6, segment=300), at_once)
            for tokens, after, leaves in asked:
                life.ask(tokens, after, leaves)
            for _ in range(ticks * 3):
                await asyncio.sleep(0)
            if not asked:
                await until(lambda: not list((folder / "spool").glob("*.jsonl")), every=0.001)
            await life.crash()
            made |= life.made
            acknowledged |= life.acknowledged
    async with open_database(database_url("", folder)) as database:
        stored = await database.read(
            lambda c: Counter(dict(c.execute(select(RECORDS.c.id, RECORDS.c.input_tokens)).all()))
        )
        totals = [
            await database.read(
                lambda c, widest=widest: sums(
                    c, start=0, end=END, widest=widest, user="", dimension="total", by="value"
                )
            )
            for widest in PERIODS
        ]
    assert acknowledged <= stored.keys() <= made.keys()
    assert all(stored[id_] == made[id_].input_tokens for id_ in stored)
    for rows in totals:
        assert sum(row["input_tokens"] for row in rows) == sum(stored.values())


def test_records_gather_while_a_commit_runs():
    async def main():
        books = FakeBooks()
        life = Life(books, FakeSpool())
        for number in range(100):
            life.ask(number, 0, leaves=False)
        await life.writer.idle()
        await asyncio.sleep(1)
        assert len(life.acknowledged) == len(books.kept) == 100
        assert books.transactions <= 3
        await life.crash()

    simulate(main())


@pytest.mark.parametrize(("together", "in_a_thread"), [(1, 0), (8, 0), (9, 1), (100, 1)])
def test_a_few_records_are_committed_at_once_and_many_in_a_thread(together, in_a_thread):
    class Counting(FakeBooks):
        threads = 0

        async def write(self, records):
            self.threads += 1
            await super().write(records)

    async def main():
        books = Counting(prompt=lambda: True)
        life = Life(books, FakeSpool())
        await asyncio.sleep(0)
        for number in range(together):
            life.ask(number, 0, leaves=False)
        await asyncio.sleep(1)
        assert (len(life.acknowledged), books.transactions, books.threads) == (together, 1, in_a_thread)
        await life.crash()

    simulate(main())


def test_what_cannot_be_committed_at_once_is_committed_by_a_thread():
    async def main():
        books = FakeBooks(prompt=iter([False, True]).__next__)
        life = Life(books, FakeSpool())
        for number in range(2):
            life.ask(number, number * 20, leaves=False)
        await asyncio.sleep(1)
        assert [one.input_tokens for one in books.kept.values()] == [0, 1]
        await life.crash()

    simulate(main())


@pytest.mark.parametrize("fate", ["away", "unknown"])
def test_what_failed_at_once_goes_to_the_spool(fate):
    async def main():
        fates = iter([fate])
        books, spool = FakeBooks(lambda: next(fates, "ok"), prompt=lambda: True), FakeSpool()
        life = Life(books, spool)
        life.ask(1, 0, leaves=False)
        await until(lambda: life.acknowledged, every=0)
        assert (life.writer.away, spool.backlog) == (True, 1)
        await asyncio.sleep(10)
        assert (life.writer.away, spool.backlog, len(books.kept)) == (False, 0, 1)
        await life.crash()

    simulate(main())


def test_a_database_that_hangs_is_not_waited_for():
    async def main():
        books, spool = FakeBooks(), FakeSpool()
        forever = asyncio.Event()
        answering = books.write

        async def hang(records):
            await forever.wait()
            await answering(records)

        books.write = hang
        life = Life(books, spool)
        began = asyncio.get_running_loop().time()
        life.ask(1, 0, leaves=False)
        await asyncio.sleep(4)
        assert len(life.acknowledged) == 1
        assert life.writer.away
        life.ask(1, 0, leaves=False)
        await asyncio.sleep(0.01)
        assert len(life.acknowledged) == 2, "the second is not made to wait again"
        assert asyncio.get_running_loop().time() - began < 5
        books.write = answering
        forever.set()
        await asyncio.sleep(10)
        assert len(books.kept) == 2
        assert (life.writer.away, spool.backlog) == (False, 0)
        await life.crash()

    simulate(main())


def test_who_can_be_kept_nowhere_is_told():
    async def main():
        books, spool = FakeBooks(lambda: "away"), FakeSpool()
        spool.broken = True
        life = Life(books, spool)
        life.ask(1, 0, leaves=False)
        life.ask(1, 0, leaves=True)
        await asyncio.sleep(1)
        assert (len(life.refused), life.writer.lost) == (1, 2)
        books.fate = lambda: "ok"
        await asyncio.sleep(10)
        life.ask(1, 0, leaves=False)
        await asyncio.sleep(10)
        assert len(life.acknowledged) == 1
        await life.crash()

    simulate(main())


@pytest.mark.parametrize("bad", [0, 3, 8])
def test_a_record_that_can_never_be_written_costs_no_other(bad):
    async def main():
        books, spool = FakeBooks(), FakeSpool()
        plain = books.write

        async def write(records):
            if any(one.input_tokens == bad for one in records):
                raise StoreError("out of range")
            await plain(records)

        books.write = write
        life = Life(books, spool)
        for number in range(9):
            life.ask(number, 0, leaves=False)
        await asyncio.sleep(10)
        assert len(life.acknowledged) == 9
        assert sorted(one.input_tokens for one in books.kept.values()) == [n for n in range(9) if n != bad]
        assert [msgspec.json.decode(line)["input_tokens"] for line in spool.rejected] == [bad]
        assert spool.backlog == 0
        await life.crash()

    simulate(main())


def test_live_records_do_not_wait_for_old_ones():
    async def main():
        books, spool = FakeBooks(), FakeSpool()
        old = [record(input_tokens=n) for n in range(50)]
        for one in old:
            await spool.append([msgspec.json.encode(one)])
        life = Life(books, spool)
        life.ask(99, 0, leaves=False)
        await until(lambda: life.acknowledged, every=0)
        assert spool.backlog > 40
        await asyncio.sleep(10)
        assert [one.input_tokens for one in books.kept.values() if one.input_tokens != 99] == list(range(50))
        assert len(books.kept) == 51
        await life.crash()

    simulate(main())


def test_an_outage_that_comes_and_goes_is_caught_up_each_time():
    async def main():
        fates = cycle(["ok"] * 3 + ["away"] * 4 + ["unknown"] * 2)
        books, spool = FakeBooks(lambda: next(fates)), FakeSpool()
        life = Life(books, spool)
        for number in range(200):
            life.ask(1, number, leaves=False)
        await asyncio.sleep(10_000)
        assert len(life.acknowledged) == len(books.kept) == 200
        assert spool.backlog == 0
        await life.crash()

    simulate(main())


def test_who_comes_after_the_end_is_told_and_does_not_wait():
    async def scenario():
        writer = Writer(FakeBooks(), FakeSpool())
        task = asyncio.ensure_future(writer.run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(LedgerUnavailable):
            await writer.put(record())
        assert writer.lost == 1

    simulate(scenario())
