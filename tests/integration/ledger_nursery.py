"""Raises processes that write usage until somebody kills them: each line of standard input begets one.

A line is `folder database_url books`, where the books are here, away or hanging; the child says `born PID`, then
the id of every record that is durable.
"""

import asyncio
import os
import sys
from pathlib import Path

from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.errors import StoreUnavailable
from enginehouse.stores.spool import Spool
from enginehouse.stores.sql import database_url, open_database
from enginehouse.telemetry.logs import configure_logs
from enginehouse.types import Usage
from tests.ledger_requests import MODEL, request


class Away:
    """Books that are out of reach."""

    async def write(self, _):
        raise StoreUnavailable("away")

    async def sum_up(self):
        return 0


class Hanging(Away):
    """Books that never answer: a journal is all that its process leaves."""

    async def write(self, _):
        await asyncio.Event().wait()


def say(text):
    os.write(1, f"{text}\n".encode())


async def live(folder, url, fate):
    async with open_database(database_url(url, folder)) as database:
        books = {"here": SqlBooks(database), "away": Away(), "hanging": Hanging()}[fate]
        spool = Spool(folder / "spool", 1 << 30)
        async with Ledger(books, spool, Prices({}), ahead=database.embedded) as ledger:
            say(f"born {os.getpid()}")
            async with asyncio.TaskGroup() as callers:
                for number in range(5):
                    callers.create_task(caller(ledger, number))


async def caller(ledger, number):
    while True:
        async with ledger.record(request(user=f"u{number}"), "test") as entry:
            entry.resolved(MODEL, MODEL.deployments[0])
            entry.running()
            entry.usage = Usage(input=3, output=number)
            await entry.settled()
        say(entry.id)


if __name__ == "__main__":
    configure_logs("error", "json")
    for line in sys.stdin:
        place, address, fate = line.split()
        if (child := os.fork()) == 0:
            asyncio.run(live(Path(place), "" if address == "-" else address, fate))
            os._exit(0)
        os.waitpid(child, 0)
        say("dead")
