"""What a connection offers to a lane, and what becomes of that."""

import asyncio
import gc
import weakref

import pytest

from enginehouse.testing import simulate
from tests.unit.cli.wires import Application, Lane, Line, answer, answered, keep, refuse, request

MIB = 1024 * 1024


def run(scene):
    """A scene, in simulated time."""
    return simulate(scene())


async def test_a_lane_gets_the_whole_request_and_answers_it_without_asgi():
    line = Line(Lane(answer))
    said = request(b"hello", "/lane", b"X-Request-ID: Abc", b"authorization: Bearer Me")
    assert await line.ask(said) == answered(b"/lane hello")
    (call,) = line.lane.calls
    assert (call.path, call.body, call.gone) == ("/lane", b"hello", False)
    assert call.headers == [
        (b"host", b"here"),
        (b"x-request-id", b"Abc"),
        (b"authorization", b"Bearer Me"),
        (b"content-length", b"5"),
    ]
    assert line.application.scopes == []
    assert line.state.total_requests == 1
    assert line.wire.writes == 1


async def test_a_connection_carries_one_request_after_the_other():
    line = Line(Lane(answer))
    for number in range(5):
        assert await line.ask(request(b"%d" % number)) == answered(b"/lane %d" % number)
    assert await line.ask(request(path="/else")) == answered(b"/else hello")
    assert await line.ask(request(b"again")) == answered(b"/lane again")
    assert len(line.lane.calls) == 6
    assert len(line.application.scopes) == 1
    assert line.state.total_requests == 7


async def test_an_empty_body_is_a_body():
    line = Line(Lane(answer))
    assert await line.ask(request(b"")) == answered(b"/lane ")
    assert line.lane.calls[0].body == b""


def test_began_is_when_the_head_was_in():
    async def scene():
        line, clock = Line(Lane(answer)), asyncio.get_running_loop().time
        said = request(b"0123456789")
        for piece in (said[:9], said[9:-5], said[-5:]):
            await asyncio.sleep(1)
            line.say(piece)
        return line.lane.calls[0].began, clock()

    assert run(scene) == (2, 3)


NOT_FOR_A_LANE = {
    "another path": request(path="/lanes"),
    "a query": request(path="/lane?x=1"),
    "an encoded path": request(path="/l%61ne"),
    "a whole address": request(path="http://here/lane"),
    "another method": request(method="PUT"),
    "a body in chunks": request(b"5\r\nhello\r\n0\r\n\r\n", "/lane", b"Transfer-Encoding: chunked", length=False),
    "no length": request(b"", length=False),
    "a question first": request(b"hello", "/lane", b"Expect: 100-continue"),
    "an offer to change": request(b"hello", "/lane", b"Upgrade: h2c"),
    "another one to change": request(
        b"hello", "/lane", b"Connection: Upgrade", b"Upgrade: websocket", method="GET"
    ),
    "an old caller": request(b"hello", "/lane", b"Connection: keep-alive", version="1.0"),
    "too much": request(b"x" * (MIB + 1)),
}


@pytest.mark.parametrize("said", NOT_FOR_A_LANE.values(), ids=NOT_FOR_A_LANE)
async def test_what_is_unusual_goes_uvicorns_way_untouched(said):
    line, bare = Line(Lane(answer), ws="none"), Line(kind="uvicorn", ws="none")
    assert await line.ask(said) == await bare.ask(said) != b""
    assert line.lane.calls == []
    assert line.application.bodies == bare.application.bodies
    assert [_bare(scope) for scope in line.application.scopes] == bare.application.scopes


async def test_the_largest_body_is_offered():
    line = Line(Lane(answer))
    await line.ask(request(b"x" * MIB))
    assert len(line.lane.calls[0].body) == MIB


async def test_nothing_is_offered_where_requests_are_limited():
    line = Line(Lane(answer), limit_concurrency=10)
    assert await line.ask(request()) == answered(b"/lane hello")
    assert line.lane.calls == []


def _bare(scope):
    return {key: value for key, value in scope.items() if key != "leaving"}


SAYINGS = {
    "plain": request(),
    "headers twice": request(b"{}", "/lane", b"X-A: 1", b"x-a: 2", b"Cookie: a=b"),
    "last": request(b"{}", "/lane", b"Connection: close"),
    "empty": request(b""),
}


@pytest.mark.parametrize("said", SAYINGS.values(), ids=SAYINGS)
@pytest.mark.parametrize("root", ["", "/below"])
async def test_a_refused_request_is_to_asgi_as_though_there_were_no_lane(said, root):
    lines = [Line(Lane(refuse), root_path=root), Line(root_path=root), Line(kind="uvicorn", root_path=root)]
    sent = [await line.ask(said) for line in lines]
    scopes = [[_bare(scope) for scope in line.application.scopes] for line in lines]
    assert len(lines[0].lane.calls) == 1
    assert sent[0] == sent[1] == sent[2] != b""
    assert scopes[0] == scopes[1] == scopes[2]
    assert lines[0].application.bodies == lines[2].application.bodies
    assert [line.wire.is_closing() for line in lines] == 3 * [b"close" in said]
    assert [line.state.total_requests for line in lines] == [1, 1, 1]


async def test_refusals_and_answers_may_follow_each_other():
    refuses = iter([True, False, True, False])
    line = Line(Lane(lambda call: not next(refuses) and answer(call)))
    for number in range(4):
        assert await line.ask(request(b"%d" % number)) == answered(b"/lane %d" % number)
    assert line.application.bodies == [b"0", b"2"]


async def test_a_call_can_be_handed_over_later_with_what_was_learnt():
    line = Line(Lane(keep))
    assert await line.ask(request()) == b""
    line.lane.calls[0].hand_over(key="abc")
    await line.rest()
    assert line.sent == answered(b"/lane hello")
    assert line.application.scopes[0]["extensions"] == {"enginehouse": {"key": "abc"}}
    assert await line.ask(request(b"next", "/else")) == answered(b"/else next")


async def test_what_was_begun_is_not_handed_over():
    line = Line(Lane(keep))
    await line.ask(request())
    (call,) = line.lane.calls
    call.write(call.opening())
    with pytest.raises(AssertionError):
        call.hand_over()
    assert line.application.scopes == []


async def test_a_handed_over_call_of_somebody_who_has_left_is_told_so():
    line = Line(Lane(keep))
    await line.ask(request())
    line.wire.leave()
    line.lane.calls[0].hand_over()
    await line.rest()
    (scope,) = line.application.scopes
    told = []
    scope["leaving"].hear(lambda: told.append(1))
    assert told == [1]
    assert line.application.left == 1
    assert line.sent == b""


async def test_an_answer_may_come_in_pieces_and_later():
    line = Line(Lane(keep))
    await line.ask(request())
    (call,) = line.lane.calls
    call.write(call.opening() + b"content-length: 4\r\n\r\nab")
    await line.rest()
    call.write(b"cd")
    call.end()
    assert line.sent == answered(b"abcd")
    assert await line.ask(request(b"x", "/else")) == answered(b"/else x")


async def test_nothing_is_written_once_an_answer_is_complete():
    line = Line(Lane(answer))
    await line.ask(request())
    (call,) = line.lane.calls
    call.write(b"more")
    call.end()
    assert line.sent == answered(b"/lane hello")
    assert line.state.total_requests == 1


# Requests behind one another.


async def test_requests_that_come_at_once_are_all_offered_where_answers_come_at_once():
    line = Line(Lane(answer))
    assert await line.ask(request(b"a") + request(b"b") + request(b"c")) == b"".join(
        answered(b"/lane " + word) for word in (b"a", b"b", b"c")
    )
    assert [call.body for call in line.lane.calls] == [b"a", b"b", b"c"]


async def test_of_very_many_that_come_at_once_some_are_left_to_asgi():
    line = Line(Lane(answer))
    words = [b"%d" % number for number in range(24)]
    said = await line.ask(b"".join(map(request, words)))
    assert [call.body for call in line.lane.calls] == words[:16]
    assert said.count(b"HTTP/1.1 200 OK") == 24
    await line.ask(request(b"later"))
    assert line.lane.calls[-1].body == b"later"


async def test_nothing_is_offered_for_one_who_does_not_read():
    line = Line(Lane(answer))
    await line.ask(request())
    line.connection.pause_writing()
    await line.ask(request())
    assert len(line.lane.calls) == 1
    line.connection.resume_writing()


async def test_a_request_behind_one_that_is_unanswered_waits_and_goes_to_asgi():
    line = Line(Lane(keep))
    assert await line.ask(request(b"a") + request(b"b") + request(b"c", "/else")) == b""
    assert not line.wire.reading
    assert [call.body for call in line.lane.calls] == [b"a"]
    assert line.application.scopes == []
    answer(line.lane.calls[0])
    await line.rest()
    assert line.sent == answered(b"/lane a") + answered(b"/lane b") + answered(b"/else c")
    assert line.wire.reading
    line.say(request(b"d"))
    assert [call.body for call in line.lane.calls] == [b"a", b"d"]


async def test_a_connection_is_read_again_also_where_nobody_asks_for_a_body():
    async def quick(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    line = Line(Lane(keep), quick)
    await line.ask(request(b"a") + request(b"b"))
    answer(line.lane.calls[0])
    await line.rest()
    assert line.wire.reading


async def test_a_call_behind_asgi_goes_to_asgi():
    line = Line(Lane(answer))
    assert await line.ask(request(b"a", "/else") + request(b"b")) == answered(b"/else a") + answered(b"/lane b")
    assert line.lane.calls == []


async def test_a_handed_over_call_is_before_those_behind_it():
    line = Line(Lane(keep))
    await line.ask(request(b"a") + request(b"b") + request(b"c"))
    line.lane.calls[0].hand_over()
    await line.rest()
    assert line.sent == answered(b"/lane a") + answered(b"/lane b") + answered(b"/lane c")
    assert await line.ask(request(b"d", "/else")) == answered(b"/else d")


async def test_a_call_is_handed_over_while_the_body_of_the_next_is_coming():
    line = Line(Lane(keep))
    said = request(b"0123456789", "/else")
    await line.ask(request(b"a") + said[:-5])
    line.lane.calls[0].hand_over()
    line.say(said[-5:])
    await line.rest()
    assert line.sent == answered(b"/lane a") + answered(b"/else 0123456789")


async def test_a_known_head_does_not_overtake():
    line = Line(Lane(lambda call: call.body == b"b" or answer(call)))
    await line.ask(request(b"a"))
    await line.ask(request(b"b"))
    assert await line.ask(request(b"c")) == b""
    answer(line.lane.calls[1])
    await line.rest()
    assert line.sent == answered(b"/lane a") + answered(b"/lane b") + answered(b"/lane c")
    assert line.application.bodies == [b"c"]


@pytest.mark.parametrize(
    "length", [b"1_0", b"+10", b"10 ", b"010", b"", b"0x0a", b"\xb2", b"9", b"11", b"00000010"]
)
async def test_only_a_plain_length_is_known(length):
    line, parsed = Line(Lane(answer)), Line(Lane(answer))
    said = request(b"0123456789").replace(b"Length: 10", b"Length: " + length)
    await line.ask(request(b"0123456789"))
    known = await line.ask(said)
    assert known == await parsed.ask(said)
    assert [call.body for call in line.lane.calls[1:]] == [call.body for call in parsed.lane.calls]


async def test_several_with_known_heads_may_come_at_once_or_in_pieces():
    line, said = Line(Lane(answer)), request(b"a") + request(b"bc") + request(b"def")[:-2]
    await line.ask(request(b"0"))
    await line.ask(said)
    await line.ask(b"ef")
    assert [call.body for call in line.lane.calls] == [b"0", b"a", b"bc", b"def"]


async def test_heads_that_come_at_once_are_not_taken_for_each_other():
    line, first, second = Line(Lane(answer)), request(b"a", "/lane", b"X-A: 1"), request(b"b", "/lane", b"X-A: 2")
    await line.ask(first + second)
    await line.ask(first)
    assert [dict(call.headers)[b"x-a"] for call in line.lane.calls] == [b"1", b"2", b"1"]


async def test_too_much_is_too_much_also_below_a_known_head():
    line = Line(Lane(answer))
    await line.ask(request())
    await line.ask(request(b"x" * (MIB + 1)))
    assert len(line.lane.calls) == 1
    assert [len(body) for body in line.application.bodies] == [MIB + 1]


async def test_a_body_that_looks_like_a_known_request_is_a_body():
    line, known = Line(Lane(answer)), request(b"abc")
    await line.ask(known)
    said = request(known)
    await line.ask(said[: -len(known)])
    await line.ask(known)
    assert [call.body for call in line.lane.calls] == [b"abc", known]


async def test_a_head_is_known_only_where_it_stood_alone():
    line, odd = Line(Lane(answer)), b"POST " + request(b"abc")
    said = request(b"it ends with POST ")
    await line.ask(said[: -len(b"POST ")])
    await line.ask(odd)
    assert [call.body for call in line.lane.calls] == [b"it ends with POST ", b"abc"]
    assert (await line.ask(odd)).startswith(b"HTTP/1.1 400")


async def test_the_head_of_the_next_may_come_before_the_answer():
    line = Line(Lane(keep))
    await line.ask(request(b"a") + b"POST /la")
    line.lane.calls[0].hand_over()
    await line.rest()
    assert line.sent == answered(b"/lane a")
    await line.ask(request(b"b").removeprefix(b"POST /la"))
    assert [call.body for call in line.lane.calls] == [b"a", b"b"]
    assert line.lane.calls[1].headers == [(b"host", b"here"), (b"content-length", b"1")]


# Ends.


async def test_a_last_answer_says_so_and_ends_the_connection():
    line = Line(Lane(answer))
    said = request(b"a", "/lane", b"Connection: close")
    assert await line.ask(said + request(b"b")) == answered(b"/lane a", last=True)
    assert line.wire.lost
    assert [call.body for call in line.lane.calls] == [b"a"]


async def test_who_leaves_is_told_to_the_lane_at_once_and_gets_no_more():
    line, told = Line(Lane(keep)), []
    await line.ask(request())
    (call,) = line.lane.calls
    call.hear(lambda: told.append("left"))
    assert told == []
    line.wire.leave()
    assert (told, call.gone) == (["left"], True)
    call.write(b"words")
    call.end()
    assert line.sent == b""
    assert line.state.total_requests == 0
    call.hear(lambda: told.append("had left"))
    assert told == ["left", "had left"]


async def test_who_hears_no_more_is_told_nothing():
    line, told = Line(Lane(keep)), []
    await line.ask(request())
    line.lane.calls[0].hear(lambda: told.append(1))
    line.lane.calls[0].hear(None)
    line.wire.leave()
    assert told == []


async def test_who_hears_is_told_when_the_service_waits_no_longer():
    line, told = Line(Lane(keep)), []
    await line.ask(request())
    (call,) = line.lane.calls
    line.connection.cut_off()
    call.hear(lambda: told.append(call.gone))
    line.connection.cut_off()
    assert told == [False]
    answer(call)
    line.connection.cut_off()
    assert told == [False]


async def test_leaving_after_the_answer_is_nothing():
    line, told = Line(Lane(lambda call: call.hear(lambda: told.append(1)) or answer(call))), []
    await line.ask(request())
    line.wire.leave()
    assert told == []
    assert not line.lane.calls[0].gone


async def test_leaving_is_noticed_while_requests_wait_behind():
    line, told = Line(Lane(keep)), []
    await line.ask(request(b"a") + request(b"b"))
    assert not line.wire.reading
    line.lane.calls[0].hear(lambda: told.append(1))
    assert line.wire.reading


async def test_who_leaves_before_its_body_is_there_is_told_to_asgi_as_ever():
    line, bare = Line(Lane(answer)), Line(kind="uvicorn")
    for one in (line, bare):
        await one.ask(request(b"0123456789")[:-5])
        one.wire.leave()
        await one.rest()
    assert line.lane.calls == []
    assert line.application.left == bare.application.left == 1
    assert line.connection._offers.awaited == 0


@pytest.mark.parametrize(
    "said", [b"GARBAGE\r\n\r\n", b"POST /lane HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"\x16\x03\x01"]
)
async def test_what_is_no_http_is_answered_as_ever(said):
    line, bare = Line(Lane(answer)), Line(kind="uvicorn")
    assert await line.ask(said) == await bare.ask(said)
    assert line.sent.startswith(b"HTTP/1.1 400")
    assert line.wire.lost


async def test_garbage_behind_a_call_ends_it():
    line, told = Line(Lane(lambda call: call.hear(lambda: told.append(1)) or True)), []
    await line.ask(request() + b"GARBAGE\r\n\r\n")
    assert line.wire.lost
    assert told == [1]


# Mistakes of a lane.


async def test_a_lane_that_fails_has_refused():
    def fail(call):
        raise ValueError("a mistake")

    line = Line(Lane(fail))
    assert await line.ask(request()) == answered(b"/lane hello")
    assert line.application.bodies == [b"hello"]


async def test_a_lane_that_fails_within_an_answer_ends_the_connection():
    def fail(call):
        call.write(call.opening())
        raise ValueError("a mistake")

    line = Line(Lane(fail))
    await line.ask(request())
    assert line.wire.lost
    assert line.application.bodies == []


async def test_a_lane_that_fails_after_its_answer_has_answered():
    def fail(call):
        answer(call)
        raise ValueError("a mistake")

    line = Line(Lane(fail))
    assert await line.ask(request()) == answered(b"/lane hello")
    assert await line.ask(request(b"b")) == answered(b"/lane b")


# Too much.


async def test_who_does_not_read_pauses_the_lane():
    line, told = Line(Lane(keep)), []
    await line.ask(request())
    (call,) = line.lane.calls
    call.full(told.append)
    line.connection.pause_writing()
    line.connection.resume_writing()
    call.full(None)
    line.connection.pause_writing()
    assert told == [True, False]
    call.full(told.append)
    assert told == [True, False, True]


async def test_a_body_in_very_small_pieces_is_put_together_once():
    line = Line(Lane(answer))
    body = bytes(range(256)) * 400
    said = request(body)
    for at in range(0, len(said), 7):
        line.say(said[at : at + 7])
    assert line.lane.calls[0].body == body
    assert line.connection._offers.awaited == 0


async def test_bodies_that_are_waited_for_are_bounded_over_all_connections():
    line = Line(Lane(answer))
    line.connection._offers.awaited = 64 * MIB
    said = request(b"x" * 1000)
    await line.ask(said[:-1])
    assert len(line.application.scopes) == 1
    assert line.connection._offers.awaited == 64 * MIB
    assert await line.ask(said[-1:]) == answered(b"/lane " + b"x" * 1000)
    assert line.lane.calls == []


# Time.


def test_an_idle_connection_ends_after_the_keep_alive_time_counted_from_its_last_answer():
    async def scene():
        line = Line(Lane(answer))
        await asyncio.sleep(70)
        line.say(request())
        await asyncio.sleep(74)
        alive = not line.wire.lost
        line.say(request(path="/else"))
        await asyncio.sleep(74.9)
        still = not line.wire.lost
        await asyncio.sleep(0.2)
        return alive, still, line.wire.lost

    assert run(scene) == (True, True, True)


def test_an_answer_may_take_its_time():
    async def scene():
        line = Line(Lane(keep))
        line.say(request())
        await asyncio.sleep(1000)
        assert not line.wire.lost
        answer(line.lane.calls[0])
        await asyncio.sleep(74)
        alive = not line.wire.lost
        await asyncio.sleep(2)
        return line.sent == answered(b"/lane hello"), alive, line.wire.lost

    assert run(scene) == (True, True, True)


@pytest.mark.parametrize(
    "said", [b"", b"POST /", b"POST /lane HTTP/1.1\r\nA:"], ids=["nothing", "a word", "half a head"]
)
def test_who_takes_too_long_for_a_head_is_cut_off(said):
    async def scene():
        line, began = Line(Lane(answer)), asyncio.get_running_loop().time()
        line.say(said)
        while not line.wire.lost:
            await asyncio.sleep(0.5)
            if said:
                line.say(b"x")
        return asyncio.get_running_loop().time() - began

    assert 75 <= run(scene) <= 76


def test_a_head_that_begins_late_has_its_own_time():
    async def scene():
        line, said = Line(Lane(answer)), request()
        await asyncio.sleep(74)
        line.say(said[:10])
        await asyncio.sleep(74)
        line.say(said[10:])
        return line.sent == answered(b"/lane hello")

    assert run(scene)


def test_a_body_that_is_too_slow_becomes_asgis():
    async def scene():
        line, said = Line(Lane(answer)), request(b"0123456789")
        line.say(said[:-5])
        await asyncio.sleep(76)
        begun = len(line.application.scopes)
        await asyncio.sleep(500)
        line.say(said[-5:])
        await line.rest()
        return begun, line.sent == answered(b"/lane 0123456789"), len(line.lane.calls)

    assert run(scene) == (1, True, 0)


def test_the_rest_of_a_body_that_nobody_wants_may_take_its_time():
    async def early(scope, receive, send):
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def scene():
        line = Line(None, early)
        said = request(b"x" * 100)
        line.say(said[:-100])
        for _ in range(99):
            await asyncio.sleep(10)
            line.say(b"x")
        alive = not line.wire.lost
        line.say(b"x" + request())
        await line.rest()
        return alive, line.sent.count(b"HTTP/1.1 401")

    assert run(scene) == (True, 2)


def test_a_connection_that_has_ended_leaves_no_timer():
    async def scene():
        line = Line(Lane(answer))
        await line.ask(request())
        line.wire.leave()
        return line.connection._timer

    assert run(scene) is None


async def test_whoever_takes_a_connection_over_is_not_cut_off_by_its_timer():
    line = Line(Lane(answer))
    await line.ask(request())
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
    line.say(
        request(b"", "/ws", *upgrade, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", method="GET", length=False)
    )
    assert line.wire.protocol is not line.connection
    assert line.connection._timer is None
    await line.rest()
    assert [scope["type"] for scope in line.application.scopes] == ["websocket"]
    line.wire.leave()
    await line.rest()


async def test_an_idle_connection_holds_nothing_of_its_last_request():
    line = Line(Lane(answer))
    for said in (request(), request(path="/else"), request(b"", "/else", method="GET")):
        await line.ask(said)
        connection = line.connection
        held = (connection.cycle, connection.scope, connection.headers, connection._running, connection._coming)
        assert held == (None, None, [], None, None)


class Answering:
    """Who answers, and knows the call, which knows it."""

    def __init__(self, call):
        self.call = call
        call.hear(self.stop)
        call.full(self.fill)

    def stop(self):
        pass

    def fill(self, full):
        pass


@pytest.mark.parametrize("end", ["answered", "handed over", "left"])
async def test_what_is_over_is_held_by_nobody_and_nothing_is_left_to_the_garbage_collector(end):
    line, kept = Line(Lane(lambda call: bool(kept.append(Answering(call))) or True)), []
    line.say(request())
    answering = kept.pop()
    call, gone = line.lane.calls.pop(), weakref.ref(answering)
    gc.collect()
    gc.disable()
    try:
        if end == "handed over":
            call.hand_over()
        else:
            if end == "left":
                line.wire.leave()
            answer(call)
        del call, answering
        await line.rest()
        assert gone() is None
    finally:
        gc.enable()


# The server stops.


async def test_an_idle_connection_ends_when_the_server_stops():
    line = Line(Lane(answer))
    await line.ask(request())
    line.connection.shutdown()
    assert line.wire.is_closing()


async def test_a_call_is_answered_yet_when_the_server_stops_and_is_the_last():
    line = Line(Lane(keep))
    await line.ask(request())
    line.connection.shutdown()
    assert not line.wire.is_closing()
    answer(line.lane.calls[0])
    assert line.sent == answered(b"/lane hello", last=True)
    await line.rest()
    assert line.wire.lost
    assert not line.state.connections


async def test_a_stream_that_has_begun_ends_its_connection_when_the_server_stops():
    line = Line(Lane(keep))
    await line.ask(request())
    (call,) = line.lane.calls
    call.write(call.opening() + b"content-length: 2\r\n\r\na")
    line.connection.shutdown()
    call.write(b"b")
    call.end()
    assert line.sent == answered(b"ab")
    await line.rest()
    assert line.wire.lost


async def test_a_handed_over_call_is_the_last_when_the_server_stops():
    line = Line(Lane(keep))
    await line.ask(request())
    line.connection.shutdown()
    line.lane.calls[0].hand_over()
    await line.rest()
    assert b"connection: close\r\n" in line.sent
    assert line.wire.lost


async def test_requests_that_wait_behind_a_call_are_answered_yet_when_the_server_stops():
    line = Line(Lane(keep))
    await line.ask(request(b"a") + request(b"b"))
    line.connection.shutdown()
    answer(line.lane.calls[0])
    await line.rest()
    assert line.sent.startswith(answered(b"/lane a"))
    assert line.sent.count(b"connection: close\r\n") == 1
    assert line.sent.endswith(b"/lane b")
    assert line.wire.lost


async def test_a_body_that_is_not_there_when_the_server_stops_is_asgis():
    line, bare = Line(Lane(answer)), Line(kind="uvicorn")
    said = request(b"0123456789")
    for one in (line, bare):
        await one.ask(said[:-5])
        one.connection.shutdown()
        await one.ask(said[-5:])
    assert line.lane.calls == []
    assert b"connection: close" in line.sent
    assert line.wire.lost
    assert line.application.bodies == bare.application.bodies == [b"0123456789"]


async def test_a_task_of_a_lane_is_the_servers():
    line = Line(Lane(keep))
    await line.ask(request())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.sleep(0))
        line.lane.calls[0].adopt(task)
        assert line.state.tasks == {task}
    await line.rest()
    assert line.state.tasks == set()


async def test_the_server_knows_asgis_tasks():
    waits = asyncio.Event()

    async def slow(scope, receive, send):
        await waits.wait()
        await Application()(scope, receive, send)

    line = Line(Lane(refuse), slow)
    await line.ask(request())
    assert len(line.state.tasks) == 1
    waits.set()
    await line.rest()
    assert not line.state.tasks
    assert line.sent == answered(b"/lane hello")


# Headers of the server.


async def test_an_answer_begins_as_the_server_says_now():
    line = Line(Lane(answer))
    await line.ask(request())
    line.state.default_headers = [(b"date", b"tomorrow")]
    assert (await line.ask(request())).startswith(b"HTTP/1.1 200 OK\r\ndate: tomorrow\r\ncontent-length")
    call = line.lane.calls[0]
    assert call.opening() is call.opening()
