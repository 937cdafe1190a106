"""`kill -9` at any moment: every record that was durable for its caller is there afterwards, and counts once.

KILLS in the environment says how often; `make kills` does it 200 times.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from itertools import cycle, islice

import pytest
from sqlalchemy import select

from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.stores.spool import Spool
from enginehouse.stores.sql import database_url, migrate, open_database
from enginehouse.stores.sql.sums import sums
from enginehouse.stores.sql.usage import RECORDS
from tests.integration.postgres import Postgres
from tests.ledger_requests import until

END = 1 << 40
KILLS = int(os.environ.get("KILLS", "20"))


@pytest.fixture
def nursery():
    command = [sys.executable, "-m", "tests.integration.ledger_nursery"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        yield running
        running.stdin.close()
        running.wait(10)


def one_life(nursery, folder, url, fate, records):
    """The ids of what was durable when the process was killed."""
    nursery.stdin.write(f"{folder} {url or '-'} {fate}\n".encode())
    nursery.stdin.flush()
    word, pid = nursery.stdout.readline().split()
    assert word == b"born"
    ids = [nursery.stdout.readline() for _ in range(records)]
    os.kill(int(pid), signal.SIGKILL)
    while (line := nursery.stdout.readline()) != b"dead\n":
        ids.append(line)
    return {line.decode().strip() for line in ids if line.endswith(b"\n")}


async def stored(folder, url):
    """Ids and the sum of the rollups, after what waited in the spool was carried over."""
    async with open_database(database_url(url, folder)) as database:
        with closing(Spool(folder / "spool", 1 << 30)) as spool:
            async with Ledger(SqlBooks(database), spool, Prices({}), ahead=database.embedded) as ledger:
                await until(lambda: not ledger.stats().spooled)
        ids = await database.read(lambda c: set(c.execute(select(RECORDS.c.id)).scalars()))
        rows = await database.read(lambda c: sums(c, start=0, end=END, user="", dimension="total", by="value"))
        return ids, sum(row["requests"] for row in rows)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.timeout(60 + KILLS * 2)
def test_what_was_durable_survives_kill_9(tmp_path, nursery, kind):
    chance = random.Random(7)
    if kind == "sqlite":
        kill_often(nursery, tmp_path, "", chance, ["here", "hanging", "here", "away"])
        return
    with Postgres() as server:
        kill_often(nursery, tmp_path, server.new_database(), chance, ["here", "here", "here", "away"])


def kill_often(nursery, folder, url, chance, fates):
    async def prepared():
        async with open_database(database_url(url, folder)) as database:
            await migrate(database)

    asyncio.run(prepared())
    durable = set()
    for fate in islice(cycle(fates), KILLS):
        durable |= one_life(nursery, folder, url, fate, records=chance.randrange(1, 40))
    ids, total = asyncio.run(stored(folder, url))
    assert len(durable) >= KILLS
    assert durable <= ids
    assert total == len(ids)
