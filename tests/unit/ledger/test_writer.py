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
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
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

    def __init__(self, books, spool, pause=asyncio.sleep, *, ahead=False):
        self.writer = Writer(books, spool, ahead=ahead, pause=pause)
        self.carrying = self.writer.carrying
        self.tasks = [asyncio.ensure_future(run()) for run in (self.writer.run, self.carrying.run)]
        self.made, self.acknowledged, self.refused = {}, set(), set()

    def ask(self, tokens, after, leaves):
        self.tasks.append(asyncio.ensure_future(self._ask(tokens, after, leaves)))

    async def _ask(self, tokens, after, leaves):
        for _ in range(after):
            await asyncio.sleep(0)
        one = record(input_tokens=tokens)
        self.made[one.id] = one
        (future,) = self.writer.put(one)
        if leaves:
            return
        try:
            if future is not None:
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
        st.booleans(),
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
        for asked, fates, ticks, ahead in [*lives, ([], [], 500, False)]:
            script = chain(fates, repeat("ok"))
            books.fate = lambda script=script: next(script)
            life = Life(books, spool, at_once, ahead=ahead)
            for tokens, after, leaves in asked:
                life.ask(tokens, after, leaves)
            for _ in range(ticks):
                await asyncio.sleep(0.01 if ahead else 0)
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

        async def sum_up(self):
            return await self.books.sum_up()

    for asked, fates, ticks, ahead in [*lives, ([], [], 0, False)]:
        spool = Spool(folder / "spool", 10**6, segment=1500)
        async with open_database(database_url("", folder)) as database:
            await prepare(database)
            life = Life(Failing(SqlBooks(database), fates), spool, at_once, ahead=ahead)
            for tokens, after, leaves in asked:
                life.ask(tokens, after, leaves)
            life.tasks.append(asyncio.ensure_future(life.carrying.caught_up()))
            for _ in range(ticks * 3):
                await asyncio.sleep(0)
            if not asked:
                await until(lambda: not list((folder / "spool").glob("*.jsonl")), every=0.001)
            await life.crash()
            spool.close()
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
        assert life.carrying.away
        life.ask(1, 0, leaves=False)
        await asyncio.sleep(0.01)
        assert len(life.acknowledged) == 2, "the second is not made to wait again"
        assert asyncio.get_running_loop().time() - began < 5
        books.write = answering
        forever.set()
        await asyncio.sleep(10)
        assert len(books.kept) == 2
        assert (life.carrying.away, spool.backlog) == (False, 0)
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


async def test_what_this_life_remembers_is_set_aside_in_a_form_for_people(tmp_path):
    books, spool = FakeBooks(), Spool(tmp_path, 10**6)

    async def refuse(_):
        raise StoreError("out of range")

    books.write = refuse
    life = Life(books, spool, ahead=True)
    one = record(tags=("a",))
    assert life.writer.put(one) == (None,)
    await until(lambda: not spool.backlog, every=0.001)
    set_aside = msgspec.json.decode((tmp_path / "rejected.txt").read_bytes())
    assert set_aside == msgspec.json.decode(msgspec.json.encode(msgspec.structs.asdict(one)))
    assert set_aside["tags"] == ["a"]
    await life.crash()
    spool.close()


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


@pytest.mark.parametrize("ahead", [True, False])
def test_who_comes_after_the_end_is_told_and_does_not_wait(ahead):
    async def scenario():
        writer = Writer(FakeBooks(), FakeSpool(), ahead=ahead)
        task = asyncio.ensure_future(writer.run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(LedgerUnavailable):
            await writer.put(record())[0]
        assert writer.lost == 1

    simulate(scenario())


def in_journal(spool, books):
    return len(spool.parts), len(books.kept)


def test_a_journal_is_durable_at_once_and_in_the_books_a_moment_later():
    async def main():
        books, spool = FakeBooks(), FakeSpool()
        life = Life(books, spool, ahead=True)
        for number in range(100):
            assert life.writer.put(record(input_tokens=number)) == (None,)
        assert in_journal(spool, books) == (100, 0)
        assert life.writer.backlog == 0
        await asyncio.sleep(0.19)
        assert in_journal(spool, books) == (100, 0)
        await asyncio.sleep(0.02)
        assert in_journal(spool, books) == (99, 1), "one part after the other"
        await asyncio.sleep(100)
        assert in_journal(spool, books) == (0, 100)
        assert [one.input_tokens for one in books.kept.values()] == list(range(100))
        await life.crash()

    simulate(main())


def test_many_in_a_journal_wait_for_no_more():
    async def main():
        loop = asyncio.get_running_loop()
        books, spool = FakeBooks(), FakeSpool()
        life = Life(books, spool, ahead=True)
        await asyncio.sleep(0.001)
        began = loop.time()
        for _ in range(499):
            life.writer.put(record())
        await asyncio.sleep(0.001)
        assert not books.kept
        life.writer.put(record())
        await until(lambda: books.kept, every=0)
        assert loop.time() - began < 0.01
        await life.crash()

    simulate(main())


def test_many_that_come_together_in_a_journal_wait_for_no_more():
    async def main():
        loop = asyncio.get_running_loop()
        books, spool = FakeBooks(), FakeSpool()
        life = Life(books, spool, ahead=True)
        await asyncio.sleep(0.001)
        began = loop.time()
        for _ in range(166):
            assert life.writer.put(record(), record(), record()) == (None, None, None)
        await asyncio.sleep(0.001)
        assert (len(books.kept), len(spool.parts)) == (0, 166), "three at a time"
        life.writer.put(record(), record(), record())
        await until(lambda: books.kept, every=0)
        assert loop.time() - began < 0.01
        await life.crash()

    simulate(main())


@pytest.mark.parametrize("slow", [True, False])
def test_of_several_each_is_told_of_where_the_journal_does_not_take_them(slow):
    async def main():
        books, spool = FakeBooks(), FakeSpool()
        spool.slow, spool.broken = slow, not slow
        life = Life(books, spool, ahead=True)
        several = [record() for _ in range(3)]
        waiting = life.writer.put(*several)
        assert not books.kept
        await asyncio.gather(*waiting)
        assert [*books.kept] == [one.id for one in several]
        await life.crash()

    simulate(main())


def test_who_reads_waits_for_what_was_there_and_for_no_more():
    async def main():
        loop = asyncio.get_running_loop()
        books, spool = FakeBooks(), FakeSpool()
        life = Life(books, spool, ahead=True)
        first = record()
        life.writer.put(first)
        began = loop.time()
        reading = asyncio.ensure_future(life.carrying.caught_up())
        await asyncio.sleep(0)
        life.writer.put(record())
        await reading
        assert loop.time() == began, "nobody waits for a timer"
        assert list(books.kept) == [first.id]
        await life.carrying.caught_up()
        assert len(books.kept) == 2
        await life.crash()

    simulate(main())


def test_who_reads_does_not_wait_for_books_that_are_away_or_hang():
    async def main():
        loop = asyncio.get_running_loop()
        books, spool = FakeBooks(lambda: "away"), FakeSpool()
        life = Life(books, spool, ahead=True)
        life.writer.put(record())
        began = loop.time()
        await life.carrying.caught_up()
        assert (life.carrying.away, life.carrying.overdue) == (True, 1)
        await life.carrying.caught_up()
        assert loop.time() - began < 0.1
        assert life.writer.put(record()) == (None,), "the journal is there still"
        books.fate = lambda: "ok"
        await asyncio.sleep(10)
        assert (life.carrying.away, life.carrying.overdue, len(books.kept)) == (False, 0, 2)

        async def hang(_):
            await asyncio.Event().wait()

        books.write = hang
        life.writer.put(record())
        began = loop.time()
        await life.carrying.caught_up()
        assert 1 < loop.time() - began < 5
        await life.crash()

    simulate(main())


@pytest.mark.parametrize("trouble", ["broken", "slow"])
@pytest.mark.parametrize("fate", ["ok", "away"])
def test_where_the_journal_takes_nothing_the_books_do_before_the_end(trouble, fate):
    async def main():
        books, spool = FakeBooks(lambda: fate), FakeSpool()
        setattr(spool, trouble, True)
        life = Life(books, spool, ahead=True)
        life.ask(1, 0, leaves=False)
        await asyncio.sleep(1)
        outcome = len(life.acknowledged), len(life.refused), len(books.kept), spool.backlog
        assert (
            outcome
            == {
                ("broken", "ok"): (1, 0, 1, 0),
                ("slow", "ok"): (1, 0, 1, 0),
                ("broken", "away"): (0, 1, 0, 0),
                ("slow", "away"): (1, 0, 0, 1),
            }[trouble, fate]
        )
        await life.crash()

    simulate(main())


def test_books_that_fall_far_behind_are_waited_for():
    async def main():
        books, spool = FakeBooks(), FakeSpool()
        life = Life(books, spool, ahead=True)
        at_once = [life.writer.put(record()) == (None,) for _ in range(5010)]
        assert at_once == [True] * 5001 + [False] * 9
        assert life.carrying.overdue == 5001
        await asyncio.sleep(1000)
        assert (life.writer.backlog, spool.backlog, len(books.kept)) == (0, 0, 5010)
        assert life.writer.put(record()) == (None,)
        await life.crash()

    simulate(main())


def test_a_journal_is_in_the_books_before_its_next_life_begins_and_after_a_life_has_ended():
    async def main():
        books, spool = FakeBooks(), FakeSpool()
        spool.append_now([msgspec.json.encode(record())])
        async with Ledger(books, spool, Prices({}), ahead=True) as ledger:
            assert len(books.kept) == 1
            assert ledger.stats().status == "healthy"
            assert ledger.note_now(record()) == (None,)
            assert (ledger.stats().spooled, ledger.stats().spool_bytes) == (0, 0), "it is on its way"
            assert spool.backlog == 1
        assert (len(books.kept), spool.backlog) == (2, 0)

    simulate(main())
