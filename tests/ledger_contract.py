"""What the ledger promises on every database: unit tests run these on SQLite, integration tests on PostgreSQL.

Each test takes the fixture `database`: an open database, migrated and empty.
"""

import asyncio
import random
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import func, select, text

from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.budgets import Budgets
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.record import PriceRow, UsageRecord, cleaned, dollars, new_id
from enginehouse.core.ledger.repricing import records as all_records
from enginehouse.core.ledger.repricing import reprice
from enginehouse.core.ledger.savings import Savings
from enginehouse.core.ledger.usage import Question, UsageReports
from enginehouse.errors import BudgetSpent, SettingsError, StoreError
from enginehouse.settings.schema import BudgetSettings, DatedPriceSettings, PriceSettings
from enginehouse.stores.spool import Spool
from enginehouse.stores.sql import migrate, rollups, schema_state
from enginehouse.stores.sql.metadata import METADATA
from enginehouse.stores.sql.rollups import ROLLUPS
from enginehouse.stores.sql.sums import last_used
from enginehouse.stores.sql.usage import RECORDS, UNSUMMED
from enginehouse.types import Allowance, Principal

DAY = 86_400
BEGIN = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
PRICE = PriceRow(id="p", model="m", source="test", input_per_1k="0.001")


def record(day=0, hour=0, **changes):
    moment = BEGIN + day * DAY + hour * 3600
    made = {
        "id": new_id(moment),
        "request_id": "r",
        "time": moment * 1_000_000,
        "user_id": "ann",
        "model": "m",
        "operation": "chat",
        "outcome": "completed",
        "input_tokens": 10,
        "output_tokens": 5,
        "upstream_us": 1_000_000,
        "input_cost": 3,
        "output_cost": 4,
        "cost": 7,
        "price": PRICE,
    }
    return UsageRecord(**made | changes)


def january(**changes):
    return Question(**{"start": BEGIN, "end": BEGIN + 31 * DAY} | changes)


async def count(database):
    return await database.read(lambda c: c.execute(select(func.count()).select_from(RECORDS)).scalar_one())


async def cells(database):
    """All sums, once everything is summed up; those of nothing do not count."""
    while await SqlBooks(database).sum_up():
        pass
    return await database.read(lambda c: sorted(tuple(row) for row in c.execute(select(ROLLUPS))))


# Schema --------------------------------------------------------------------------------------------------


async def test_models_and_migrations_agree(database):
    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection), METADATA)

    assert await database.read(differences) == []
    assert (await schema_state(database)).state == "current"


async def test_records_of_the_first_schema_are_summed_up_by_the_second(database):
    """The migrations and the ledger say the same, each in its own SQL."""
    await SqlBooks(database).write(
        [
            record(),
            record(hour=5, user_id="bob", key_id="k1", tenant="t1", tags=("a", "b")),
            record(hour=5, outcome="failed", model="", upstream_us=None, cost=0, price=None),
            record(day=3, outcome="cancelled", tags=("a",), cost=None, price=None),
            record(day=3, cache="exact", operation="embedding"),
        ]
    )
    before = await cells(database)

    def back(connection):
        for table in reversed(METADATA.sorted_tables):
            if table.name not in {"usage_records", "usage_prices"}:
                connection.execute(text(f"DROP TABLE {table.name}"))
        connection.execute(text("ALTER TABLE usage_records DROP COLUMN digest"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))

    await database.write(back)
    assert (await schema_state(database)).state == "older"
    assert (await migrate(database)).state == "current"
    assert await cells(database) == before
    assert await count(database) == 5


async def test_a_newer_schema_is_refused(database):
    await database.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(SettingsError, match="newer Enginehouse"):
        await migrate(database)


async def test_a_half_migrated_schema_is_refused(database):
    await database.write(lambda c: c.execute(text("ALTER TABLE usage_records DROP COLUMN tier")))
    state = await schema_state(database)
    assert (state.state, state.missing) == ("damaged", ("usage_records.tier",))
    with pytest.raises(SettingsError, match="half-migrated"):
        await migrate(database)


async def test_tables_without_a_revision_are_refused(database):
    await database.write(lambda c: c.execute(text("DELETE FROM alembic_version")))
    with pytest.raises(SettingsError, match="half-migrated"):
        await migrate(database)


async def test_a_migration_happens_or_does_not(database):
    """The second revision cannot be made when its table is there already; then the first is not made either."""

    def wreck(connection):
        for table in METADATA.tables:
            if table != "usage_rollups":
                connection.execute(
                    text(f"DROP TABLE {table} CASCADE" if not database.embedded else f"DROP TABLE {table}")
                )
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("ALTER TABLE usage_rollups RENAME TO saved"))
        connection.execute(text("CREATE VIEW usage_rollups AS SELECT 1 AS one"))

    if database.embedded:
        await database.write(lambda c: c.execute(text("PRAGMA foreign_keys=OFF")))
    await database.write(wreck_in_order(wreck))
    with pytest.raises(Exception, match="usage_rollups"):
        await migrate(database)
    tables = "SELECT name FROM sqlite_master" if database.embedded else "SELECT tablename FROM pg_tables"
    names = await database.read(lambda c: set(c.execute(text(tables)).scalars()))
    assert "usage_records" not in names
    assert "alembic_version" not in names


def wreck_in_order(wreck):
    """Reservations point at accounts, so they go first."""

    def work(connection):
        connection.execute(text("DROP TABLE budget_reservations"))
        connection.execute(text("CREATE TABLE budget_reservations (x integer)"))
        wreck(connection)

    return work


# Records -------------------------------------------------------------------------------------------------


async def test_a_record_counts_once_however_often_it_is_written(database):
    books, one, other = SqlBooks(database), record(), record(day=1)
    await books.write([one, one])
    await books.write([one, other])
    await SqlBooks(database).write([other, one])
    assert await count(database) == 2
    answer = await UsageReports(database).summary(january())
    assert (answer["total_requests"], answer["total_tokens"], answer["total_cost"]) == (2, 30, dollars(14))


async def test_side_by_side_writers_lose_nothing(database):
    sets = [[record(day=d % 9, user_id=f"u{d % 4}") for d in range(25)] for _ in range(8)]
    await asyncio.gather(*(SqlBooks(database).write(rows) for rows in sets), *(SqlBooks(database).write(sets[0]),))
    answer = await UsageReports(database).summary(january())
    assert answer["total_requests"] == await count(database) == 200


async def test_texts_that_a_database_would_refuse_are_mended(database):
    nasty = cleaned(record(user_id="a\0b\ud800", model="m\0", tags=("\0x", "\0x", ""), request_id="é" * 2000))
    await SqlBooks(database).write([nasty])
    answer = await UsageReports(database).summary(january(group_by="tag"))
    assert [group["tag"] for group in answer["groups"]] == ["\ufffdx"]
    assert msgspec.json.decode(msgspec.json.encode(nasty), type=UsageRecord) == nasty


async def test_what_cannot_be_held_is_the_datas_fault_and_names_no_values(database):
    with pytest.raises(StoreError) as caught:
        await SqlBooks(database).write([record(input_tokens=2**70, user_id="hush")])
    assert type(caught.value) is StoreError
    assert "hush" not in caught.value.message
    assert await count(database) == 0


async def test_export_is_in_the_order_of_time_and_of_a_range(database):
    await SqlBooks(database).write([record(day=d, user_id=f"u{d % 2}") for d in (5, 1, 3, 2, 4)])
    start, end = (datetime(2024, 1, day, tzinfo=UTC) for day in (2, 5))
    found = [row["time"] async for rows in all_records(database, start, end) for row in rows]
    assert found == [(BEGIN + d * DAY) * 1_000_000 for d in (1, 2, 3)]
    found = [row["user_id"] async for rows in all_records(database, start, end, "u0") for row in rows]
    assert found == ["u0"]


# Questions -----------------------------------------------------------------------------------------------


async def test_usage_is_told_as_documented(database):
    await SqlBooks(database).write(
        [
            record(day=0, model="big", cost=2 * 10**12),
            record(day=0, model="small", cost=5 * 10**11, cached_input_tokens=1, reasoning_tokens=2),
            record(day=14, model="big", cost=10**12, outcome="failed", user_id="bob"),
            record(day=31, model="big"),
        ]
    )
    answer = await UsageReports(database).summary(january())
    assert answer["total_requests"] == 3
    assert answer["total_tokens"] == 3 * 15 + 3
    assert answer["total_cost"] == Decimal("3.5")
    assert answer["requests_by_model"] == {"big": 2, "small": 1}
    assert answer["cost_by_model"] == {"big": 3, "small": Decimal("0.5")}
    assert answer["daily_usage"] == [
        {"date": "2024-01-01", "requests": 2, "cost": Decimal("2.5"), "tokens": 33},
        {"date": "2024-01-15", "requests": 1, "cost": 1, "tokens": 15},
    ]
    assert (answer["failed_requests"], answer["cancelled_requests"]) == (1, 0)
    of_bob = await UsageReports(database).summary(january(user="bob"))
    assert (of_bob["total_requests"], of_bob["requests_by_model"]) == (1, {"big": 1})


async def test_an_unknown_price_is_not_nothing(database):
    await SqlBooks(database).write([record(model="x", cost=None, price=None), record(model="y")])
    answer = await UsageReports(database).summary(january())
    assert answer["cost_by_model"] == {"x": None, "y": dollars(7)}
    assert (answer["total_cost"], answer["unpriced_requests"]) == (dollars(7), 1)
    assert (await UsageReports(database).summary(january(end=BEGIN + 1800 * 2)))["total_cost"] == dollars(7)


async def test_embeddings_are_told_apart(database):
    await SqlBooks(database).write([record(), record(operation="embedding", output_tokens=0)])
    answer = await UsageReports(database).summary(january(operation="embedding"))
    assert (answer["total_requests"], answer["total_tokens"]) == (1, 10)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("user", {"ann": 2, "bob": 1}),
        ("model", {"m": 2, "n": 1}),
        ("key", {"k1": 1}),
        ("tenant", {"t1": 1}),
        ("tag", {"a": 2, "b": 1}),
        ("day", {"2024-01-01": 1, "2024-01-02": 2}),
        ("hour", {"2024-01-01T00:00:00Z": 1, "2024-01-02T05:00:00Z": 2}),
    ],
)
async def test_usage_is_grouped(database, by, groups):
    await SqlBooks(database).write(
        [
            record(),
            record(day=1, hour=5, tags=("a",)),
            record(day=1, hour=5, tags=("a", "b"), user_id="bob", model="n", key_id="k1", tenant="t1"),
        ]
    )
    answer = await UsageReports(database).summary(january(group_by=by))
    assert {group[by]: group["requests"] for group in answer["groups"]} == groups
    of_ann = await UsageReports(database).summary(january(group_by=by, user="ann"))
    assert sum(group["requests"] for group in of_ann["groups"]) == {"key": 0, "tenant": 0, "tag": 1}.get(by, 2)


async def test_a_range_of_hours_is_exact(database):
    await SqlBooks(database).write([record(hour=h) for h in range(24)])
    answer = await UsageReports(database).summary(
        january(start=BEGIN + 3 * 3600, end=BEGIN + 7 * 3600, group_by="day")
    )
    assert answer["total_requests"] == 4
    assert [(day["date"], day["requests"]) for day in answer["daily_usage"]] == [("2024-01-01", 4)]
    assert answer["groups"][0]["requests"] == 4


# Prices of the past --------------------------------------------------------------------------------------


PLACES = {"model": "model", "user": "user_id", "key": "key_id", "tenant": "tenant"}


def counted(records, question, by):
    """What a question has to answer, reckoned from the records one by one."""
    found = {}
    for one in records:
        if not question.start <= one.time // 1_000_000 < question.end:
            continue
        if question.user not in {None, one.user_id} or question.operation not in {None, one.operation}:
            continue
        moment = datetime.fromtimestamp(one.time // 1_000_000, UTC)
        names = {
            "day": lambda moment=moment: [moment.date().isoformat()],
            "hour": lambda moment=moment: [moment.strftime("%Y-%m-%dT%H:00:00Z")],
            "tag": lambda one=one: one.tags,
        }.get(by, lambda one=one: [value] if (value := getattr(one, PLACES[by])) else [])()
        for name in names:
            row = found.setdefault(name, [0, 0, 0, 0])
            numbers = (1, one.input_tokens, one.outcome == "failed", one.cost or 0)
            found[name] = [a + b for a, b in zip(row, numbers, strict=True)]
    return found


async def answered(database, question, by):
    rows = await UsageReports(database).groups(msgspec.structs.replace(question, group_by=by))
    names = ("requests", "input_tokens", "failed_requests", "cost")
    return {
        row[by]: [int((row[name] or 0) * 10**12) if name == "cost" else row[name] for name in names] for row in rows
    }


async def test_answers_are_exact_at_every_instant(database):
    """Whatever is summed up already, and whatever was charged anew meanwhile."""
    chance, books, kept = random.Random(3), SqlBooks(database), []
    for step in range(12):
        new = [some_record(chance) for _ in range(chance.randrange(12))]
        if step % 3 == 1:
            new = alike(some_record(chance), 100)
        kept += new
        await books.write([*new, *new[:2], *chance.sample(kept, min(3, len(kept)))])  # some come twice
        for _ in range(chance.randrange(3)):
            await database.write(partial(rollups.sum_up, most=chance.randrange(1, 20)))
        if step % 4 == 3:
            prices = Prices({"m": PriceSettings(input_per_1k=f"0.00{step}")})
            async for _ in reprice(database, prices, datetime(2024, 1, 20, tzinfo=UTC)):
                pass
            kept = [await charged(database, one) for one in kept]
        hours = january(start=BEGIN + 7 * 3600, end=BEGIN + 30 * DAY + 3600)
        for question in (january(), hours, january(user="ann"), january(operation="embedding")):
            for by in (*PLACES, "tag", "day", "hour"):
                assert await answered(database, question, by) == counted(kept, question, by), (step, by)


def some_record(chance):
    return record(
        day=chance.randrange(35),
        hour=chance.randrange(24),
        user_id=chance.choice(["ann", "bob"]),
        key_id=chance.choice(["", "k1", "k2"]),
        tenant=chance.choice(["", "t"]),
        tags=chance.choice([(), ("a",), ("a", "b")]),
        model=chance.choice(["m", "n", ""]),
        operation=chance.choice(["chat", "embedding"]),
        outcome=chance.choice(["completed", "failed"]),
        cost=chance.choice([None, 7]),
        price=None,
    )


def alike(one, times):
    """So many of one caller and model, over some days."""
    made = (record(day=number % 35, hour=number % 24) for number in range(times))
    return [msgspec.structs.replace(one, id=other.id, time=other.time) for other in made]


async def charged(database, one):
    """The same as the database has it."""
    where = RECORDS.c.id == one.id
    cost = await database.read(lambda c: c.execute(select(RECORDS.c.cost).where(where)).scalar_one())
    return msgspec.structs.replace(one, cost=cost)


async def test_a_key_is_last_used_when_its_last_request_came(database):
    books = SqlBooks(database)
    assert await database.read(last_used) == {}
    await books.write(
        [record(day=2, key_id="k1"), record(day=1, key_id="k1"), record(day=1, key_id="k2"), record()]
    )
    expected = {"k1": BEGIN + 2 * DAY, "k2": BEGIN + DAY}
    assert await database.read(last_used) == expected
    await books.sum_up()
    assert await database.read(last_used) == expected
    await books.write([record(day=1, hour=1, key_id="k1"), record(day=3, key_id="k2")])
    await books.sum_up()
    assert await database.read(last_used) == {"k1": BEGIN + 2 * DAY, "k2": BEGIN + 3 * DAY}


async def test_so_many_records_are_summed_up_at_a_time_the_oldest_first(database):
    made = [record(day=day) for day in range(5)]
    await SqlBooks(database).write(made[::-1])
    for summed, left in ((2, 3), (2, 1), (1, 0), (0, 0)):
        assert await database.write(partial(rollups.sum_up, most=2)) == summed
        waiting = await database.read(lambda c: c.execute(select(UNSUMMED.c.record_id)).scalars().all())
        assert sorted(waiting) == sorted(one.id for one in made[5 - left :])


async def test_many_that_are_alike_are_counted_with_their_records_and_others_wait(database):
    """Each once, whatever was written before, and whether it waits or is counted."""
    books, one = SqlBooks(database), record(key_id="k1")
    many, few = alike(one, 90), alike(one, 5)

    async def waiting():
        return set(await database.read(lambda c: c.execute(select(UNSUMMED.c.record_id)).scalars()))

    ids = {one.id for one in few}
    await books.write(few)
    assert await waiting() == ids
    await books.write([*many, *few, *many[:3]])
    assert await waiting() == (ids if database.embedded else ids | {one.id for one in many})
    assert await database.read(last_used) == {"k1": BEGIN + 34 * DAY + 21 * 3600}
    summed = await cells(database)
    await books.write([*few, *many])
    assert await waiting() == set()
    assert await cells(database) == summed
    day_totals = [row for row in summed if row[:3] == ("day", "", "total")]
    assert sum(row[6] for row in day_totals) == 95
    different = [record(user_id=f"u{number}") for number in range(90)]
    await books.write(different)
    assert await waiting() == {one.id for one in different}


async def test_repricing_changes_what_is_after_the_day_and_keeps_the_sums(database):
    books = SqlBooks(database)
    rows = [record(day=d % 20, user_id=f"u{d % 3}", cost=None, price=None, tags=("t",)) for d in range(1203)]
    await books.write(rows)
    dear = DatedPriceSettings(model="m", since=date(2024, 1, 11), input_per_1k="1", output_per_1k="2")
    prices = Prices({"m": PriceSettings(input_per_1k="0.5")}, [dear])
    done = [step async for step in reprice(database, prices, datetime(2024, 1, 6, tzinfo=UTC))][-1]
    affected = [row for row in rows if (row.time // 1_000_000 - BEGIN) // DAY >= 5]
    expected = sum(5 * 10**9 if (r.time // 1_000_000 - BEGIN) // DAY < 10 else 20 * 10**9 for r in affected)
    assert (done.seen, done.changed, done.difference) == (len(affected), len(affected), expected)
    answer = await UsageReports(database).summary(january())
    assert answer["total_cost"] == dollars(expected)
    assert answer["unpriced_requests"] == len(rows) - len(affected)
    again = [step async for step in reprice(database, prices, datetime(2024, 1, 6, tzinfo=UTC))][-1]
    assert (again.changed, again.difference) == (0, 0)
    summed = await cells(database)
    stored = [
        row
        async for batch in all_records(database, datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
        for row in batch
    ]
    assert sum(row["cost"] or 0 for row in stored) == expected
    day_totals = [row for row in summed if row[:3] == ("day", "", "total")]
    assert sum(row[-2] for row in day_totals) == expected


# Budgets -------------------------------------------------------------------------------------------------

CENT = 10**10


class Held:
    def __init__(self):
        self.id, self.reserved = new_id(), False


def budgets(database, *settings, clock=lambda: BEGIN + DAY * 14):
    return Budgets(database, [BudgetSettings(**setting) for setting in settings], clock=clock)


ANN = Principal(user="ann", key="k", tenant="t")


async def test_no_more_is_held_than_there_is(database):
    kept = budgets(database, {"scope": "user", "id": "ann", "dollars": "1"})

    async def one():
        try:
            await kept.reserve(Held(), kept.accounts(ANN), 3 * CENT)
        except BudgetSpent:
            return False
        return True

    assert sum(await asyncio.gather(*(one() for _ in range(60)))) == 33


async def test_what_was_held_returns_to_what_was_spent(database):
    kept, books = budgets(database, {"scope": "user", "dollars": "1"}), SqlBooks(database)
    for spent in (50, 30):
        entry = Held()
        await kept.reserve(entry, kept.accounts(ANN), 20 * CENT if spent == 30 else 100 * CENT)
        assert entry.reserved
        with pytest.raises(BudgetSpent):
            await kept.reserve(Held(), kept.accounts(ANN), 81 * CENT)
        await books.write([record(day=14, id=entry.id, reserved=True, cost=spent * CENT)])
    last = Held()
    with pytest.raises(BudgetSpent, match=r"\$1 this month, of which \$0.8 is spent") as caught:
        await kept.reserve(last, kept.accounts(ANN), 21 * CENT)
    assert caught.value.retry_after == 17 * DAY
    await kept.reserve(last, kept.accounts(ANN), 20 * CENT)


async def noted(ledger, one):
    """It is durable when this returns."""
    (waiting,) = ledger.note_now(one)
    if waiting is not None:
        await waiting


async def test_who_asks_after_an_answer_sees_it_counted_and_what_it_held_free(database, tmp_path):
    spool = Spool(tmp_path / "spool", 1 << 20)
    async with Ledger(SqlBooks(database), spool, Prices({}), ahead=database.embedded) as ledger:
        heard = {"caught_up": ledger.caught_up}
        kept = Budgets(
            database, [BudgetSettings(scope="user", dollars="1")], **heard, clock=lambda: BEGIN + DAY * 14
        )
        reports = UsageReports(database, **heard)
        savings = Savings(database, tuple, lambda: Prices({}), lambda: 86_400.0, **heard)
        for number in range(1, 9):
            entry = Held()
            entry.id = new_id(BEGIN + DAY * 14)
            await kept.reserve(entry, kept.accounts(ANN), 90 * CENT)
            await noted(ledger, record(day=14, id=entry.id, reserved=True, key_id=f"k{number}", cost=CENT))
            match number % 4:
                case 1:
                    assert (await reports.summary(january()))["total_requests"] == number
                case 2:
                    assert f"k{number}" in await reports.last_used()
                case 3:
                    report = await savings.report(january(), datetime(2024, 2, 1, tzinfo=UTC))
                    assert report.recorded.requests == number
                case _:
                    """The next one that reserves is who asks."""
        with pytest.raises(BudgetSpent, match=r"of which \$0.08 is spent"):
            await kept.reserve(Held(), kept.accounts(ANN), 93 * CENT)
        await kept.reserve(Held(), kept.accounts(ANN), 92 * CENT)
    spool.close()


async def test_more_for_the_same_request_takes_the_place_of_what_it_held(database):
    kept, books = budgets(database, {"scope": "user", "dollars": "1"}), SqlBooks(database)
    entry, other = Held(), Held()
    await kept.reserve(entry, kept.accounts(ANN), 40 * CENT)
    await kept.reserve(other, kept.accounts(ANN), 30 * CENT)
    with pytest.raises(BudgetSpent, match=r"of which \$0.3 is spent or held"):
        await kept.reserve(entry, kept.accounts(ANN), 71 * CENT)
    with pytest.raises(BudgetSpent):  # what it held before is held still
        await kept.reserve(Held(), kept.accounts(ANN), 31 * CENT)
    await kept.reserve(entry, kept.accounts(ANN), 70 * CENT)
    with pytest.raises(BudgetSpent):
        await kept.reserve(Held(), kept.accounts(ANN), 1)
    await books.write([record(day=14, id=entry.id, reserved=True, cost=1 * CENT)])
    await kept.reserve(Held(), kept.accounts(ANN), 69 * CENT)


async def test_all_budgets_of_a_caller_count_and_a_refusal_holds_nothing(database):
    kept = budgets(
        database,
        {"scope": "tenant", "id": "t", "dollars": "10", "period": "total"},
        {"scope": "key", "dollars": "1", "period": "day"},
        {"scope": "user", "dollars": "5"},
        {"scope": "user", "id": "ann", "dollars": "0.5"},
        {"scope": "user", "id": "bob", "dollars": "0"},
    )
    accounts = kept.accounts(ANN)
    assert [(a.scope, a.period, a.limit // CENT) for a in accounts] == [
        ("key", "day", 100),
        ("tenant", "total", 1000),
        ("user", "month", 50),
    ]
    with pytest.raises(BudgetSpent, match="user 'ann'"):
        await kept.reserve(Held(), accounts, 60 * CENT)
    await kept.reserve(Held(), accounts, 50 * CENT)
    with pytest.raises(BudgetSpent, match="user 'ann'"):
        await kept.reserve(Held(), accounts, 0)


async def test_a_keys_own_budget_comes_first(database):
    kept = budgets(
        database, {"scope": "key", "dollars": "100"}, {"scope": "key", "dollars": "7", "period": "total"}
    )
    own = msgspec.structs.replace(ANN, budget=Allowance(dollars="0.25"))
    accounts = kept.accounts(own)
    assert [(a.scope, a.subject, a.period, a.limit // CENT) for a in accounts] == [
        ("key", ANN.key, "month", 25),
        ("key", ANN.key, "total", 700),
    ]
    await kept.reserve(Held(), accounts, 25 * CENT)
    with pytest.raises(BudgetSpent, match=r"\$0\.25"):
        await kept.reserve(Held(), accounts, 1)
    assert kept.accounts(msgspec.structs.replace(own, key="")) == ()


async def test_a_period_begins_anew(database):
    now = [BEGIN + DAY * 14]
    kept = budgets(
        database,
        {"scope": "user", "dollars": "1", "period": "day"},
        {"scope": "key", "dollars": "1", "period": "month"},
        clock=lambda: now[0],
    )
    await SqlBooks(database).write([record(day=14, key_id="k", cost=70 * CENT)])
    by_day = kept.accounts(Principal(user="ann"))
    with pytest.raises(BudgetSpent, match="this day"):
        await kept.reserve(Held(), by_day, 50 * CENT)
    now[0] += DAY
    await kept.reserve(Held(), by_day, 50 * CENT)
    with pytest.raises(BudgetSpent, match="key 'k'"):
        await kept.reserve(Held(), kept.accounts(Principal(user="x", key="k")), 50 * CENT)


async def test_what_a_crash_left_behind_is_held_for_an_hour(database):
    now = [BEGIN + DAY * 14]
    kept = budgets(database, {"scope": "user", "dollars": "1"}, clock=lambda: now[0])
    await kept.reserve(Held(), kept.accounts(ANN), 100 * CENT)
    now[0] += 3599
    with pytest.raises(BudgetSpent):
        await kept.reserve(Held(), kept.accounts(ANN), CENT)
    now[0] += 1
    await kept.reserve(Held(), kept.accounts(ANN), CENT)


async def test_ping_takes_a_time(database):
    assert 0 < await database.ping() < 60


# Savings -------------------------------------------------------------------------------------------------


async def test_savings_are_reckoned_from_records(database):
    asked = {"digest": "d", "total_us": 1, "cost": 10**12}
    await SqlBooks(database).write([record(hour=h, **asked) for h in range(3)] + [record(day=2, cost=None)])
    savings = Savings(database, tuple, lambda: Prices({}), lambda: 86_400.0, most_scanned=2)
    report = await savings.report(january(), datetime(2024, 3, 1, tzinfo=UTC))
    assert (report.recorded.requests, report.recorded.cost, report.recorded.unpriced_requests) == (4, 3, 1)
    assert (report.caching.examined_requests, report.caching.after) == (2, "2024-01-01T01:00:00Z")
    assert report.cheaper_models.not_compared == ["m"]
    whole = Savings(database, tuple, lambda: Prices({}), lambda: 86_400.0)
    assert (await whole.report(january(user="ann"), datetime.now(UTC))).caching.saved == {"user": 2}
    assert (await whole.report(january(user="bob"), datetime.now(UTC))).caching.saved == {"user": 0}
