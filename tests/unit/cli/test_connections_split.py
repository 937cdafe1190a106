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


@settings(max_examples=60, deadline=None)
@given(st.lists(TO_THE_LANE, min_size=1, max_size=5), CUTS)
def test_a_lane_hears_the_same(asked, sizes):
    stream = b"".join(asked)
    assert served(stream, sizes, settle=False) == served(stream)
    assert len(served(stream)[0]) == len(asked)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(TO_THE_LANE, TO_ASGI), min_size=1, max_size=5), CUTS, st.booleans())
def test_a_caller_hears_the_same_whoever_answers(asked, sizes, settle):
    stream = b"".join(asked)
    lane, application, sent = served(stream, sizes, settle=settle)
    nobody = served(stream, do=lambda call: False)
    assert sent == nobody[2]
    assert sorted([body for _, _, body in lane] + application) == sorted(nobody[1])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(TO_THE_LANE, TO_ASGI), min_size=1, max_size=3), st.binary(max_size=40), CUTS)
def test_what_is_no_http_ends_it_however_it_is_cut(asked, noise, sizes):
    stream = b"".join(asked) + b"POST /lane HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" + noise
    for one in (served(stream, sizes), served(stream, sizes, do=lambda call: False)):
        assert one[2].count(b"HTTP/1.1 400 Bad Request") == 1
        assert one[2].endswith(b"Invalid HTTP request received.")
