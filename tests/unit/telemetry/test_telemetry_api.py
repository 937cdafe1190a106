"""Requests are followed from the door to their record: what is told of them, to whom, and where their time went."""

import asyncio

import pytest

from enginehouse.errors import MissingCredentials, UpstreamDied
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.testing import WHOLE, simulate
from enginehouse.types import Principal
from tests.unit.api.house import open_door

CHAT = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**HELLO, "stream": True}
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
DONE = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}\n\ndata: [DONE]\n\n'
)
PRICES = {"tiny": {"input_per_1k": "1", "output_per_1k": "2"}}
PEOPLE = {
    "ann": Principal(user="ann", key="k1"),
    "bob": Principal(user="bob"),
    "boss": Principal(user="boss", role="admin"),
}


class Callers:
    """Stands in for the identity: the key is the caller's name."""

    open = False

    async def principal(self, authorization, api_key):
        if api_key not in PEOPLE:
            raise MissingCredentials("who?")
        return PEOPLE[api_key]


def at_the_door(**how):
    def wrap(test):
        def run():
            async def main():
                async with open_door(**how) as door:
                    await test(door)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return wrap


async def listed(door, query="", who="boss"):
    answer = await door.call("GET", f"/v1/telemetry/requests{query}", x_api_key=who)
    assert answer.status == 200, answer.body
    return answer.json()["data"]


@at_the_door(chunks=[1.0, TEXT, 2.0, DONE], load_seconds=4, prices=PRICES)
async def test_one_request_is_told_with_all_its_phases_and_what_it_took(door):
    await door.post(CHAT, STREAM, x_request_id="mine", x_request_priority="low")
    (one,) = await listed(door)
    assert (one["request_id"], one["user_id"], one["model"], one["face"]) == (
        "mine",
        "local",
        "tiny",
        "openai.chat",
    )
    assert (one["path"], one["operation"], one["stream"], one["priority"]) == (CHAT, "chat", True, "low")
    assert (one["status"], one["outcome"], one["error"], one["cache"]) == (200, "completed", None, "bypass")
    timings = one["timings_ms"]
    assert (timings["queue"], timings["load"]) == (0, 4000)
    assert (timings["ttft"], timings["upstream"], timings["total"]) == (1000, 3000, 7000)
    assert timings["gateway"] == 0
    assert one["usage"] == {
        "input_tokens": 5,
        "cached_input_tokens": 0,
        "output_tokens": 3,
        "reasoning_tokens": 0,
        "total_tokens": 8,
        "estimated": False,
    }
    assert one["cost"] == pytest.approx(0.011)
    assert one["tokens_per_second"] == 1.0


@at_the_door(chunks=[1.0, TEXT, 2.0, DONE], load_seconds=4)
async def test_its_whole_way_says_when_each_phase_began(door):
    await door.post(CHAT, STREAM, x_request_id="a/b c")
    for name in ("a/b c", (await listed(door))[0]["id"]):
        whole = (await door.call("GET", f"/v1/telemetry/requests/{name}")).json()
        spans = [(span["name"], span["start_ms"], span["duration_ms"]) for span in whole["spans"]]
        assert spans == [
            ("identity", 0, 0),
            ("limits", 0, 0),
            ("queue", 0, 0),
            ("load", 0, 4000),
            ("upstream", 4000, 3000),
            ("ledger", 7000, 0),
        ]
    assert (await door.call("GET", "/v1/telemetry/requests/nobody")).status == 404


@at_the_door(chunks=[UpstreamDied("the engine of slot 7 ended with code 139")])
async def test_errors_of_one_cause_are_one_pattern(door):
    for _ in range(3):
        await door.post(CHAT, HELLO)
    await door.post(CHAT, {**HELLO, "model": "nothing"})
    await door.post(CHAT, b"{")
    told = (await door.call("GET", "/v1/telemetry/errors")).json()
    assert (told["total_requests"], told["total_errors"], told["error_rate"]) == (5, 5, 1.0)
    assert told["errors_by_code"]["upstream_died"] == 3
    assert told["errors_by_model"] == {"tiny": 3, "unknown": 2}
    first = told["patterns"][0]
    assert (first["code"], first["count"], first["share"]) == ("upstream_died", 3, 0.6)
    assert first["cause"] == "the engine of slot … ended with code …"
    assert first["example"]["message"] == "the engine of slot 7 ended with code 139"
    assert {pattern["code"] for pattern in told["patterns"]} == {
        "upstream_died",
        "model_not_found",
        "invalid_request_error",
    }
    outcomes = [one["outcome"] for one in await listed(door)]
    assert outcomes == ["refused", "failed", "failed", "failed", "failed"]


@at_the_door(chunks=[5.0, WHOLE])
async def test_a_caller_who_left_is_told_as_that(door):
    caller = door.caller("POST", CHAT, HELLO)
    async with asyncio.TaskGroup() as group:
        group.create_task(caller.run())
        await asyncio.sleep(1)
        assert door.traces.on_the_way == 1
        caller.leave()
    (one,) = await listed(door)
    assert (one["status"], one["outcome"], one["error"]["code"]) == (499, "cancelled", "caller_gone")
    assert door.traces.on_the_way == 0


@at_the_door(chunks=[5.0, WHOLE], admission=AdmissionSettings(queue_timeout=2))
async def test_who_waited_in_vain_has_waited_in_the_line(door):
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(door.post(CHAT, HELLO))
    late = (await listed(door, "?failed=true"))[0]
    assert (late["status"], late["error"]["code"], late["timings_ms"]["queue"]) == (504, "queue_timeout", 2000)


@at_the_door(chunks=[WHOLE], callers=Callers())
async def test_users_see_their_own_and_admins_see_all(door):
    for who in ("ann", "ann", "bob"):
        await door.post(CHAT, HELLO, x_api_key=who, x_request_id=f"of-{who}")
    await door.post(CHAT, HELLO, x_api_key="stranger")
    assert [one["user_id"] for one in await listed(door)] == ["anonymous", "bob", "ann", "ann"]
    mine = await listed(door, who="ann")
    assert {(one["user_id"], one["key_id"], one["key_name"]) for one in mine} == {("ann", "k1", "Ann's laptop")}
    assert len(await listed(door, "?user_id=bob")) == 1
    refused = await door.call("GET", "/v1/telemetry/requests?user_id=bob", x_api_key="ann")
    assert (refused.status, refused.json()["error"]["param"]) == (403, "user_id")
    assert (await door.call("GET", "/v1/telemetry/requests/of-bob", x_api_key="ann")).status == 404
    assert (await door.call("GET", "/v1/telemetry/requests/of-bob", x_api_key="bob")).status == 200
    assert (await door.call("GET", "/v1/telemetry/summary", x_api_key="ann")).json()["total_requests"] == 2
    assert (await door.call("GET", "/v1/telemetry/errors", x_api_key="ann")).json()["total_errors"] == 0
    assert (await door.call("GET", "/v1/telemetry/requests")).status == 401


@at_the_door(chunks=[WHOLE], callers=Callers())
async def test_filters_and_pages(door):
    for who in ("ann", "bob", "ann", "ann", "bob"):
        await door.post(CHAT, HELLO, x_api_key=who)
    await door.post(CHAT, {**HELLO, "model": "nope"}, x_api_key="ann")
    seen, cursor = [], ""
    for size in (2, 2, 2):
        answer = (await door.call("GET", f"/v1/telemetry/requests?limit=2{cursor}", x_api_key="boss")).json()
        assert len(answer["data"]) == size
        seen += [one["id"] for one in answer["data"]]
        cursor = f"&cursor={answer['next_cursor']}"
    assert (answer["has_more"], answer["next_cursor"]) == (False, None)
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 6
    for query, count in {
        "model=tiny": 5,
        "model=org/big:8b": 0,
        "outcome=failed": 1,
        "failed=true": 1,
        "status=404": 1,
        "error=model_not_found": 1,
        "key_id=k1": 4,
        "user_id=bob": 2,
        "face=openai.chat": 6,
        "cache=exact": 0,
        "min_ms=60000": 0,
        "since=2999-01-01": 0,
        "until=2000-01-01T00:00:00Z": 0,
        "request_id=nobody": 0,
    }.items():
        assert len(await listed(door, f"?{query}")) == count, query
    wrong = await door.call("GET", "/v1/telemetry/requests?since=yesterday", x_api_key="boss")
    assert (wrong.status, wrong.json()["error"]["param"]) == (400, "since")


@at_the_door(chunks=[1.0, TEXT, 1.0, DONE], prices=PRICES)
async def test_the_summary_adds_up(door):
    for _ in range(4):
        await door.post(CHAT, STREAM)
    await door.post(CHAT, {**HELLO, "model": "nope"})
    told = (await door.call("GET", "/v1/telemetry/summary")).json()
    assert (told["total_requests"], told["successful_requests"], told["failed_requests"]) == (5, 4, 1)
    assert (told["success_rate"], told["error_rate"]) == (0.8, 0.2)
    assert told["latency_ms"]["p50"] == told["latency_ms"]["max"] == 2000
    assert told["ttft_ms"] == {"avg": 1000, "p50": 1000, "p95": 1000, "p99": 1000, "max": 1000}
    assert told["tokens"] == {"input": 20, "cached_input": 0, "output": 12, "reasoning": 0, "total": 32}
    assert told["cost"] == pytest.approx(0.044)
    assert told["by_model"][0]["name"] == "tiny"
    assert (told["by_model"][0]["requests"], told["by_model"][1]["name"]) == (4, "unknown")
    assert told["latency_histogram"][-1] == {"le_ms": None, "count": 5}
    assert [step["count"] for step in told["latency_histogram"] if step["le_ms"] in (1000, 2500)] == [1, 5]
    assert sum(step["requests"] for step in told["timeline"]) == 5


@at_the_door(chunks=[WHOLE])
async def test_only_the_newest_are_kept(door):
    for number in range(25):
        await door.post(CHAT, HELLO, x_request_id=f"r{number}")
    kept = await listed(door, "?limit=100")
    assert [one["request_id"] for one in kept] == [f"r{number}" for number in range(24, 4, -1)]
    door.traces.adopt(3)
    assert [one["request_id"] for one in await listed(door)] == ["r24", "r23", "r22"]
