"""A desk and links to it, over a socket in a folder of the test."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

from enginehouse.app.workers.desk import Desk
from enginehouse.app.workers.link import Link
from enginehouse.app.workers.services import Services
from enginehouse.core.cache.flights import Flights
from enginehouse.core.cache.stats import CacheStats
from enginehouse.core.traces import Traces


async def until(condition, seconds=5):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0.001)


def ground(tallies=None, answers=None):
    """As much of the owner's ground as its workers ask for here."""
    return SimpleNamespace(
        access=SimpleNamespace(limits=SimpleNamespace(tallies=lambda here: tallies)),
        cache=SimpleNamespace(answers=answers, flights=Flights(), meaning=None, stats=CacheStats()),
        catalogue=SimpleNamespace(everything=()),
        traces=Traces(),
    )


@asynccontextmanager
async def linked(folder, serves, number=1):
    """A desk that is served by this, and so many links to it."""
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(Desk(folder / "desk", serves))
        links = [await stack.enter_async_context(Link(folder / "desk", {"welcome": heard})) for _ in range(number)]
        await until(lambda: len(desk) == number)
        yield desk, links


@asynccontextmanager
async def owner_of(folder, number=1, **has):
    """An owner that has these, and so many workers' links to it."""
    on = ground(**has)
    async with linked(folder, Services(on, SimpleNamespace()), number) as (_, links):
        yield on, links


async def heard(_):
    """It is of no interest here."""
