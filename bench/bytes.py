"""How many bytes of PostgreSQL and Redis things take: a usage record, a trace, a message, a kept answer."""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from time import time
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Table, insert, text
from sqlalchemy.types import Boolean, Integer

from bench.usage import seed
from enginehouse.stores.kv.redis_answers import RedisAnswers
from enginehouse.stores.kv.redis_store import RedisStore
from enginehouse.stores.sql import Database, database_url, migrate, open_database, rollups, sessions, traces, usage
from enginehouse.types.cached import Entry

__all__ = ["Size", "message_rows", "session_rows", "store_sizes", "trace_rows"]

_WORDS = "It depends on how it is asked, and on what has been said before. " * 6
"""An answer of 390 letters."""
_TURNS = 10
"""Messages of a session."""
_CHUNK = 5000


class Size(Struct, frozen=True, kw_only=True):
    """What one of them takes in the mean, with its share of the indexes."""

    what: str
    bytes: float
    indexes: float = 0.0
    """How much of that is indexes."""


async def store_sizes(count: int, postgres: str, redis: str, said: Callable[[str], None]) -> list[Size]:
    """Put so many of each there, and ask the servers how much they have grown.

    Args:
        postgres: an empty database.
        redis: one with nothing in it.
        said: told what is being done.
    """
    found: list[Size] = []
    async with open_database(database_url(postgres, Path()), fsync=True) as database:
        await migrate(database)
        await seed(database, count, said)
        found.append(await _size(database, "usage record", (usage.RECORDS, usage.UNSUMMED), count))
        found.append(await _size(database, "sums of it", (rollups.ROLLUPS, rollups.USES), count))
        said("traces")
        await _put(database, traces.TRACES, trace_rows(count))
        found.append(await _size(database, "trace without its words (kept for a week)", (traces.TRACES,), count))
        said("messages")
        await _put(database, sessions.SESSIONS, session_rows(count // _TURNS))
        await _put(database, sessions.MESSAGES, message_rows(count))
        tables = (sessions.SESSIONS, sessions.MESSAGES)
        found.append(
            await _size(database, f"message of {len(_WORDS)} letters in a session of {_TURNS}", tables, count)
        )
    said("answers")
    found.append(await _answers(count, redis))
    return found


async def _put(database: Database, table: Table, rows: Iterator[dict[str, Any]]) -> None:
    while chunk := list(islice(rows, _CHUNK)):
        await database.write(partial(_insert, table, chunk))


def _insert(table: Table, rows: Sequence[dict[str, Any]], connection: Connection) -> None:
    connection.execute(insert(table), list(rows))


async def _size(database: Database, what: str, tables: Sequence[Table], count: int) -> Size:
    def asked(connection: Connection) -> tuple[float, float]:
        totals = [0.0, 0.0]
        for table in tables:
            ask = text("SELECT pg_total_relation_size(:name), pg_indexes_size(:name)")
            total, indexes = connection.execute(ask, {"name": table.name}).one()
            totals = [totals[0] + total, totals[1] + indexes]
        return totals[0] / count, totals[1] / count

    whole, indexes = await database.read(asked)
    return Size(what=what, bytes=whole, indexes=indexes)


def _row(table: Table, **known: Any) -> dict[str, Any]:
    """A row with short words and small numbers where nothing else is said."""
    usual = {column.name: _usual(column.type) for column in table.columns if not column.nullable}
    return {**usual, **known}


def _usual(kind: Any) -> Any:
    if isinstance(kind, Boolean):
        return True
    return 1234 if isinstance(kind, Integer) else "completed"


def trace_rows(count: int) -> Iterator[dict[str, Any]]:
    """Traces of as many users as ask in a month."""
    chance = random.Random(2)
    spans = '[["queue",12,340],["lease",352,9],["engine",361,812345]]'
    for number in range(count):
        user = f"user-{chance.randrange(1000)}"
        name, more = f"{number:026}", f"req-{chance.getrandbits(64):x}"
        row = {"id": name, "user_id": user, "request_id": more, "trace_id": f"{chance.getrandbits(128):032x}"}
        yield _row(traces.TRACES, **row, spans=spans, message="", error="", cause="", prompt="", answer="")


def session_rows(count: int) -> Iterator[dict[str, Any]]:
    """Conversations of a thousand users."""
    for number in range(count):
        key, user = f"{number:026}", f"user-{number % 1000}"
        yield _row(sessions.SESSIONS, key=key, id=key, user_id=user, system='""', metadata="{}", title="A question")


def message_rows(count: int) -> Iterator[dict[str, Any]]:
    """Their messages, ten in each."""
    parts = f'[{{"type":"text","text":"{_WORDS}"}}]'
    for number in range(count - count % _TURNS):
        session, place = f"{number // _TURNS:026}", number % _TURNS
        row = {"id": f"{number:026}", "session": session, "number": place, "depth": place + 1}
        yield _row(sessions.MESSAGES, **row, role="user", name="", parts=parts, status="complete", model="m")


async def _answers(count: int, redis: str) -> Size:
    async with RedisStore(redis, "bench") as store:
        before = await _used(redis)
        answers = RedisAnswers(store, 64 * 1024**3)
        for number in range(count):
            await answers.put(_entry(number))
        taken = (await _used(redis) - before) / count
    return Size(what=f"kept answer of {len(_WORDS)} letters, in Redis", bytes=taken)


def _entry(number: int) -> Entry:
    now = time()
    return Entry(
        key=number.to_bytes(16, "big"),
        answer=_WORDS.encode(),
        writer="user-1",
        model="model-1",
        asked=now,
        expires=now + 86_400,
    )


async def _used(url: str) -> int:
    driver: Any = import_module("redis.asyncio")
    async with driver.from_url(url) as client:
        return int((await client.info("memory"))["used_memory"])
