"""A connection without a socket: whatever the pieces in which an answer comes, it is the same answer."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.http.incoming import Unheard
from enginehouse.errors import UpstreamDied, UpstreamTimeout
from tests.unit.engines.wire import chunked, connected, cut_up, measured


async def begun(connection, total=None):
    async def asked():
        answer = connection.carry([b"GET / HTTP/1.1\r\n\r\n"], total)
        try:
            await answer.begun()
        except BaseException:
            answer.leave()
            raise
        return answer

    asking = asyncio.get_running_loop().create_task(asked())
    await asyncio.sleep(0)
    return asking


async def body_of(answer):
    return b"".join([piece async for piece in answer.frames()])


async def answered(asking):
    return await body_of(await asking)


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    framing=st.sampled_from([chunked, measured]),
    interim=st.booleans(),
    status=st.sampled_from([200, 201, 404, 429, 503]),
    cuts=st.lists(st.integers(min_value=0, max_value=2000), max_size=30),
)
async def test_an_answer_is_the_same_however_it_comes(pieces, framing, interim, status, cuts):
    connection, line, _, lost = connected()
    hints = b"HTTP/1.1 100 Continue\r\n\r\n" if interim else b""
    said = hints + b"HTTP/1.1 %d Said\r\nX-Word: so\r\n" % status + framing(pieces)
    for _ in range(2):
        asking = await begun(connection)
        for piece in cut_up(said, cuts):
            connection.data_received(piece)
        answer = await asking
        assert (answer.status, answer.headers["x-word"]) == (status, "so")
        assert await body_of(answer) == b"".join(pieces)
        answer.leave()
    assert line.freed == [connection] * 2
    assert not lost
    assert connection.idle
    assert not line.over


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8),
    framing=st.sampled_from([chunked, measured]),
    cut=st.integers(min_value=0, max_value=2000),
)
async def test_an_answer_cut_short_is_never_taken_for_whole(pieces, framing, cut):
    connection, line, _, lost = connected()
    answer = b"HTTP/1.1 200 OK\r\n" + framing(pieces)
    asking = await begun(connection)
    for piece in cut_up(answer[: cut % len(answer)], []):
        connection.data_received(piece)
    line.abort()
    with pytest.raises(UpstreamDied) as told:
        await answered(asking)
    assert isinstance(told.value, Unheard) == (cut % len(answer) == 0)
    assert not connection.idle
    assert lost == [connection]


@given(noise=st.binary(min_size=1, max_size=200))
async def test_noise_never_escapes_our_errors(noise):
    connection, line, _, _ = connected()
    asking = await begun(connection)
    connection.data_received(noise)
    if not line.over:
        line.abort()
    with pytest.raises(UpstreamDied):
        await answered(asking)


async def test_two_answers_in_one_breath_are_one_and_a_cut():
    connection, line, _, _ = connected()
    asking = await begun(connection)
    connection.data_received(
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmineHTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\nothers"
    )
    answer = await asking
    assert (answer.status, await body_of(answer)) == (200, b"mine")
    answer.leave()
    assert line.over
    assert not line.freed


async def test_bytes_that_nobody_asked_for_end_it():
    connection, line, _, lost = connected()
    connection.data_received(b"HTTP/1.1 200 OK\r\n")
    assert line.over
    assert lost == [connection]


async def test_above_the_mark_the_socket_is_left_alone_until_it_is_read():
    connection, line, clock, _ = connected(silence=10)
    asking = await begun(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + bytes(300_000))
    answer = await asking
    assert not line.reading
    clock.now += 60  # it is the caller who is slow
    connection.look(clock.now)
    assert not line.over
    pieces = aiter(answer.frames())
    assert len(await anext(pieces)) == 300_000
    assert line.reading
    clock.now += 11
    connection.look(clock.now)
    with pytest.raises(UpstreamTimeout):
        await anext(pieces)


async def test_silence_and_the_whole_are_bounded():
    for total, after, told in [(None, 9.9, False), (None, 10, True), (3, 2.9, False), (3, 3, True)]:
        connection, line, clock, _ = connected(silence=10)
        asking = await begun(connection, total)
        clock.now += after
        connection.look(clock.now)
        assert line.over is told
        if not told:
            line.abort()
        with pytest.raises(UpstreamTimeout if told else Unheard):
            await asking


async def test_who_is_cancelled_cuts_it():
    connection, line, _, _ = connected()
    asking = await begun(connection)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert line.over


async def test_who_is_cancelled_in_the_tick_of_the_head_cuts_it_too():
    connection, line, _, lost = connected()
    asking = await begun(connection)
    line.protocol.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert line.over
    assert lost == [connection]


async def test_an_encoding_that_was_not_asked_for_is_refused():
    connection, _, _, _ = connected()
    asking = await begun(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx")
    with pytest.raises(UpstreamDied, match="gzip"):
        await asking


async def test_who_waits_for_one_that_is_ended_hears_of_it():
    connection, line, _, _ = connected()
    asking = await begun(connection)
    connection.end()
    with pytest.raises(UpstreamDied, match="closed"):
        await asking
    assert line.over
