"""Who waits for which model."""

import asyncio

import pytest

from enginehouse.settings.schema import AdmissionSettings
from enginehouse.testing import WHOLE, simulate
from tests.unit.api.house import open_door

CHAT = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


def test_the_line_is_told_by_priority_and_what_became_of_it():
    async def main():
        async with open_door([5.0, WHOLE], admission=AdmissionSettings(max_queue_size=2)) as door:
            untouched = (await door.call("GET", "/v1/queue/stats")).json()
            assert untouched["total_queued"] == 0
            assert untouched["queues"]["tiny"]["wait_p50_ms"] is None
            calls = [
                asyncio.ensure_future(door.post(CHAT, HELLO, x_request_priority=priority))
                for priority in ("normal", "high", "low", "low")
            ]
            await asyncio.sleep(1)
            line = (await door.call("GET", "/v1/queue/stats")).json()["queues"]["tiny"]
            assert line["queued"] == {"high": 1, "normal": 0, "low": 1}
            assert line["scope"] == "replica"
            assert (line["active"], line["slots"], line["total"], line["rejected"]) == (1, 1, 2, 1)
            await asyncio.gather(*calls)
            line = (await door.call("GET", "/v1/queue/stats")).json()["queues"]["tiny"]
            assert (line["served"], line["total"], line["active"]) == (3, 0, 0)
            assert line["wait_p95_ms"] == 10_000

    simulate(main())


def test_who_waits_in_a_stream_is_told_its_place_in_the_line():
    async def main():
        async with open_door([40.0, b"data: [DONE]\n\n"]) as door:
            first, second = (asyncio.ensure_future(door.post(CHAT, {**HELLO, "stream": True})) for _ in range(2))
            _, answer = await asyncio.gather(first, second)
            pings = [line for line in answer.body.decode().split("\n") if line.startswith(":")]
            assert pings[0] == ": queued position=1 expected_wait=1.0s"
            assert pings[-1] == ": ping"

    simulate(main())


def test_the_status_explains_why_a_request_waits():
    async def main():
        async with open_door([9.0, WHOLE], load_seconds=2) as door:
            calls = [asyncio.ensure_future(door.post(CHAT, HELLO)) for _ in range(3)]
            await asyncio.sleep(1)
            now = (await explained(door))["now"]
            assert now[0] == "All 1 slots are taken, and 2 requests wait for one."
            assert now[1].startswith("It has been loading for 1.0 s")
            await asyncio.sleep(2)
            assert [decision["what"] for decision in (await explained(door))["decisions"]] == ["loads", "ready"]
            await asyncio.gather(*calls)
            assert (await explained(door))["now"] == []
            assert "explanation" not in (await door.call("GET", "/v1/models/tiny/status")).json()

    async def explained(door):
        return (await door.call("GET", "/v1/models/tiny/status?explain=1")).json()["explanation"]

    simulate(main())


SAID = [{"role": "user", "content": "hi"}]
QUEUED = {
    CHAT: HELLO,
    "/v1/completions": {"model": "tiny", "prompt": "hi"},
    "/v1/responses": {"model": "tiny", "input": "hi"},
    "/v1/messages": {"model": "tiny", "messages": SAID, "max_tokens": 5},
    "/api/chat": {"model": "tiny", "messages": SAID, "stream": False},
    "/api/generate": {"model": "tiny", "prompt": "hi", "stream": False},
    "/v1/llm/generate": HELLO,
    "/v1/inference": {"model_id": "tiny", "prompt": "hi"},
}


@pytest.mark.parametrize("path", QUEUED)
def test_who_leaves_while_it_waits_has_a_record_without_tokens(path):
    async def main():
        async with open_door([30.0, WHOLE]) as door:
            first = asyncio.ensure_future(door.post(CHAT, HELLO))
            await asyncio.sleep(1)
            caller = door.caller("POST", path, QUEUED[path])
            waiting = asyncio.ensure_future(caller.run())
            await asyncio.sleep(1)
            assert (await door.call("GET", "/v1/queue/stats")).json()["total_queued"] == 1
            caller.leave()
            await waiting
            await asyncio.sleep(1)  # who has left waits for nothing
            [record] = door.books.kept.values()
            assert (record.model, record.outcome, record.error) == ("tiny", "cancelled", "caller_gone")
            assert (record.input_tokens, record.output_tokens, record.upstream_us, record.cost) == (0, 0, None, 0)
            await first

    simulate(main())
