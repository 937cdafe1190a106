"""The ledger's promises on PostgreSQL, and what it does while PostgreSQL is away.

OUTAGE in the environment says for how many seconds; `make outage` keeps it away for 60.
"""

import asyncio
import json
import os

import pytest

from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.errors import SettingsError, StoreUnavailable
from enginehouse.stores.spool import Spool
from enginehouse.stores.sql import database_url, migrate, open_database, prepare
from enginehouse.stores.sql.sums import sums
from enginehouse.types import Usage
from tests.integration.command import run
from tests.integration.postgres import Postgres
from tests.ledger_contract import *  # noqa: F403 - the tests themselves
from tests.ledger_contract import count
from tests.ledger_requests import MODEL, request, until

END = 1 << 40
OUTAGE = float(os.environ.get("OUTAGE", "3"))


@pytest.fixture(scope="session")
def postgres():
    with Postgres() as server:
        yield server


@pytest.fixture
async def database(postgres, tmp_path):
    async with open_database(database_url(postgres.new_database(), tmp_path)) as opened:
        await migrate(opened)
        yield opened


async def test_an_older_or_empty_schema_waits_for_somebody_to_say_so(postgres, tmp_path):
    async with open_database(database_url(postgres.new_database(), tmp_path)) as opened:
        with pytest.raises(SettingsError, match=r"no schema yet.*enginehouse db upgrade") as caught:
            await prepare(opened)
        assert "secret-word" not in caught.value.message
        await asyncio.gather(migrate(opened), migrate(opened), migrate(opened))
        await prepare(opened)


def test_the_command_line_says_and_does_it(postgres, tmp_path):
    variables = {"DATABASE_URL": postgres.new_database(), "ENGINEHOUSE_DATA_DIR": str(tmp_path)}
    said = [
        run("db", *arguments, cwd=tmp_path, **variables)
        for arguments in (["status", "--json"], ["upgrade"], ["status"], ["status", "--json"])
    ]
    assert [one.returncode for one in said] == [1, 0, 0, 0]
    assert [json.loads(said[n].stdout)["state"] for n in (0, 3)] == ["empty", "current"]
    assert "is up to date" in said[2].stdout
    assert not any("secret-word" in one.stdout + one.stderr for one in said)


async def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path):
    url = "postgresql://ann:secret-word@127.0.0.1:9/usage"
    async with open_database(database_url(url, tmp_path)) as opened:
        with pytest.raises(StoreUnavailable, match=r"PostgreSQL at 127.0.0.1:9, database 'usage'") as caught:
            await opened.ping()
    assert "secret-word" not in caught.value.message


@pytest.mark.timeout(120 + OUTAGE * 5)
async def test_a_server_that_stops_under_load_costs_no_request_and_no_record(postgres, tmp_path):
    """Four callers ask without a pause while the server is stopped, and started again."""
    stopping, answered = asyncio.Event(), []

    async def caller(ledger, name):
        number = 0
        while not stopping.is_set():
            number += 1
            async with ledger.record(request(user=name), "test") as entry:
                entry.resolved(MODEL, MODEL.deployments[0])
                entry.running()
                entry.usage = Usage(input=number, output=1)
                await entry.settled()
            answered.append(number)
            await asyncio.sleep(0.002)

    url = database_url(postgres.new_database(), tmp_path)
    async with open_database(url) as opened:
        await migrate(opened)
        spool = Spool(tmp_path / "spool", 1 << 30)
        async with Ledger(SqlBooks(opened), spool, Prices({})) as ledger:
            async with asyncio.TaskGroup() as callers:
                for name in ("a", "b", "c", "d"):
                    callers.create_task(caller(ledger, name))
                await asyncio.sleep(1)
                await asyncio.to_thread(postgres.stop, "immediate")
                before = len(answered)
                await asyncio.sleep(OUTAGE)
                assert ledger.stats().status == "degraded"
                assert len(answered) > before + 30 * OUTAGE
                await asyncio.to_thread(postgres.start)
                await asyncio.sleep(2)
                stopping.set()
            await until(lambda: not ledger.stats().spooled)
            assert ledger.stats().status == "healthy"
        spool.close()
        assert await count(opened) == len(answered)
        found = await opened.read(
            lambda c: c.exec_driver_sql("SELECT sum(input_tokens) FROM usage_records").scalar()
        )
        assert found == sum(answered)
        rows = await opened.read(lambda c: sums(c, start=0, end=END, user="", dimension="total", by="value"))
        assert sum(row["requests"] for row in rows) == len(answered)
        print(f"{len(answered)} requests answered, {len(answered) - before} of them after the server was stopped")
