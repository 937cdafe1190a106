"""What callers see when there are more of them than slots, or more models than memory, in simulated time."""

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from enginehouse.settings.schema import AdmissionSettings
from enginehouse.testing import WHOLE, FakeEngine, simulate
from tests.unit.api.house import open_door

CHAT = "/v1/chat/completions"
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
BIG, TINY = "org/big:8b", "tiny"
ROOM_FOR_ONE = {"max_memory_usage": 0.4, "utility_share": 0}
"""400 MiB: `tiny` takes 200 of them, `org/big:8b` 300."""


def hello(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}


def now():
    return asyncio.get_running_loop().time()


async def hesitate(chance):
    """Give way a few times, so that others come in between."""
    for _ in range(chance.randrange(4)):
        await asyncio.sleep(0)


class Hesitant(FakeEngine):
    """Gives way before it answers, between all that it says, and after."""

    def __init__(self, chunks, chance):
        super().__init__([part for chunk in chunks for part in (0.0, chunk, 0.0)])
        self.chance = chance

    @asynccontextmanager
    async def forward(self, call):
        await hesitate(self.chance)
        async with super().forward(call) as reply:
            await hesitate(self.chance)
            yield reply
            await hesitate(self.chance)


@pytest.mark.parametrize("stream", [True, False])
def test_a_thousand_interleaved_requests_with_room_for_one_model_are_all_answered(stream):
    chance, answers = random.Random(1), Counter()

    async def main():
        settings = AdmissionSettings(max_queue_size=1000)
        async with open_door(load_seconds=0.3, memory=ROOM_FOR_ONE, admission=settings) as door:
            door.launcher.engine = Hesitant([TEXT, DONE] if stream else [WHOLE], chance)
            door.launcher.unload_seconds = 0.1
            assert (await door.post(CHAT, hello(TINY, stream=stream))).status == 200

            async def ask(number):
                await asyncio.sleep(chance.random() * 60)
                await hesitate(chance)
                answer = await door.post(CHAT, hello((TINY, BIG)[number % 2], stream=stream))
                answers[answer.status, answer.headers["x-enginehouse-model"]] += 1
                assert answer.body.endswith(DONE if stream else WHOLE)
                assert b'"error"' not in answer.body

            async with asyncio.TaskGroup() as group:
                for number in range(1000):
                    group.create_task(ask(number))
            assert len(door.launcher.loads) > 4

    simulate(main())
    assert answers == {(200, TINY): 500, (200, BIG): 500}


def test_who_finds_the_line_full_is_told_at_once_and_callers_of_other_models_notice_nothing():
    async def main():
        async with open_door([5.0, WHOLE], admission=AdmissionSettings(max_queue_size=3)) as door:
            await door.residency.load(door.catalogue.resolve(BIG).deployments[0])
            crowd = [asyncio.ensure_future(door.post(CHAT, hello(TINY))) for _ in range(20)]
            await asyncio.sleep(0)
            other = asyncio.ensure_future(door.post(CHAT, hello(BIG)))
            await asyncio.sleep(1)
            refused = [task.result() for task in crowd if task.done()]
            assert [answer.status for answer in refused] == [503] * 16
            assert {answer.json()["error"]["code"] for answer in refused} == {"queue_full"}
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
            assert (await other).status == 200
            assert now() == pytest.approx(5)
            assert {answer.status for answer in await asyncio.gather(*crowd)} == {200, 503}
            assert now() == pytest.approx(20)

    simulate(main())


def test_a_refusal_takes_no_time():
    async def main():
        async with open_door([5.0, WHOLE], admission=AdmissionSettings(max_queue_size=0)) as door:
            running = asyncio.ensure_future(door.post(CHAT, hello(TINY)))
            await asyncio.sleep(1)
            assert (await door.post(CHAT, hello(TINY))).status == 503
            assert now() == 1
            await running

    simulate(main())


def test_a_warm_model_answers_while_others_load_and_wait_for_room():
    async def main():
        async with open_door([0.5, WHOLE], memory=ROOM_FOR_ONE) as door:
            await door.residency.load(door.catalogue.resolve(TINY).deployments[0])
            door.launcher.load_seconds = 50
            waits = asyncio.ensure_future(door.post(CHAT, hello(BIG)))
            embeds = asyncio.ensure_future(door.post("/v1/embeddings", {"model": "vec", "input": "hi"}))
            for _ in range(5):
                await asyncio.sleep(0.1)
                began = now()
                assert (await door.post(CHAT, hello(TINY))).status == 200
                assert now() - began == pytest.approx(0.5)
            assert not waits.done()
            assert (await waits).status == (await embeds).status == 200

    simulate(main())


@pytest.mark.parametrize("stream", [True, False])
def test_who_hangs_up_in_the_line_leaves_it_at_once_and_the_next_one_moves_up(stream):
    async def main():
        async with open_door([20.0, WHOLE]) as door:
            runs = asyncio.ensure_future(door.post(CHAT, hello(TINY)))
            await asyncio.sleep(1)
            leaving = door.caller("POST", CHAT, hello(TINY, stream=stream))
            gone = asyncio.ensure_future(leaving.run())
            await asyncio.sleep(1)
            last = asyncio.ensure_future(door.post(CHAT, hello(TINY)))
            await asyncio.sleep(1)
            assert await depth(door) == 2
            assert not runs.done()
            leaving.leave()
            await asyncio.sleep(0.1)
            assert gone.done()
            assert await depth(door) == 1
            assert (await last).status == 200
            assert now() == pytest.approx(40)
            assert len(door.engine.calls) == 2

    simulate(main())


async def depth(door):
    return (await door.call("GET", "/v1/queue/stats")).json()["queues"][TINY]["total"]
