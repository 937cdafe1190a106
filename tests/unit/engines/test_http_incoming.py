"""Answers that nobody's task reads: gathered, or told piece by piece in the loop's callback."""

import asyncio
from contextlib import suppress

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.http.incoming import Unheard
from enginehouse.errors import UpstreamDied, UpstreamTimeout
from enginehouse.types.chunked import ENDING, LAST, chunk
from tests.pieces import by_the_piece
from tests.unit.engines.wire import chunked, connected, cut_up, measured

STREAM = "text/event-stream"
TYPED = b"Content-Type: text/event-stream; charset=utf-8\r\n"
ASKED = [b"POST / HTTP/1.1\r\n\r\n"]
PIECES = st.lists(st.binary(min_size=1, max_size=40) | st.just(chunk(b"no chunk")), max_size=8)
FRAMING = st.sampled_from([chunked, measured])
CUTS = st.lists(st.integers(min_value=0, max_value=2000), max_size=30)


def carried(connection, hear=None, total=None):
    return connection.carry(ASKED, total, None if hear is None else by_the_piece(hear), STREAM)


def waiting(awaitable):
    return asyncio.ensure_future(awaitable)


def answer_of(framing, pieces, status=200):
    return b"HTTP/1.1 %d Said\r\n" % status + TYPED + framing(pieces)


@given(pieces=PIECES, framing=FRAMING, interim=st.booleans(), status=st.sampled_from([200, 404, 503]), cuts=CUTS)
async def test_a_gathered_body_is_the_same_however_it_comes(pieces, framing, interim, status, cuts):
    connection, line, _, _ = connected()
    hints = b"\r\nHTTP/1.1 103 Hints\r\nX-Word: not\r\n\r\n" if interim else b""
    said = hints + answer_of(framing, pieces, status)
    for early in (True, False):
        answer = carried(connection)
        assert (answer.status, dict(answer.headers)) == (0, {})
        asking = waiting(answer.whole()) if early else None
        await asyncio.sleep(0)
        for piece in cut_up(said, cuts):
            connection.data_received(piece)
        assert await (asking or answer.whole()) == b"".join(pieces)
        assert (answer.status, answer.headers["content-TYPE"]) == (status, "text/event-stream; charset=utf-8")
        assert "x-word" not in answer.headers
        answer.leave()
    assert line.freed == [connection] * 2
    assert not line.over


@given(pieces=PIECES, framing=FRAMING, status=st.sampled_from([200, 503]), cuts=CUTS, early=st.booleans())
async def test_who_waits_without_a_task_has_the_same(pieces, framing, status, cuts, early):
    connection, line, _, _ = connected()
    answer, had = carried(connection), []

    def come():
        had.append((answer.status, answer.taken()))
        answer.leave()

    if early:
        answer.then(come)
    for piece in cut_up(answer_of(framing, pieces, status), cuts):
        assert not had
        connection.data_received(piece)
    if not early:
        answer.then(come)
    assert had == [(status, b"".join(pieces))]
    assert line.freed == [connection]
    assert not line.over


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(("came", "flaw"), [(b"", Unheard), (b"HTTP/1.1 200 OK\r\n", UpstreamDied)])
async def test_who_waits_without_a_task_hears_of_the_end_once(early, came, flaw):
    connection, line, _, _ = connected()
    answer, told = carried(connection), []
    if early:
        answer.then(lambda: told.append(answer.flaw))
    if came:
        connection.data_received(came)
    assert told == []
    with pytest.raises(UpstreamDied):
        answer.taken()
    line.abort()
    if not early:
        answer.then(lambda: told.append(answer.flaw))
    (said,) = told
    assert type(said) is flaw
    with pytest.raises(flaw):
        answer.taken()
    answer.leave()


async def test_who_has_left_is_told_nothing_any_more():
    connection, line, _, _ = connected()
    answer, told = carried(connection), []
    answer.then(lambda: told.append(1))
    answer.leave()
    line.abort()
    await asyncio.sleep(0)
    assert told == []


@given(pieces=PIECES, framing=FRAMING, cuts=CUTS, by_close=st.booleans())
async def test_what_is_told_is_the_same_however_it_comes(pieces, framing, cuts, by_close):
    connection, line, _, _ = connected()
    heard = []
    body = b"".join(pieces)
    said = b"HTTP/1.1 200 OK\r\n" + TYPED + b"\r\n" + body if by_close else answer_of(framing, pieces)
    answer = carried(connection, heard.append)
    ending = waiting(answer.over())
    for piece in cut_up(said, cuts):
        connection.data_received(piece)
        await asyncio.sleep(0)
    if by_close:
        line.abort()
    await ending
    assert b"".join(heard) == body
    assert b"" not in heard
    answer.leave()
    assert bool(line.freed) is not by_close


@st.composite
def chunks_in_turn(draw):
    """Chunks, most of them as they are written by nearly everybody, and cuts of which many fall between them."""
    ways = st.sampled_from([b"%x\r\n%b\r\n"] * 5 + [b"%X\r\n%b\r\n", b"00%x\r\n%b\r\n", b"%x;a=b\r\n%b\r\n"])
    inner = st.binary(min_size=1, max_size=8)
    pieces = draw(
        st.lists(inner | st.sampled_from([10, 15, 16, 300, 1100]).map(bytes) | inner.map(chunk), max_size=8)
    )
    wire = [draw(ways) % (len(piece), piece) for piece in pieces]
    edges, at = [0], 0
    for framed, piece in zip(wire, pieces, strict=True):
        opened = at + len(framed) - len(piece) - len(ENDING)
        at += len(framed)
        edges += draw(
            st.sampled_from([[at], [at], [at], [], [opened, at], [opened, at - len(ENDING), at], [at - 1]])
        )
    return pieces, cut_up(b"".join(wire), edges)


@given(
    told=chunks_in_turn(), end=st.sampled_from([[b"0\r\n\r\n"], [b"0\r\n", b"\r\n"], [b"0\r\na: b\r\n", b"\r\n"]])
)
async def test_so_is_what_comes_chunk_by_chunk(told, end):
    pieces, parts = told
    connection, line, _, _ = connected()
    heard = []
    answer = carried(connection, heard.append)
    connection.data_received(b"HTTP/1.1 200 OK\r\n" + TYPED + b"Transfer-Encoding: chunked\r\n\r\n")
    for part in [*parts, *end]:
        assert not answer.ended
        connection.data_received(part)
    await answer.over()
    assert b"".join(heard) == b"".join(pieces)
    answer.leave()
    assert line.freed == [connection]


async def test_a_chunk_that_comes_alone_is_told_as_it_came():
    connection, _, _, _ = connected()
    told = []
    connection.carry(ASKED, None, lambda *heard: told.append(heard), STREAM)
    head = b"HTTP/1.1 200 OK\r\n" + TYPED + b"Transfer-Encoding: chunked\r\n\r\n"
    for part in (head + b"1\r\na\r\n", b"10\r\n" + b"b" * 16 + b"\r\n", b"2\r\nc", b"c\r\n", b"3\r\nddd\r\n"):
        connection.data_received(part)
    alone = [(b"10\r\n" + b"b" * 16 + b"\r\n", 4), (b"3\r\nddd\r\n", 3)]
    assert told == [(b"a", 0), alone[0], (b"c", 0), (b"c", 0), alone[1]]


@pytest.mark.parametrize("garbage", [b"\r\n\r\n", b"x\r\ny\r\n", b"2\r\nabcd\r\n", b"-1\r\na\r\n"])
async def test_what_is_no_chunk_is_refused_between_chunks(garbage):
    connection, line, _, _ = connected()
    heard = []
    answer = carried(connection, heard.append)
    head = b"HTTP/1.1 200 OK\r\n" + TYPED + b"Transfer-Encoding: chunked\r\n\r\n"
    for part in (head, b"1\r\na\r\n", b"1\r\nb\r\n", garbage):
        connection.data_received(part)
    with pytest.raises(UpstreamDied):
        await answer.over()
    assert heard[:2] == [b"a", b"b"]
    assert line.over


@given(pieces=st.lists(st.binary(min_size=1, max_size=40), min_size=1), framing=FRAMING, cut=st.integers(0, 9999))
async def test_what_breaks_off_is_never_taken_for_whole(pieces, framing, cut):
    for heard in (None, []):
        connection, line, _, lost = connected()
        said = answer_of(framing, pieces)
        came = said[: cut % len(said)]
        answer = carried(connection, heard.append if heard is not None else None)
        if came:
            connection.data_received(came)
        line.abort()
        with pytest.raises(UpstreamDied) as told:
            await (answer.whole() if heard is None else answer.over())
        assert isinstance(told.value, Unheard) == (not came)
        answer.leave()
        assert lost == [connection]
        assert not line.freed


class Headers:
    """What httptools makes of a head."""

    def __init__(self):
        self.pairs = []
        self.complete = False

    def on_header(self, name, value):
        self.pairs.append((name.decode("latin-1"), value.decode("latin-1").rstrip(" \t")))

    def on_headers_complete(self):
        self.complete = True


NAMES = st.text("aBc-_1", min_size=1, max_size=6).map(str.encode)
VALUES = st.binary(max_size=12) | st.sampled_from([b"", b" ", b"a, b", b"  spaced\t", b"x:y", b"\xff\x80"])
LINES = st.lists(st.tuples(NAMES, st.sampled_from([b":", b": ", b":\t "]), VALUES), max_size=5)


@given(lines=LINES)
async def test_a_head_is_read_as_the_parser_reads_it(lines):
    said = b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b%b%b\r\n" % line for line in lines)
    said += b"Content-Length: 0\r\n\r\n"
    told = Headers()
    with suppress(httptools.HttpParserError):
        httptools.HttpResponseParser(told).feed_data(said)
    connection, _, _, _ = connected()
    answer = carried(connection)
    connection.data_received(said)
    assert bool(answer.status) is told.complete
    if told.complete:
        assert list(answer.headers.items()) == told.pairs


async def test_trailers_are_no_headers():
    connection, _, _, _ = connected()
    answer = carried(connection)
    connection.data_received(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Late: so\r\n\r\n"
    )
    assert (await answer.whole(), "x-late" in answer.headers) == (b"x", False)
    answer.leave()
    assert connection.idle


async def test_a_refusal_is_gathered_although_a_stream_was_asked_for():
    connection, line, _, _ = connected()
    heard = []
    answer = carried(connection, heard.append)
    connection.data_received(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nslow")
    await answer.over()
    assert (answer.status, answer.headers["retry-after"], await answer.whole()) == (429, "7", b"slow")
    answer.leave()
    assert heard == []
    assert line.freed == [connection]


@pytest.mark.parametrize(
    "kind",
    [
        b"",
        b"Content-Type: application/json\r\n",
        b"Content-Type: text/event-streams\r\n",
        b"Content-Type: text/html\r\nContent-Type: text/event-stream\r\n",
        b"X-Content-Type: text/event-stream\r\n",
    ],
)
async def test_what_is_no_stream_is_not_told(kind):
    connection, line, _, _ = connected()
    heard = []
    answer = carried(connection, heard.append)
    connection.data_received(b"HTTP/1.1 200 OK\r\n" + kind + measured([b"data: x\n\n"]))
    with pytest.raises(UpstreamDied, match="asked for a stream"):
        await answer.over()
    answer.leave()
    assert (heard, line.over) == ([], True)


@pytest.mark.parametrize(
    "kind", [b"content-TYPE:Text/Event-Stream\r\n", b"Content-Type: text/event-stream ;x=y\r\n"]
)
async def test_a_stream_is_one_however_it_is_written(kind):
    connection, _, _, _ = connected()
    heard = []
    answer = carried(connection, heard.append)
    connection.data_received(b"HTTP/1.1 200 OK\r\n" + kind + measured([b"data: x\n\n"]))
    await answer.over()
    assert heard == [b"data: x\n\n"]


async def told_all():
    """An answer whose hearer is done with its first piece, before its end."""
    connection, line, clock, _ = connected(silence=10)
    heard = []

    def hear(piece):
        heard.append(piece)
        answer.pause(True)
        answer.done()

    answer = carried(connection, hear)
    ending = waiting(answer.over())
    await asyncio.sleep(0)
    connection.data_received(
        b"HTTP/1.1 200 OK\r\n" + TYPED + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n1\r\ny\r\n"
    )
    await ending
    answer.leave()
    assert (heard, line.over, line.reading, line.freed) == ([b"xy"], False, True, [])
    assert not connection.idle
    with pytest.raises(UpstreamDied, match="left"):
        await answer.whole()
    return connection, line, clock


@pytest.mark.parametrize("end", [[b"0\r\n\r\n"], [b"0\r\n", b"\r", b"\n"]])
async def test_an_end_that_comes_a_moment_later_leaves_the_connection_free(end):
    connection, line, clock = await told_all()
    for part in end:
        clock.now += 0.2
        connection.look(clock.now)
        connection.data_received(part)
    assert (line.freed, line.over, connection.idle) == ([connection], False, True)
    following = carried(connection)
    connection.data_received(answer_of(measured, [b"next"]))
    assert await following.whole() == b"next"


@pytest.mark.parametrize("more", [b"1\r\nz\r\n", b"1\r\nz\r\n0\r\n\r\n", b"nonsense\r\n", b"0\r\n\r\nHTTP/1.1 200"])
async def test_anything_else_cuts_it(more):
    connection, line, _ = await told_all()
    connection.data_received(more)
    assert (line.over, line.freed) == (True, [])


async def test_so_does_silence_and_the_end_of_the_client():
    connection, line, clock = await told_all()
    clock.now += 0.3
    connection.look(clock.now)
    assert (line.over, line.freed) == (True, [])
    connection, line, clock = await told_all()
    connection.end()
    assert (line.over, line.freed) == (True, [])


@pytest.mark.parametrize("length", [b"Content-Length: 9\r\n", b""])
async def test_only_chunks_may_end_after_all_is_said(length):
    connection, line, _, _ = connected()
    answer = carried(connection, lambda _: answer.done())
    connection.data_received(b"HTTP/1.1 200 OK\r\n" + TYPED + length + b"\r\nx")
    await answer.over()
    assert line.over


async def test_who_has_read_all_at_his_own_pace_need_not_wait_for_the_end():
    connection, line, _, _ = connected()
    for unread, freed in ((True, 0), (False, 1)):
        connection, line, _, _ = connected()
        answer = carried(connection)
        begin = waiting(answer.begun())
        await asyncio.sleep(0)
        connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n")
        await begin
        if not unread:
            assert await anext(aiter(answer.frames())) == b"x"
        answer.done()
        if not line.over:
            connection.data_received(b"0\r\n\r\n")
        assert len(line.freed) == freed


@pytest.mark.parametrize("done", [True, False])
async def test_who_leaves_with_the_last_piece_leaves_the_connection_free(done):
    connection, line, _, _ = connected()

    def hear(_):
        answer.done() if done else answer.leave()
        assert connection.idle
        line.next = carried(connection)

    answer = carried(connection, hear)
    connection.data_received(answer_of(chunked, [b"data: [DONE]\n\n"]))
    await answer.over()
    connection.data_received(answer_of(measured, [b"second"], 201))
    assert (line.next.status, await line.next.whole()) == (201, b"second")
    assert answer.status == 200
    answer.leave()
    assert not connection.idle  # what is left twice takes nothing from another
    line.next.leave()
    assert connection.idle


@pytest.mark.parametrize("alone", [True, False])
async def test_what_hears_badly_ends_it(alone):
    connection, line, _, _ = connected()

    def hear(piece):
        if piece == b"x":
            raise ValueError("no")

    answer = carried(connection, hear)
    ending = waiting(answer.over())
    await asyncio.sleep(0)
    if alone:
        connection.data_received(answer_of(chunked, [b"a"]).removesuffix(LAST))
        connection.data_received(chunk(b"x"))
    else:
        connection.data_received(answer_of(chunked, [b"x"]))
    with pytest.raises(ValueError, match="no"):
        await ending
    answer.leave()
    assert line.over
    assert not line.freed


async def test_while_the_caller_is_full_nothing_is_read_and_no_silence_counted():
    connection, line, clock, _ = connected(silence=10)
    answer = carried(connection, lambda _: None)
    connection.data_received(b"HTTP/1.1 200 OK\r\n" + TYPED + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    answer.pause(True)
    answer.pause(True)
    assert not line.reading
    clock.now += 60
    connection.look(clock.now)
    clock.now += 9
    connection.look(clock.now)
    answer.pause(False)
    assert line.reading
    clock.now += 10
    connection.look(clock.now)
    with pytest.raises(UpstreamTimeout):
        await answer.over()


async def test_a_connection_is_freed_with_its_socket_read():
    connection, line, _, _ = connected()

    def hear(_):
        answer.pause(True)

    answer = carried(connection, hear)
    connection.data_received(answer_of(chunked, [b"x"]))
    await answer.over()
    answer.leave()
    assert (line.reading, connection.idle) == (True, True)


async def test_a_gathered_body_is_not_slowed_but_has_an_end():
    connection, line, _, _ = connected()
    answer = carried(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"1000000\r\n" + bytes(16 * 1024 * 1024) + b"\r\n"
    for _ in range(16):
        connection.data_received(chunk)
    assert (line.reading, line.over) == (True, False)
    connection.data_received(b"1\r\nx\r\n")
    with pytest.raises(UpstreamDied, match="256 MiB"):
        await answer.whole()
    assert line.over


async def test_what_was_begun_at_ones_own_pace_can_be_had_whole():
    connection, line, _, _ = connected()
    answer = carried(connection)
    begin = waiting(answer.begun())
    await asyncio.sleep(0)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + bytes(300_000))
    await begin
    assert not line.reading
    whole = waiting(answer.whole())
    await asyncio.sleep(0)
    assert line.reading
    connection.data_received(bytes(300_000))
    assert await whole == bytes(600_000)


@pytest.mark.parametrize("size", [65_000, 70_000])
@pytest.mark.parametrize("step", [1, 1000, 100_000])
@pytest.mark.parametrize("interim", [False, True])
async def test_a_head_has_an_end_however_it_comes(size, step, interim):
    connection, line, _, _ = connected()
    begin = b"HTTP/1.1 103 Hints\r\n\r\n" if interim else b""
    said = begin + b"HTTP/1.1 200 OK\r\nX: " + bytes(b"x" * (size - 100)) + b"\r\nContent-Length: 1\r\n\r\ny"
    answer = carried(connection)
    for at in range(0, len(said), step):
        if not line.over:
            connection.data_received(said[at : at + step])
    if size == 65_000:
        assert await answer.whole() == b"y"
    else:
        with pytest.raises(UpstreamDied, match="64 KiB"):
            await answer.whole()


@pytest.mark.parametrize("status", [204, 304])
async def test_some_answers_have_no_body(status):
    connection, _, _, _ = connected()
    answer = carried(connection)
    connection.data_received(b"HTTP/1.1 %d Said\r\n\r\n" % status)
    assert (answer.status, await answer.whole()) == (status, b"")
    answer.leave()
    assert connection.idle


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx", "gzip"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: ws\r\nConnection: upgrade\r\n\r\n", "another protocol"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
    ],
)
@pytest.mark.parametrize("told", [False, True])
async def test_what_cannot_be_understood_is_refused(said, why, told):
    connection, line, _, _ = connected()
    answer = carried(connection, [].append if told else None)
    connection.data_received(said.replace(b"200 OK\r\n", b"200 OK\r\n" + TYPED))
    with pytest.raises(UpstreamDied, match=why):
        await (answer.over() if told else answer.whole())
    answer.leave()
    assert line.over


async def test_identity_is_no_encoding():
    connection, _, _, _ = connected()
    answer = carried(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Encoding:  Identity \r\nContent-Length: 2\r\n\r\nxx")
    assert await answer.whole() == b"xx"


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
@pytest.mark.parametrize("later", [False, True])
async def test_what_was_not_asked_for_is_nobodys(told, surplus, later):
    connection, line, _, _ = connected()
    heard = []
    answer = carried(connection, heard.append if told else None)
    said = answer_of(measured, [b"mine"])
    if later:
        connection.data_received(said)
        connection.data_received(surplus)
    else:
        connection.data_received(said + surplus)
    await answer.over()
    assert (b"".join(heard) if told else await answer.whole()) == b"mine"
    answer.leave()
    assert line.over
    assert not line.freed


async def test_not_even_an_empty_line_may_follow_later():
    connection, line, _, _ = connected()
    answer = carried(connection)
    connection.data_received(answer_of(measured, [b"mine"]))
    connection.data_received(b"\r\n")
    assert (line.over, await answer.whole()) == (True, b"mine")


async def test_an_answer_to_a_request_that_is_not_wholly_sent_frees_nothing():
    connection, line, _, _ = connected()
    answer = carried(connection)
    line.unsent = 1
    connection.data_received(answer_of(measured, [b"no"], 413))
    assert await answer.whole() == b"no"
    answer.leave()
    assert (line.over, line.freed) == (True, [])


@pytest.mark.parametrize("told", [False, True])
async def test_silence_and_the_whole_are_bounded(told):
    for total, after, over in [(None, 9.9, False), (None, 10, True), (3, 2.9, False), (3, 3, True)]:
        connection, line, clock, _ = connected(silence=10)
        answer = carried(connection, [].append if told else None, total)
        clock.now += after
        connection.look(clock.now)
        assert line.over is over
        if over:
            with pytest.raises(UpstreamTimeout):
                await (answer.over() if told else answer.whole())


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", answer_of(chunked, [b"x"])[:-5]])
async def test_who_is_cancelled_and_leaves_cuts_it(said):
    connection, line, _, _ = connected()
    answer = carried(connection)
    asking = waiting(answer.whole())
    await asyncio.sleep(0)
    if said:
        connection.data_received(said)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    answer.leave()
    assert line.over


async def test_who_is_cancelled_in_the_tick_of_the_end_leaves_a_connection_that_is_free():
    connection, line, _, _ = connected()
    answer = carried(connection)
    asking = waiting(answer.whole())
    await asyncio.sleep(0)
    connection.data_received(answer_of(measured, [b"mine"]))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    answer.leave()
    assert line.freed == [connection]
    following = carried(connection)
    connection.data_received(answer_of(measured, [b"next"]))
    assert await following.whole() == b"next"


async def test_who_waits_for_one_that_is_ended_hears_of_it():
    for hear in (None, [].append):
        connection, line, _, _ = connected()
        answer = carried(connection, hear)
        connection.end()
        with pytest.raises(UpstreamDied, match="closed"):
            await answer.over()
        answer.leave()
        assert line.over


async def test_what_cannot_be_sent_was_not_heard():
    connection, line, _, _ = connected()
    line.abort()
    answer = carried(connection)
    with pytest.raises(Unheard):
        await answer.whole()
    answer.leave()
