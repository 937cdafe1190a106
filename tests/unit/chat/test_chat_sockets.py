"""The WebSocket: events, several answers at a time, stop, coming back, and everything that bounds a socket."""

import asyncio
import json

import pytest

from enginehouse.errors import UpstreamDied
from enginehouse.testing import SocketCaller
from tests.unit.chat.house import Speaker, simulated

ASK = {"session_id": "s", "prompt": "one two three"}


def slow(pause=1.0, **more):
    return lambda: Speaker(pause, **more)


def names(socket):
    return [name for name, _ in socket.heard]


def tokens(socket, request_id):
    return [
        (data["index"], data["token"])
        for name, data in socket.heard
        if name == "stream_token" and data["request_id"] == request_id
    ]


@simulated()
async def test_m0_s_own_message_is_answered_token_by_token(house):
    socket = house.socket()
    socket.say("stream_chat", **ASK)
    end = await socket.hears("stream_end")
    assert names(socket) == ["stream_start", "stream_token", "stream_token", "stream_token", "stream_end"]
    request_id = end["request_id"]
    assert tokens(socket, request_id) == [(0, "one "), (1, "two "), (2, "three ")]
    assert (end["finish_reason"], end["cached"], end["tokens"], end["queue_position"]) == ("stop", None, 3, 0)
    assert (end["usage"]["prompt_tokens"], end["usage"]["completion_tokens"]) == (3, 3)
    assert socket.heard[0][1] == {
        "request_id": request_id, "session_id": "s", "message_id": end["message_id"], "model": "tiny",
    }  # fmt: skip
    assert house.said() == [("one two three", "complete"), ("one two three ", "complete")]
    [record] = house.records()
    assert (record.request_id, record.user_id, record.face) == (request_id, "ann", "websocket")
    assert (record.outcome, record.output_tokens) == ("completed", 3)
    socket.leave()


@simulated()
async def test_a_ping_is_answered_and_nonsense_is_told_so(house):
    socket = house.socket()
    socket.say("ping")
    await socket.hears("pong")
    socket.say_raw("{")
    socket.say("dance")
    socket.say("stream_chat", prompt="hello", request_id="r")
    socket.say("stream_chat", session_id="s", prompt="", request_id="r")
    socket.say("stop_generation", request_id="unknown")
    socket.say("attach")
    socket.say("stream_chat", session_id="s", prompt="hello", request_id="ü")
    await socket.hears("error", 7)
    told = [(data["code"], data.get("request_id"), data["param"]) for name, data in socket.heard if name == "error"]
    bad = "invalid_request_error"
    assert told == [
        (bad, None, None), (bad, None, "event"), (bad, "r", "session_id"), (bad, "r", "prompt"),
        ("not_found", "unknown", "request_id"), (bad, None, "request_id"), (bad, None, "request_id"),
    ]  # fmt: skip
    socket.say("stream_chat", **ASK)
    await socket.hears("stream_end")
    socket.leave()


@simulated(engine=slow(), slots=2)
async def test_several_answers_at_a_time_are_told_apart(house):
    socket = house.socket()
    socket.say("stream_chat", session_id="a", prompt="a b c", request_id="1")
    socket.say("stream_chat", session_id="b", prompt="x y z", request_id="2")
    await socket.hears("stream_end", 2)
    assert [token for _, token in tokens(socket, "1")] == ["a ", "b ", "c "]
    assert [token for _, token in tokens(socket, "2")] == ["x ", "y ", "z "]
    order = [data["request_id"] for name, data in socket.heard if name == "stream_token"]
    assert order == ["1", "2", "1", "2", "1", "2"]
    socket.leave()


@simulated(engine=slow(), chat={"max_chats": 2}, slots=9)
async def test_a_socket_takes_so_many_and_no_more(house):
    socket = house.socket()
    for number in range(3):
        socket.say("stream_chat", session_id=f"{number}", prompt="a b", request_id=f"{number}")
    error = await socket.hears("error")
    assert (error["code"], error["request_id"]) == ("rate_limit_exceeded", "2")
    await socket.hears("stream_end", 2)
    socket.say("stream_chat", session_id="2", prompt="a b", request_id="2")
    await socket.hears("stream_end", 3)
    socket.leave()


@simulated(engine=slow(2.0))
async def test_who_waits_is_told_its_place_as_the_line_moves(house):
    sockets = [house.socket(user) for user in ("ann", "bob", "cid")]
    for socket in sockets:
        socket.say("stream_chat", **ASK)
        await asyncio.sleep(0.01)
    end = await sockets[2].hears("stream_end")
    queued = [data["position"] for name, data in sockets[2].heard if name == "queued"]
    assert (queued, end["queue_position"]) == ([2, 1], 2)
    assert names(sockets[2])[:3] == ["queued", "queued", "stream_start"]
    assert "queued" not in names(sockets[0])
    for socket in sockets:
        socket.leave()


@simulated(engine=slow())
async def test_a_stopped_answer_keeps_what_was_told_and_frees_its_slot_at_once(house):
    socket, clock = house.socket(), asyncio.get_running_loop().time
    socket.say("stream_chat", session_id="s", prompt="one two three four", request_id="r")
    await socket.hears("stream_token", 2)
    began = clock()
    socket.say("stop_generation", request_id="r")
    stopped = await socket.hears("stopped")
    assert clock() - began < 0.1
    assert house.engine.running == 0
    assert (stopped["tokens"], stopped["usage"]["completion_tokens"]) == (2, 2)
    assert house.said()[-1] == ("one two ", "stopped")
    [record] = house.records()
    assert (record.outcome, record.output_tokens, record.estimated) == ("cancelled", 2, True)
    socket.say("stream_chat", session_id="s", prompt="next", request_id="r")
    await socket.hears("stream_end")
    assert house.said()[-1] == ("next ", "complete")
    assert [turn.parts[0].text for turn in house.engine.asked[-1].turns] == [
        "one two three four",
        "one two ",
        "next",
    ]
    socket.leave()


@simulated(engine=slow(), slots=2)
async def test_without_a_name_every_answer_of_the_socket_is_stopped(house):
    socket = house.socket()
    for name in "ab":
        socket.say("stream_chat", session_id=name, prompt="one two three", request_id=name)
    await socket.hears("stream_token", 2)
    socket.say("stop_generation")
    await socket.hears("stopped", 2)
    assert house.engine.running == 0
    socket.leave()


@simulated(engine=slow(5.0))
async def test_who_waits_in_the_line_can_be_stopped_too(house):
    socket = house.socket()
    socket.say("stream_chat", session_id="a", prompt="one", request_id="1")
    socket.say("stream_chat", session_id="b", prompt="two", request_id="2")
    await socket.hears("queued")
    socket.say("stop_generation", request_id="2")
    stopped = await socket.hears("stopped")
    assert (stopped["request_id"], stopped["tokens"], stopped["usage"], stopped["model"]) == ("2", 0, None, None)
    assert house.said("b") == [("two", "complete"), ("", "stopped")]
    [record] = house.records()
    assert (record.request_id, record.model, record.outcome, record.error) == (
        "2",
        "tiny",
        "cancelled",
        "caller_gone",
    )
    assert (record.input_tokens, record.output_tokens, record.cost, record.upstream_us) == (0, 0, 0, None)
    await socket.hears("stream_end")
    socket.leave()


@simulated()
async def test_who_is_stopped_before_its_turn_has_a_record_of_it(house):
    house.sessions.wait = 5.0
    socket = house.socket()
    socket.say("stream_chat", session_id="a", prompt="one", request_id="1", model="tiny")
    await asyncio.sleep(1)
    socket.say("stop_generation", request_id="1")
    await socket.hears("stopped")
    [record] = house.records()
    assert (record.request_id, record.model, record.outcome, record.error) == (
        "1",
        "tiny",
        "cancelled",
        "caller_gone",
    )
    assert (record.input_tokens, record.output_tokens, record.cost, record.upstream_us) == (0, 0, 0, None)
    assert house.said("a") == []
    socket.say("stream_chat", session_id="a", prompt="one", request_id="2")
    await socket.hears("stream_end")
    assert [record.outcome for record in house.records()] == ["cancelled", "completed"]
    socket.leave()


@simulated(engine=slow())
async def test_a_stop_that_comes_too_late_changes_nothing(house):
    socket = house.socket()
    socket.say("stream_chat", session_id="s", prompt="one", request_id="r")
    await socket.hears("stream_end")
    socket.say("stop_generation", request_id="r")
    socket.say("ping")
    await socket.hears("pong")
    assert names(socket)[-2:] == ["stream_end", "pong"]
    socket.leave()


@simulated()
async def test_an_answer_that_is_being_kept_is_whole_whoever_stops_or_leaves(house):
    house.sessions.pause = 5.0
    socket = house.socket()
    for session in "ab":
        socket.say("stream_chat", session_id=session, prompt="one two", request_id=session)
    await socket.hears("stream_token", 4)
    socket.say("stop_generation", request_id="a")
    await asyncio.sleep(1)
    socket.leave()
    await asyncio.sleep(40)
    assert [house.said(session)[-1] for session in "ab"] == [("one two ", "complete")] * 2
    assert [record.outcome for record in house.records()] == ["completed"] * 2


@simulated(engine=slow())
async def test_after_a_lost_socket_the_answer_is_read_on_from_where_it_was(house):
    socket = house.socket()
    socket.say("stream_chat", session_id="s", prompt="a b c d e", request_id="r")
    await socket.hears("stream_token", 2)
    socket.leave()
    await asyncio.sleep(1.5)
    again = house.socket()
    again.say("attach", request_id="r", index=2)
    end = await again.hears("stream_end")
    assert tokens(again, "r") == [(2, "c "), (3, "d "), (4, "e ")]
    assert (names(again)[0], end["tokens"]) == ("stream_start", 5)
    assert house.said()[-1] == ("a b c d e ", "complete")
    again.leave()


@simulated(chat={"grace": 30})
async def test_the_end_is_found_again_for_a_while(house):
    socket = house.socket()
    socket.say("stream_chat", session_id="s", prompt="a b c", request_id="r")
    await socket.hears("stream_end")
    socket.leave()
    await asyncio.sleep(29)
    again = house.socket()
    again.say("attach", request_id="r", index=1)
    await again.hears("stream_end")
    assert tokens(again, "r") == [(1, "b "), (2, "c ")]
    await asyncio.sleep(2)
    again.say("attach", request_id="r")
    assert (await again.hears("error"))["code"] == "not_found"
    again.leave()


@simulated(engine=slow())
async def test_nobody_else_finds_an_answer_nor_stops_it(house):
    socket, other = house.socket("ann"), house.socket("bob")
    socket.say("stream_chat", session_id="s", prompt="a b c", request_id="r")
    await socket.hears("stream_token")
    other.say("attach", request_id="r")
    other.say("stop_generation", request_id="r")
    await other.hears("error", 2)
    assert {data["code"] for _, data in other.heard} == {"not_found"}
    other.say("stream_chat", session_id="s", prompt="x", request_id="r")  # a name of one's own
    await socket.hears("stream_end")
    await other.hears("stream_end")
    assert tokens(other, "r") == [(0, "x ")]
    socket.leave()
    other.leave()


@simulated(engine=slow(), chat={"grace": 3})
async def test_an_answer_that_nobody_reads_ends_when_the_grace_is_over(house):
    socket = house.socket()
    socket.say("stream_chat", session_id="s", prompt="a b c d e f g h", request_id="r")
    await socket.hears("stream_token", 2)
    socket.leave()
    await asyncio.sleep(2.9)
    assert house.engine.running == 1
    await asyncio.sleep(0.2)
    assert house.engine.running == 0
    assert house.said()[-1] == ("a b c d ", "interrupted")
    assert [record.outcome for record in house.records()] == ["cancelled"]


@simulated(engine=slow())
async def test_a_name_is_taken_while_its_answer_is_given(house):
    socket = house.socket()
    for _ in range(2):
        socket.say("stream_chat", session_id="s", prompt="a b", request_id="r")
    assert (await socket.hears("error"))["code"] == "conflict"
    await socket.hears("stream_end")
    assert len(house.records()) == 1
    socket.leave()


@simulated(engine=slow())
async def test_a_place_that_is_not_there_yet_cannot_be_read(house):
    socket = house.socket()
    socket.say("stream_chat", session_id="s", prompt="a b", request_id="r")
    await socket.hears("stream_token")
    other = house.socket()
    other.say("attach", request_id="r", index=5)
    error = await other.hears("error")
    assert (error["param"], error["message"]) == ("index", "index is 5; the answer has 1 tokens so far.")
    socket.leave()
    other.leave()


@simulated(engine=slow(1.0, failure=UpstreamDied("gone"), after=2))
async def test_an_answer_that_fails_says_so_and_keeps_what_was_told(house):
    socket = house.socket()
    socket.say("stream_chat", session_id="s", prompt="a b c", request_id="r")
    error = await socket.hears("error")
    assert (error["code"], error["request_id"], error["message"]) == ("upstream_died", "r", "gone")
    assert house.said()[-1] == ("a b ", "failed")
    assert [(r.outcome, r.error, r.output_tokens) for r in house.records()] == [("failed", "upstream_died", 2)]
    socket.leave()


@simulated(limits={"requests_per_hour": 2})
async def test_each_chat_of_a_socket_counts(house):
    socket = house.socket()
    for number in range(3):
        socket.say("stream_chat", session_id="s", prompt="a", request_id=f"{number}")
    error = await socket.hears("error")
    assert (error["code"], error["request_id"]) == ("rate_limit_exceeded", "2")
    assert error["retry_after"] > 3000
    assert (await house.post({"session_id": "s", "prompt": "a"}).task).status == 429
    other = house.socket("bob")
    other.say("stream_chat", session_id="s", prompt="a")
    await other.hears("stream_end")
    socket.leave()
    other.leave()


@simulated(engine=slow(), limits={"chat_queue_size": 1})
async def test_the_line_is_bounded(house):
    socket = house.socket()
    for number in range(3):
        socket.say("stream_chat", session_id=f"{number}", prompt="a b", request_id=f"{number}")
        await asyncio.sleep(0.01)
    error = await socket.hears("error")
    assert (error["code"], error["request_id"]) == ("queue_full", "2")
    assert house.said("2") == []  # refused before anything was said
    await socket.hears("stream_end", 2)
    socket.leave()


@simulated(chat={"max_answer_bytes": 1024})
async def test_an_answer_is_ended_where_it_gets_too_long(house):
    socket = house.socket()
    socket.say("stream_chat", session_id="s", prompt="x" * 600 + " " + "y" * 600 + " z", request_id="r")
    end = await socket.hears("stream_end")
    assert (end["finish_reason"], end["tokens"]) == ("length", 2)
    socket.leave()


@simulated(chat={"socket_idle_timeout": 60})
async def test_a_socket_where_nothing_happens_is_closed(house):
    socket, clock = house.socket(), asyncio.get_running_loop().time
    await asyncio.sleep(50)
    socket.say("ping")
    began = clock()
    await socket.task
    assert (socket.closed, 59 <= clock() - began <= 62) == ((1000, "idle"), True)


@simulated(engine=slow(20.0), chat={"socket_idle_timeout": 30})
async def test_a_socket_that_reads_is_not_idle(house):
    socket = house.socket()
    socket.say("stream_chat", **ASK)
    await socket.hears("stream_end")
    assert socket.closed is None
    await socket.task
    assert socket.closed == (1000, "idle")


@simulated(engine=slow(10.0), chat={"socket_lifetime": 15})
async def test_a_socket_has_a_longest_life_and_its_answer_goes_on(house):
    socket = house.socket()
    socket.say("stream_chat", session_id="s", prompt="a b", request_id="r")
    await socket.task
    assert (socket.closed, names(socket)) == ((1001, "lifetime"), ["stream_start", "stream_token"])
    again = house.socket()
    again.say("attach", request_id="r", index=1)
    await again.hears("stream_end")
    again.leave()


@simulated(engine=slow())
async def test_when_the_service_stops_answers_end_first(house):
    socket, idle = house.socket(), house.socket()
    socket.say("stream_chat", session_id="s", prompt="a b c", request_id="r")
    await socket.hears("stream_token")
    house.stopping.set()
    await idle.task
    assert idle.closed == (1012, "shutting_down")
    socket.say("stream_chat", session_id="s", prompt="d", request_id="q")
    assert (await socket.hears("error"))["code"] == "shutting_down"
    await socket.hears("stream_end")
    await socket.task
    assert socket.closed == (1012, "shutting_down")
    late = house.socket()
    await late.task
    assert late.closed == (1012, "shutting_down")


@simulated()
async def test_nothing_is_said_after_a_farewell(house):
    socket = house.socket()
    socket.say("ping")
    await socket.hears("pong")
    socket.reads.clear()
    house.stopping.set()
    await asyncio.sleep(0.1)
    socket.say("ping")
    await asyncio.sleep(0.1)
    socket.reads.set()
    await socket.task
    assert (socket.closed, names(socket)) == ((1012, "shutting_down"), ["pong"])


@simulated()
async def test_a_key_that_is_taken_away_asks_no_more(house):
    socket = house.socket()
    socket.say("stream_chat", **ASK)
    await socket.hears("stream_end")
    house.known.gone.add("ann")
    socket.say("stream_chat", **ASK)
    assert (await socket.hears("error"))["code"] == "invalid_api_key"
    await socket.task
    assert (socket.closed, len(house.records())) == ((1008, "invalid_api_key"), 1)


@simulated(engine=slow(), slots=2)
async def test_who_does_not_read_slows_nobody_and_misses_nothing(house):
    stuck, other = house.socket("ann"), house.socket("bob")
    await asyncio.sleep(0)
    stuck.say("stream_chat", session_id="s", prompt="a b c d", request_id="r")
    await stuck.hears("stream_start")
    stuck.reads.clear()
    began = asyncio.get_running_loop().time()
    other.say("stream_chat", session_id="s", prompt="a b c d", request_id="r")
    await other.hears("stream_end")
    assert asyncio.get_running_loop().time() - began < 4.1
    stuck.reads.set()
    await stuck.hears("stream_end")
    assert tokens(stuck, "r") == tokens(other, "r")
    stuck.leave()
    other.leave()


@simulated(server={"cors_origins": ["https://chat.example"]})
async def test_only_pages_that_may_open_a_socket(house):
    for headers, welcome in [
        ({"Origin": "https://chat.example"}, True),
        ({"Origin": "https://here.example", "Host": "here.example"}, True),
        ({"Origin": "https://evil.example", "Host": "here.example"}, False),
        ({"Origin": "null", "Host": "here.example"}, False),
        ({}, True),
    ]:
        socket = house.socket(**headers)
        socket.leave()
        await socket.task
        assert socket.accepted is welcome, headers
        assert socket.closed == (None if welcome else (1008, "permission_denied"))


@pytest.mark.parametrize("path", ["/ws", "/ws?token=", "/ws?token=a&token=b"])
def test_without_a_key_nobody_comes_in(path):
    @simulated()
    async def scene(house):
        caller = SocketCaller(house.door, path)
        await caller.run()
        assert (caller.accepted, caller.closed) == (False, (1008, "invalid_api_key"))

    scene()


@simulated()
async def test_the_answer_to_a_refused_handshake_says_why_where_the_server_can(house):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": [], "extensions": {}}
    scope["extensions"]["websocket.http.response"] = {}
    await house.door(scope, receive, send)
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[0]["status"] == 401
    assert json.loads(sent[1]["body"])["error"]["code"] == "invalid_api_key"
    assert b"x-request-id" in dict(sent[0]["headers"])


@simulated(chat={"max_sockets": 2})
async def test_a_user_has_so_many_sockets_and_no_more(house):
    first, second = house.socket(), house.socket()
    third, other = house.socket(), house.socket("bob")
    await third.task
    assert (third.accepted, third.closed) == (False, (1008, "rate_limit_exceeded"))
    first.leave()
    await first.task
    fourth = house.socket()
    for socket in (second, other, fourth):
        socket.say("ping")
        await socket.hears("pong")
        socket.leave()
