"""Stop at random moments, strict order over two processes, and a process that dies at the worst moment.

STOPS in the environment says how often is stopped (`make stops`: 200), CHAT_KILLS how often is killed.
"""

import asyncio
import os
import random
import sqlite3
import time
from contextlib import AsyncExitStack, closing
from itertools import islice

import pytest

from enginehouse.client import AsyncClient, Client
from tests.integration.redis_server import RedisServer
from tests.integration.service import Service
from tests.integration.talker import Talker

STOPS = int(os.environ.get("STOPS", "25"))
KILLS = int(os.environ.get("CHAT_KILLS", "2"))


@pytest.fixture
def talker():
    with Talker() as running:
        yield running


def configured(folder, talker, **more):
    model = {"engine": "openai", "base_url": talker.url, "kind": "chat", "slots": 1}
    config = {"data_dir": str(folder), "default_models": False, "models": {"talker": model}, **more}
    return Service(folder, config)


def records(folder, request_id):
    """Outcomes and output tokens of what the ledger has of a request."""
    with closing(sqlite3.connect(folder / "enginehouse.db")) as database:
        sql = "SELECT outcome, output_tokens FROM usage_records WHERE request_id = ?"
        return database.execute(sql, (request_id,)).fetchall()


def slots(service):
    line = service.call("/v1/queue/stats")[1]["queues"]["talker"]
    return line["active"]


async def test_an_answer_is_stopped_at_any_moment(talker, tmp_path):
    dice = random.Random(20261121)
    with configured(tmp_path, talker) as service:
        async with AsyncClient(service.url) as client, client.open_chat() as chat:
            for number in range(STOPS):
                answer = await chat.ask("s", "30 0.01", request_id=f"stop-{number}")
                await asyncio.sleep(dice.random() * 0.45)
                began = time.monotonic()
                end = await answer.stop()
                while talker.running:  # noqa: ASYNC110 - the upstream is in another thread
                    await asyncio.sleep(0.01)
                assert time.monotonic() - began < 1.0
                assert await asyncio.to_thread(slots, service) == 0
                assert end.text == "".join(f"w{word} " for word in range(end.tokens))
                rows = await asyncio.to_thread(records, tmp_path, f"stop-{number}")
                while end.tokens and not rows and time.monotonic() - began < 3:  # it is in the journal first
                    await asyncio.sleep(0.05)
                    rows = await asyncio.to_thread(records, tmp_path, f"stop-{number}")
                if not end.stopped:
                    assert (rows, end.tokens) == ([("completed", 30)], 30)
                elif rows or end.tokens:  # else it was stopped before anything was asked of a model
                    [(outcome, tokens)] = rows
                    assert outcome == "cancelled"
                    assert tokens - end.tokens in {0, 1}  # a last word may have been on its way to us
                assert (await (await chat.ask("s", "1")).end()).text == "w0 "
                said = [turn["content"] for turn in talker.heard[-1]]
                assert said[-3:] == ["30 0.01", end.text, "1"] if end.text else said[-1:] == ["1"]


async def test_two_processes_serve_a_hundred_callers_in_the_order_they_came(talker, tmp_path):
    """The order in which they came is that in which Redis took their tickets, which told each its place."""
    with RedisServer(tmp_path) as redis:
        stores = {"redis_url": redis.url, "enable_queue": True}
        limits = {"chat_queue_size": 200}
        services = []
        for name in "ab":
            folder = tmp_path / name
            folder.mkdir()
            services.append(configured(folder, talker, stores=stores, limits=limits))
        async with AsyncExitStack() as stack:
            for service in services:
                await asyncio.to_thread(stack.enter_context, service)
            clients = [await stack.enter_async_context(AsyncClient(service.url)) for service in services]
            talker.hold.clear()
            first = asyncio.ensure_future(clients[0].chat("first", "1"))
            await asyncio.to_thread(talker.told.wait, 30)
            calls = [asyncio.ensure_future(clients[n % 2].chat(f"s{n}", f"{n + 2}")) for n in range(100)]
            async with asyncio.timeout(60):
                while redis.client.zcard("enginehouse:line:{talker}:waiting") < 100:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            talker.hold.set()
            replies = await asyncio.gather(*calls)
            await first
        # A caller is known by how many words it asked for; nobody left, so that its place was its turn.
        order = [int(messages[-1]["content"]) - 2 for messages in talker.heard[1:]]
        assert sorted(order) == list(range(100))
        assert [replies[caller].queue_position for caller in order] == list(range(1, 101))


def test_a_process_that_dies_before_its_last_word_leaves_a_conversation_whole_or_marked(talker, tmp_path):
    """Between the engine's last token and the reply; the moment differs each time."""
    dice, seen = random.Random(7), []
    for number in range(KILLS):
        session = f"killed-{number}"
        with configured(tmp_path, talker) as service:
            talker.hold.clear()
            talker.told.clear()
            with Client(service.url) as client, client.open_chat(retries=0) as chat:
                answer = chat.ask(session, "6")
                assert talker.told.wait(30)
                assert list(islice(answer, 6)) == [f"w{n} " for n in range(6)]
                talker.hold.set()
                time.sleep(dice.random() * 0.02)
                service.process.kill()
                service.process.wait()
        with configured(tmp_path, talker) as service, Client(service.url) as client:
            question, reply = client.messages(session)
            assert (question.content, question.status) == ("6", "complete")
            whole = "".join(f"w{n} " for n in range(6))
            assert reply.status in {"complete", "interrupted"}
            assert reply.content == whole if reply.status == "complete" else whole.startswith(reply.content)
            seen.append(reply.status)
            assert client.chat(session, "1").response == "w0 "
    assert len(seen) == KILLS
