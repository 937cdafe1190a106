"""Two real replicas on one Redis: an answer that one of them gives is read on, stopped and missed at the other."""

import asyncio
import time
from contextlib import ExitStack

import jwt
import pytest

from enginehouse.client import AsyncClient, ServiceError
from tests.integration.redis_server import RedisServer
from tests.integration.service import Service
from tests.integration.talker import Talker

SECRET = "a-secret-that-both-of-them-know-and-nobody-else"


@pytest.fixture(scope="module")
def talker():
    with Talker() as running:
        yield running


@pytest.fixture
def replicas(tmp_path, talker):
    with RedisServer(tmp_path) as redis, ExitStack() as stack:
        found = []
        for name in "ab":
            folder = tmp_path / name
            folder.mkdir()
            config = {
                "data_dir": str(folder),
                "auth": {"jwt_secret": SECRET},
                "default_models": False,
                "models": {"talker": {"engine": "openai", "base_url": talker.url, "kind": "chat", "slots": 4}},
                "stores": {"redis_url": redis.url},
            }
            found.append(stack.enter_context(Service(folder, config)))
        yield found


def caller(service, user="ann"):
    return AsyncClient(service.url, jwt.encode({"sub": user, "exp": time.time() + 600}, SECRET, "HS256"))


async def read(answer, number):
    return [await anext(answer) for _ in range(number)]


async def asked(service, prompt, request_id):
    """Some words are read of an answer, whose socket is lost then."""
    async with caller(service) as client, client.open_chat() as chat:
        return await read(await chat.ask("s", prompt, request_id=request_id), 5)


async def test_an_answer_is_found_at_the_other_replica(replicas, talker):
    here, there = replicas
    words = await asked(here, "80 0.02", "one")
    async with caller(there) as client, client.open_chat() as chat, caller(there, "bob") as bob:
        answer = await chat.attach("one", len(words))
        words += [word async for word in answer]
        assert words == [f"w{number} " for number in range(80)]
        assert ((await answer.end()).tokens, answer.session_id, answer.model) == (80, "s", "talker")
        again = await chat.attach("one", 78)
        assert [word async for word in again] == ["w78 ", "w79 "]
        async with bob.open_chat() as stranger:
            with pytest.raises(ServiceError) as refused:
                await (await stranger.attach("one")).end()
            assert refused.value.code == "not_found"
        with pytest.raises(ServiceError) as refused:
            await (await chat.attach("never asked")).end()
        assert refused.value.code == "not_found"

    await asked(here, "400 0.02", "two")
    async with caller(there) as client, client.open_chat() as chat, caller(here) as owner:
        with pytest.raises(ServiceError) as refused:
            await (await chat.ask("s", "1", request_id="two")).end()
        assert refused.value.code == "conflict"
        answer = await chat.attach("two")
        await read(answer, 20)
        began = time.monotonic()
        end = await answer.stop()
        while talker.running:  # noqa: ASYNC110 - the upstream is in another thread
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 1.0
        assert (end.stopped, end.text) == (True, "".join(f"w{number} " for number in range(end.tokens)))
        *_, last = [message async for message in owner.messages("s")]
        assert (last.status, last.content) == ("stopped", end.text)


async def test_a_replica_that_is_killed_is_not_waited_for(replicas):
    here, there = replicas
    await asked(here, "1000 0.02", "lost")
    async with caller(there) as client, client.open_chat() as chat:
        answer = await chat.attach("lost", 5)
        await read(answer, 10)
        here.process.kill()
        began = time.monotonic()
        with pytest.raises(ServiceError) as refused:
            await answer.end()
        assert (refused.value.code, time.monotonic() - began < 8) == ("upstream_died", True)
        assert (await (await chat.ask("other", "3")).end()).text == "w0 w1 w2 "
