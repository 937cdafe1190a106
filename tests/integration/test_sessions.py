"""Conversations on a real PostgreSQL and a real Redis, and over the death of their process at any moment.

KILLS in the environment says how often it dies; `make kills` does it 200 times.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import AsyncExitStack

import pytest

from enginehouse.core.sessions import Owner, Question, Status
from enginehouse.core.sessions.rows import message_from
from enginehouse.stores.kv import MemoryCopies, RedisCopies, RedisStore
from enginehouse.stores.sql import database_url, migrate, open_database
from enginehouse.stores.sql import sessions as sql
from tests.hot_contract import *  # noqa: F403 - the tests themselves
from tests.integration.postgres import Postgres
from tests.integration.redis_server import RedisServer
from tests.integration.sessions_nursery import ANN, LEASE, USERS, answer_to, open_sessions
from tests.sessions_contract import *  # noqa: F403 - the tests themselves

KILLS = int(os.environ.get("KILLS", "10"))


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["postgresql and memory", "postgresql and redis", "sqlite and redis"])
def stores(request):
    return request.param


@pytest.fixture(scope="module")
def address(postgres):
    """One database for all: to make many takes its time."""
    return postgres.new_database()


async def migrated(url, folder):
    async with open_database(database_url(url, folder)) as database:
        await migrate(database)


@pytest.fixture
async def database(stores, tmp_path, request):
    url = request.getfixturevalue("address") if "postgresql" in stores else ""
    async with open_database(database_url(url, tmp_path)) as opened:
        await migrate(opened)
        await opened.write(lambda connection: connection.execute(sql.SESSIONS.delete()))
        yield opened


@pytest.fixture
async def copies(stores, request):
    if "memory" in stores:
        yield lambda: MemoryCopies(10**6, 60.0)
        return
    server = request.getfixturevalue("redis")
    server.client.flushall()
    async with AsyncExitStack() as stack:
        names = [f"replica-{number}" for number in range(2)]
        both = [await stack.enter_async_context(RedisStore(server.url, name)) for name in names]
        made = iter(both * 10)
        yield lambda: RedisCopies(next(made), 60.0)


async def test_without_redis_there_are_no_copies_and_that_is_all(tmp_path):
    with RedisServer(tmp_path) as server:
        async with RedisStore(server.url, "here") as store:
            copies = RedisCopies(store, 60.0)
            await copies.put("k", 1, b"one")
            server.stop()
            assert await copies.get("k", 1) is None
            await copies.put("k", 2, b"two")
            await copies.drop("k")
            server.start()


@pytest.fixture
def nursery():
    command = [sys.executable, "-m", "tests.integration.sessions_nursery"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        yield running
        running.stdin.close()
        running.wait(10)


def one_life(nursery, folder, url, words):
    """What the process said before it was killed."""
    nursery.stdin.write(f"{folder} {url or '-'}\n".encode())
    nursery.stdin.flush()
    word, pid = nursery.stdout.readline().split()
    assert word == b"born"
    lines = [nursery.stdout.readline() for _ in range(words)]
    assert b"dead\n" not in lines
    os.kill(int(pid), signal.SIGKILL)
    while (line := nursery.stdout.readline()) != b"dead\n":
        lines.append(line)
    return [tuple(line.decode().split()) for line in lines if line.endswith(b"\n")]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.timeout(60 + KILLS * 4)
def test_a_conversation_survives_kill_9_whole_or_marked(tmp_path, nursery, kind, request):
    url = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else ""
    asyncio.run(migrated(url, tmp_path))
    chance, said = random.Random(7), []
    for _ in range(KILLS):
        said += one_life(nursery, tmp_path, url, chance.randrange(1, 30))
    asyncio.run(look(tmp_path, url, said))


async def look(folder, url, said):
    async with open_database(database_url(url, folder)) as database:
        sessions = open_sessions(database)
        await asyncio.sleep(LEASE)
        await sessions.start()
        found = await every_message(database)
        for word, id_ in said:
            assert found[id_].status is Status.COMPLETE, word
        interrupted = [check(message, found) for message in found.values() if message.role.value == "assistant"]
        assert sum(interrupted) >= KILLS
        async with sessions.turn(ANN, Question(said="go on", session_id="s0")) as turn:
            await turn.answered("yes")


def check(answer, found):
    """Whether it was interrupted; else it is whole."""
    whole = answer_to(found[answer.parent].text)
    if answer.status is Status.COMPLETE:
        assert answer.text == whole
        return False
    assert answer.status is Status.INTERRUPTED
    assert whole.startswith(answer.text)
    return True


async def every_message(database):
    owner, found = Owner.of(ANN), {}

    def read(connection):
        for number in range(USERS):
            row = sql.one_session(connection, owner.tenant, owner.user, f"s{number}")
            for one in sql.messages_of(connection, row["key"], after=0, limit=10**6):
                found[one["id"]] = message_from(one)

    await database.read(read)
    return found
