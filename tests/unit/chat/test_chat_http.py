"""M0's queued chat over HTTP: field by field, as events, in order, and left by who asked."""

import asyncio

from enginehouse.errors import UpstreamDied, UpstreamRefused
from tests.unit.chat.house import Speaker, simulated

ASK = {"session_id": "abc-123", "prompt": "What is Python?", "stream": False}


def slow(pause=1.0, **more):
    return lambda: Speaker(pause, **more)


def sse(answer):
    """Names and data of the events."""
    frames = [frame for frame in answer.body.decode().split("\n\n") if frame and not frame.startswith(":")]
    return [tuple(line.partition(": ")[2] for line in frame.split("\n")) for frame in frames]


@simulated()
async def test_the_answer_has_every_field_of_the_contract(house):
    answer = await house.post(ASK).task
    body = answer.json()
    assert answer.status == 200
    latency, usage = body.pop("latency_ms"), body.pop("usage")
    assert body == {
        "session_id": "abc-123", "message_id": "m2", "response": "What is Python? ", "model": "tiny",
        "cached": None, "queue_position": 0, "tokens": 3, "finish_reason": "stop",
    }  # fmt: skip
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 3, 6)
    assert latency >= 0
    assert answer.headers["x-enginehouse-model"] == "tiny"
    assert answer.headers["x-ratelimit-limit-requests"] == "100"
    assert house.said("abc-123") == [("What is Python?", "complete"), ("What is Python? ", "complete")]
    [record] = house.records()
    assert (record.face, record.stream, record.outcome) == ("chat", False, "completed")


@simulated()
async def test_a_stream_has_m0_s_event_names(house):
    answer = await house.post({**ASK, "stream": True}, X_Request_ID="r").task
    events = sse(answer)
    assert [event[0] for event in events] == ["stream_start", *["stream_token"] * 3, "stream_end", "[DONE]"]
    assert events[1][1] == '{"request_id":"r","token":"What ","index":0}'
    assert answer.headers["content-type"].startswith("text/event-stream")


@simulated(engine=slow(2.0))
async def test_who_waits_sees_its_place_and_it_is_first_come_first_served(house):
    calls = []
    for number, user in enumerate(["ann", "bob", "ann", "ann", "cid"]):
        body = {"session_id": f"{number}", "prompt": f"q{number}", "stream": number == 4}
        calls.append(house.post(body, user))
        await asyncio.sleep(0.01)
    answers = [await call.task for call in calls]
    assert [generation.turns[-1].parts[0].text for generation in house.engine.asked] == [f"q{n}" for n in range(5)]
    assert [answer.json()["queue_position"] for answer in answers[:4]] == [0, 1, 2, 3]
    places = [data for name, data in sse(answers[4])[:-1] if name == "queued"]
    assert [place[-2] for place in places] == ["4", "3", "2", "1"]


@simulated(engine=slow())
async def test_a_caller_who_leaves_ends_its_answer(house):
    for stream in (True, False):
        call = house.post({"session_id": f"{stream}", "prompt": "a b c d", "stream": stream})
        await asyncio.sleep(2.5)
        call.leave()
        await call.task
        assert house.engine.running == 0
        assert house.said(f"{stream}")[-1] == ("a b ", "interrupted")
    assert {(r.outcome, r.error, r.output_tokens) for r in house.records()} == {("cancelled", "caller_gone", 2)}


@simulated(engine=slow(5.0))
async def test_a_caller_who_leaves_the_line_is_recorded(house):
    first = house.post({"session_id": "a", "prompt": "a"})
    await asyncio.sleep(0.01)
    leaving = [house.post({"session_id": f"{stream}", "prompt": "b", "stream": stream}) for stream in (True, False)]
    await asyncio.sleep(1)
    for call in leaving:
        call.leave()
        await call.task
    seen = [(r.model, r.outcome, r.error, r.input_tokens, r.output_tokens, r.cost) for r in house.records()]
    assert seen == [("tiny", "cancelled", "caller_gone", 0, 0, 0)] * 2
    assert (await first.task).status == 200


@simulated()
async def test_a_caller_who_leaves_or_gives_up_before_its_turn_is_recorded(house):
    house.sessions.wait = 5.0
    leaving = house.post(ASK)
    await asyncio.sleep(1)
    leaving.leave()
    await leaving.task
    late = await house.post(ASK, X_Request_Timeout="2").task
    assert late.status == 504
    assert [(r.outcome, r.error) for r in house.records()] == [
        ("cancelled", "caller_gone"),
        ("failed", "queue_timeout"),
    ]


@simulated(engine=slow(5.0))
async def test_who_runs_out_of_patience_is_told_where(house):
    first = house.post({"session_id": "a", "prompt": "a"})
    await asyncio.sleep(0.01)
    late = await house.post({"session_id": "b", "prompt": "b"}, X_Request_Timeout="2").task
    assert (late.status, late.json()["error"]["code"]) == (504, "queue_timeout")
    assert house.said("b") == []
    assert (await first.task).status == 200
    assert [record.error for record in house.records()] == ["queue_timeout", ""]


@simulated(engine=slow(1.0, failure=UpstreamDied("gone"), after=1))
async def test_a_stream_that_fails_ends_with_an_error_and_not_as_if_it_were_whole(house):
    answer = await house.post({**ASK, "stream": True}).task
    events = sse(answer)
    assert [event[0] for event in events] == ["stream_start", "stream_token", "error"]
    assert '"code":"upstream_died"' in events[-1][1]
    assert house.said("abc-123")[-1] == ("What ", "failed")


@simulated(engine=slow(failure=UpstreamRefused("no", status=400), after=None))
async def test_what_is_refused_has_never_been_said(house):
    answer = await house.post(ASK).task
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert house.said("abc-123") == []


@simulated()
async def test_what_is_missing_is_named(house):
    for body, param in [
        ({"prompt": "x"}, "session_id"),
        ({"session_id": "s"}, "prompt"),
        ({"session_id": "", "prompt": "x"}, "session_id"),
        ({"session_id": "s", "prompt": "x", "stream": 1}, "stream"),
        ({"session_id": "s", "prompt": "x", "max_tokens": 0}, "max_tokens"),
    ]:
        answer = await house.post(body).task
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert house.records() == []


@simulated()
async def test_how_it_is_drawn_reaches_the_engine(house):
    await house.post({**ASK, "temperature": 0.5, "max_tokens": 7}).task
    [asked] = house.engine.asked
    assert (asked.sampling.temperature, asked.sampling.max_tokens) == (0.5, 7)


@simulated(engine=slow())
async def test_one_header_for_two_requests_is_no_conflict(house):
    calls = [house.post({"session_id": f"{n}", "prompt": "a"}, X_Request_ID="trace") for n in range(2)]
    assert [(await call.task).status for call in calls] == [200, 200]


@simulated(engine=slow())
async def test_a_socket_does_not_find_what_was_asked_over_http(house):
    call = house.post({"session_id": "a", "prompt": "a b"}, X_Request_ID="r")
    socket = house.socket()
    socket.say("attach", request_id="r")
    assert (await socket.hears("error"))["code"] == "not_found"
    await call.task
    socket.leave()
