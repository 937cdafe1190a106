"""What usage costs: writing a record, and a month's question over many of them."""

import asyncio
import random
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter

from msgspec import Struct
from sqlalchemy import Connection, text

from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.record import UsageRecord, columns_of, new_id
from enginehouse.core.ledger.usage import Question, UsageReports, encode
from enginehouse.settings.schema import PriceSettings
from enginehouse.stores.spool import Spool
from enginehouse.stores.sql import Database, database_url, migrate, open_database, rollups, usage
from enginehouse.stores.sql.sheets import Columns
from enginehouse.types import Deployment, EngineName, Kind, Model, Operation, Principal, Request, Timings, Usage

__all__ = ["Figure", "seed", "usage_costs"]

_DAYS, _DAY = 30, 86_400
_BEGIN = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
_USERS, _MODELS, _KEYS, _TAGS, _TENANTS = 1000, 20, 1500, 20, 50
_CHUNK = 5_000
_DEPLOYMENT = Deployment(id="m", model="m", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER)
_MODEL = Model(id="m", kind=Kind.CHAT, deployments=(_DEPLOYMENT,))


class Figure(Struct, frozen=True, kw_only=True):
    """One measured thing, in milliseconds."""

    name: str
    p50: float
    p95: float


async def usage_costs(records: int, url: str, fsync: bool, said: Callable[[str], None]) -> list[Figure]:
    """Seed a month of records and measure.

    Args:
        records: how many.
        url: an empty database; without one, SQLite in a folder of its own.
        fsync: whether SQLite waits for the disk.
        said: told how far it has got.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with open_database(database_url(url, Path(folder)), fsync=fsync) as database:
            await migrate(database)
            await seed(database, records, said)
            said("asking")
            figures = [await _measured(name, ask) for name, ask in _questions(UsageReports(database))]
            said("writing")
            async with _ledger(database, Path(folder), fsync=fsync) as ledger:
                figures.append(
                    await _measured("one record, until it is durable", lambda: _request(ledger), times=300)
                )
                figures.append(await _together(ledger))
            return figures


def _questions(reports: UsageReports) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
    for group in (None, "model", "user", "key", "tenant", "tag", "day", "hour"):
        for user in (None, "user-7"):
            question = Question(start=_BEGIN, end=_BEGIN + _DAYS * _DAY, user=user, group_by=group)
            whose = "one user" if user else "everybody"
            by = f" by {group}" if group else ""
            yield f"a month of {whose}{by}", lambda question=question: _answer(reports, question)


async def _answer(reports: UsageReports, question: Question) -> bytes:
    return encode(await reports.summary(question))


async def seed(database: Database, records: int, said: Callable[[str], None]) -> None:
    """In the order of time, by the ledger's own statements, in larger transactions than its own."""
    chance, began = random.Random(1), perf_counter()
    for done in range(0, records, _CHUNK):
        many = range(done, min(done + _CHUNK, records))
        made = [_record(chance, _BEGIN + _DAYS * _DAY * number // records) for number in many]
        await database.write(partial(_add, columns_of(made)))
        said(f"seeding: {done:,} of {records:,}, {done / (perf_counter() - began):,.0f} a second")
    await database.write(lambda connection: connection.execute(text("ANALYZE")))


def _add(columns: Columns, connection: Connection) -> None:
    usage.insert_records(connection, columns)
    rollups.sum_up(connection, len(columns[0]))


def _record(chance: random.Random, moment: int) -> UsageRecord:
    user = min(int(chance.paretovariate(0.6)), _USERS)  # few ask much, many ask little
    key = (user * 7 + chance.randrange(2)) % _KEYS
    embedding = chance.random() < 0.2
    return UsageRecord(
        id=new_id(moment),
        request_id=f"req-{chance.getrandbits(64):x}",
        time=moment * 1_000_000,
        user_id=f"user-{user}",
        key_id=f"key-{key}",
        tenant=f"tenant-{user % _TENANTS}",
        tags=(f"tag-{chance.randrange(_TAGS)}",),
        model=f"model-{chance.randrange(_MODELS)}",
        operation="embedding" if embedding else "chat",
        outcome="completed" if chance.random() < 0.97 else "failed",
        input_tokens=chance.randrange(2000),
        output_tokens=0 if embedding else chance.randrange(500),
        input_cost=chance.randrange(10**9),
        output_cost=0,
        cost=chance.randrange(10**9),
        upstream_us=1000,
    )


@asynccontextmanager
async def _ledger(database: Database, folder: Path, *, fsync: bool) -> AsyncGenerator[Ledger]:
    prices = Prices({"m": PriceSettings(input_per_1k="0.001", output_per_1k="0.002")})
    with closing(Spool[UsageRecord](folder / "spool", 1 << 30)) as spool:
        async with Ledger(SqlBooks(database), spool, prices, ahead=database.embedded and not fsync) as ledger:
            yield ledger


async def _request(ledger: Ledger) -> None:
    asked = Request(
        operation=Operation.CHAT,
        model="m",
        principal=Principal(user="user-7"),
        request_id="bench",
        body=b"",
        timings=Timings(),
    )
    async with ledger.record(asked, "bench") as entry:
        entry.resolved(_MODEL, _DEPLOYMENT)
        entry.running()
        entry.usage = Usage(input=100, output=20)
        await entry.settled()


async def _together(ledger: Ledger, callers: int = 64, times: int = 100) -> Figure:
    """Each request's share of the time when many write side by side."""

    async def caller() -> None:
        for _ in range(times):
            await _request(ledger)

    began = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    each = (perf_counter() - began) * 1000 / (callers * times)
    return Figure(name=f"one of {callers} side by side, its share", p50=each, p95=each)


async def _measured(name: str, work: Callable[[], Awaitable[object]], times: int = 40) -> Figure:
    took: list[float] = []
    for _ in range(times):
        began = perf_counter()
        await work()
        took.append((perf_counter() - began) * 1000)
    took.sort()
    return Figure(name=name, p50=took[len(took) // 2], p95=took[int(len(took) * 0.95)])
