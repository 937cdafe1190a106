"""However the network cuts a stream of requests into pieces, the same is heard and the same is said."""

import asyncio
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.cli.wires import Lane, Line, answer, request

BODIES = st.binary(max_size=200)
HEADERS = st.lists(
    st.sampled_from([b"X-A: 1", b"x-a:2", b"Authorization: Bearer me", b"Accept: */*", b"X-Empty:"]), max_size=4
)


def chunked(body):
    pieces = [body[at : at + 50] for at in range(0, len(body), 50)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return request(framed, "/lane", b"Transfer-Encoding: chunked", length=False)


TO_THE_LANE = st.builds(lambda body, more: request(body, "/lane", *more), BODIES, HEADERS)
TO_ASGI = st.one_of(
    st.builds(partial(request, path="/else"), BODIES),
    st.builds(chunked, BODIES),
    st.builds(lambda body: request(body, "/lane", b"Expect: 100-continue"), BODIES),
    st.just(request(b"", "/else", method="GET", length=False)),
    st.just(request(b"", "/lane?a=b")),
)
CUTS = st.lists(st.integers(min_value=1, max_value=60), min_size=1, max_size=40)


def pieces(stream, sizes):
    at, turn = 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        yield stream[at : at + size]
        at, turn = at + size, turn + 1


def heard(lane):
    return [(call.path, call.headers, call.body) for call in lane.calls]


def served(stream, sizes=None, do=answer, *, settle=True):
    """What the lane heard, what the application heard, and what was said, of a stream in pieces of these sizes."""

    async def scene():
        line = Line(Lane(do))
        for piece in pieces(stream, sizes or [len(stream)]):
            line.say(piece)
            if settle:
                await line.rest()
        for _ in range(30):
            await line.rest()
        return heard(line.lane), line.application.bodies, line.sent

    return asyncio.run(scene())


@settings(max_examples=40, deadline=None)
@given(st.lists(TO_THE_LANE, min_size=1, max_size=5), CUTS)
def test_a_lane_hears_the_same(asked, sizes):
    stream = b"".join(asked)
    assert served(stream, sizes, settle=False) == served(stream)
    assert len(served(stream)[0]) == len(asked)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(TO_THE_LANE, TO_ASGI), min_size=1, max_size=5), CUTS, st.booleans())
def test_a_caller_hears_the_same_whoever_answers(asked, sizes, settle):
    stream = b"".join(asked)
    lane, application, sent = served(stream, sizes, settle=settle)
    nobody = served(stream, do=lambda call: False)
    assert sent == nobody[2]
    assert sorted([body for _, _, body in lane] + application) == sorted(nobody[1])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(TO_THE_LANE, TO_ASGI), min_size=1, max_size=3), st.binary(max_size=40), CUTS)
def test_what_is_no_http_ends_it_however_it_is_cut(asked, noise, sizes):
    stream = b"".join(asked) + b"POST /lane HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" + noise
    for one in (served(stream, sizes), served(stream, sizes, do=lambda call: False)):
        assert one[2].count(b"HTTP/1.1 400 Bad Request") == 1
        assert one[2].endswith(b"Invalid HTTP request received.")


def spoilt(said, at, byte):
    at %= len(said)
    return said[:at] + bytes([byte]) + said[at + 1 :]


AS_IT_IS = st.builds(lambda body, more: request(body, "/lane", *more), BODIES, st.just([b"X-A: 1", b"Accept: */*"]))
SPOILT = st.builds(spoilt, AS_IT_IS, st.integers(0, 90), st.sampled_from(b"\r\n\t :019aPX\0+"))


def alone(asked, cut):
    """What the lane and the application heard, and what was said, of requests that wait for one another."""

    async def scene():
        line, said = Line(Lane(answer)), []
        for one in asked:
            for piece in (one[:cut], one[cut:]):
                line.say(piece)
            await line.rest()
            said.append(line.sent)
        return heard(line.lane), line.application.bodies, said

    return asyncio.run(scene())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(AS_IT_IS, SPOILT, TO_ASGI), min_size=2, max_size=6))
def test_a_head_that_is_known_is_heard_as_the_parser_hears_it(asked):
    assert alone(asked, 0) == alone(asked, 1)


def test_a_known_head_is_not_parsed_again():
    async def scene():
        line = Line(Lane(answer))
        await line.ask(request(b"abc"))
        line.connection.parser = None
        await line.ask(request(b"abcd" * 10))
        await line.ask(request(b""))
        await line.ask(request(b"xyz"))
        return line.lane.calls

    first, *others = asyncio.run(scene())
    assert [call.body for call in others] == [b"abcd" * 10, b"", b"xyz"]
    assert others[0].headers == [(b"host", b"here"), (b"content-length", b"40")]
    assert first.headers == others[2].headers == [(b"host", b"here"), (b"content-length", b"3")]


def test_what_a_lane_keeps_of_a_head_is_there_while_the_head_is_the_same():
    kept = []

    def keeps(call):
        kept.append(call.kept)
        call.kept = len(kept)
        return answer(call)

    async def scene():
        line = Line(Lane(keeps))
        for said in (
            request(b"a"),
            request(b"bb"),
            request(b"c", "/else"),
            request(b"ccc"),
            request(b"d", "/lane", b"X-A: 1"),
            request(b"e", "/lane", b"X-A: 1"),
            request(b"f", "/lane", b"X-A: 2"),
            request(b"g"),
        ):
            await line.ask(said)

    asyncio.run(scene())
    assert kept == [None, 1, 2, None, 4, None, None]
