"""Raises processes that fill a collection until somebody kills them: each line of standard input begets one.

A line is `folder first`; the child says `born PID INDEX_PID`, every point it finds as `has ID NUMBER`, then for
each operation `try NUMBER` and, once it is acknowledged, `done NUMBER`. What it does follows from its number.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from enginehouse.errors import NotFound, StoreUnavailable
from enginehouse.stores.vectors.base import Distance, IndexKind, Key, Page, Point, Shape, numbers, packed
from enginehouse.stores.vectors.edge.process import IndexProcess
from enginehouse.stores.vectors.edge.store import EdgeStore
from enginehouse.stores.vectors.edge.tuning import Tuning
from enginehouse.telemetry.logs import configure_logs

KEY = Key("tenant", "docs")
SIZE = 16
SHAPE = Shape(size=SIZE, distance=Distance.DOT, indexes={"number": IndexKind.INTEGER})
EAGER = Tuning(index_bytes=16_000, quiet=0.05, flush_bytes=64_000, threads=1)
"""Flushes and builds graphs all the time."""
IDS = 700


def say(text):
    os.write(1, f"{text}\n".encode())


def operation(number):
    """The ids that it puts, and those that it deletes."""
    chance = random.Random(number)
    ids = chance.sample(range(IDS), chance.randrange(1, 150))
    return ([], ids[:40]) if chance.random() < 0.2 else (ids, [])


def point(id_, number):
    return Point(id_, packed(vector(id_, number)), {"number": number, "id": id_})


def vector(id_, number):
    return [float(id_), float(number), *(float((id_ * 31 + number * 7 + place) % 97) for place in range(SIZE - 2))]


async def live(folder, first):
    async with IndexProcess(folder, EAGER) as process:
        store = EdgeStore(process)
        docs = store.collection(KEY)
        try:
            await store.shape(KEY)
        except NotFound:
            await store.create(KEY, SHAPE)
        say(f"born {os.getpid()} {process.pid}")
        found, after = [], None
        while True:
            some, after = await docs.page(Page(limit=100, after=after, vectors=True))
            found += some
            if after is None:
                break
        for hit in found:
            right = numbers(hit.vector) == vector(hit.id, hit.payload["number"]) and hit.payload["id"] == hit.id
            say(f"has {hit.id} {hit.payload['number'] if right else 'WRONG'}")
        say(f"has all {await docs.count(None)} {(await store.state(KEY)).points}")
        for number in range(first, first + 100_000):
            put, delete = operation(number)
            say(f"try {number}")
            if put:
                await docs.upsert([point(id_, number) for id_ in put])
            else:
                await docs.delete(delete)
            say(f"done {number}")


if __name__ == "__main__":
    configure_logs("critical", "json")
    for line in sys.stdin:
        place, begin = line.split()
        if (child := os.fork()) == 0:
            try:
                asyncio.run(live(Path(place), int(begin)))
            except StoreUnavailable:
                say("lost")
            os._exit(0)
        os.waitpid(child, 0)
        say("dead")
