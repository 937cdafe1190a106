"""Both clients of HTTP servers keep one contract, on real sockets, against a server that does as the test says."""

import asyncio
import socket
from contextlib import suppress

import pytest

from enginehouse.engines.http.asking import Patience, Request
from enginehouse.engines.http.library import Library
from enginehouse.engines.http.pool import Pool
from enginehouse.errors import UpstreamDied, UpstreamTimeout
from tests.integration.http_clients.server import (
    CHUNKED,
    OK,
    TRUST,
    Server,
    closes,
    stays_silent,
    talks_for_ever,
    then_closes,
)


@pytest.fixture(params=[Pool, Library], ids=["pool", "library"])
def client_of(request):
    def make(root, *, silence=5.0, connect=5.0, keep_alive=True):
        return request.param(root, Patience(connect=connect, silence=silence), keep_alive=keep_alive, trust=TRUST)

    return make


def get(path="/", *, total=None, headers=None):
    return Request("GET", path, None, headers or {}, total)


def post(body, path="/v1/x"):
    return Request("POST", path, body, {"Content-Type": "application/json", "X-Request-ID": "r1"}, None)


async def hear(reply, heard):
    async for chunk in reply.frames():
        heard.append(chunk)


async def whole(client, request):
    reply = await client.send(request)
    try:
        return reply.status, await reply.read()
    finally:
        reply.leave()


@pytest.mark.parametrize("body", [b"", b"{}", bytes(200_000)], ids=["none", "small", "large"])
async def test_a_request_goes_there_and_its_answer_comes_back(client_of, body):
    server = Server(OK)
    async with server() as root, client_of(root + "/below") as client:
        assert await whole(client, post(body)) == (200, b"ok")
    [(head, got)] = server.asked
    assert head.startswith(b"POST /below/v1/x HTTP/1.1\r\n")
    assert b"x-request-id: r1" in head.lower()
    assert got == body


async def test_headers_are_found_in_any_case(client_of):
    server = Server(b"HTTP/1.1 429 Slow\r\nretry-AFTER: 7\r\nContent-Length: 0\r\n\r\n")
    async with server() as root, client_of(root) as client:
        reply = await client.send(get())
        assert (reply.status, reply.headers.get("Retry-After"), reply.headers.get("X-None")) == (429, "7", None)
        reply.leave()


async def test_a_connection_is_used_again(client_of):
    server = Server(OK, OK, OK)
    async with server() as root, client_of(root) as client:
        for _ in range(3):
            assert await whole(client, get()) == (200, b"ok")
    assert server.connections == 1


async def test_it_is_not_where_that_is_not_wanted(client_of):
    server = Server(OK, OK)
    async with server() as root, client_of(root, keep_alive=False) as client:
        await whole(client, get())
        await whole(client, get())
    assert server.connections == 2
    assert b"connection: close" in server.asked[0][0].lower()


async def test_who_is_closed_while_free_is_not_asked(client_of):
    server = Server(then_closes(OK), OK)
    async with server() as root, client_of(root) as client:
        assert await whole(client, get()) == (200, b"ok")
        await asyncio.sleep(0.05)
        assert await whole(client, get()) == (200, b"ok")
    assert server.connections == 2


async def test_a_request_is_sent_again_on_a_connection_that_had_gone_stale(client_of):
    server = Server(OK, closes, OK)
    async with server() as root, client_of(root) as client:
        await whole(client, get())
        assert await whole(client, post(b"{}")) == (200, b"ok")
    assert len(server.asked) == 3


async def test_but_once_only(client_of):
    server = Server(OK, closes, closes, OK)
    async with server() as root, client_of(root) as client:
        await whole(client, get())
        with pytest.raises(UpstreamDied):
            await whole(client, post(b"{}"))
    assert len(server.asked) == 3


@pytest.mark.parametrize("first", [closes, then_closes(b"HTTP/1.1 2")], ids=["silently", "mid-word"])
async def test_it_is_not_sent_again_on_a_new_connection(client_of, first):
    server = Server(first, OK)
    async with server() as root, client_of(root) as client:
        with pytest.raises(UpstreamDied):
            await whole(client, post(b"{}"))
    assert len(server.asked) == 1


async def test_nor_once_a_byte_has_come_back():
    """The library cannot tell a byte from none, one more reason for our own."""
    server = Server(OK, then_closes(b"HTTP/1.1 2"), OK)
    async with server() as root, Pool(root, Patience(connect=5, silence=5), keep_alive=True, trust=TRUST) as client:
        await whole(client, get())
        with pytest.raises(UpstreamDied):
            await whole(client, post(b"{}"))
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        CHUNKED + b"4\r\nhalf\r\n",
        CHUNKED + b"9\r\nhalf",
    ],
    ids=["length", "chunks", "within a chunk"],
)
async def test_a_body_that_breaks_off_is_told_after_what_came_of_it(client_of, cut):
    server = Server(then_closes(cut))
    async with server() as root, client_of(root) as client:
        reply = await client.send(get())
        heard = []
        with pytest.raises(UpstreamDied):
            await hear(reply, heard)
        reply.leave()
    assert b"".join(heard) == b"half"


async def test_a_body_may_end_with_the_connection(client_of):
    server = Server(then_closes(b"HTTP/1.0 200 OK\r\n\r\nall of it"), OK)
    async with server() as root, client_of(root) as client:
        assert await whole(client, get()) == (200, b"all of it")
        assert await whole(client, get()) == (200, b"ok")
    assert server.connections == 2


async def test_an_interim_answer_is_passed_over(client_of):
    server = Server(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    async with server() as root, client_of(root) as client:
        reply = await client.send(get())
        assert (reply.status, "Link" in reply.headers, await reply.read()) == (200, False, b"ok")
        reply.leave()


@pytest.mark.parametrize("surplus", [OK, b"garbage"], ids=["a second answer", "garbage"])
async def test_what_was_not_asked_for_answers_nobody(client_of, surplus):
    server = Server(OK + surplus, OK.replace(b"ok", b"no"))
    async with server() as root, client_of(root) as client:
        with suppress(UpstreamDied):  # the library may refuse the whole
            assert await whole(client, get()) == (200, b"ok")
        await asyncio.sleep(0.02)
        assert await whole(client, get()) == (200, b"no")
    assert server.connections == 2


@pytest.mark.parametrize("nonsense", [b"SSH-2.0-OpenSSH\r\n", bytes(300)], ids=["another protocol", "nothing"])
async def test_what_is_no_http_is_told(client_of, nonsense):
    server = Server(nonsense)
    async with server() as root, client_of(root, silence=1) as client:
        with pytest.raises(UpstreamDied):
            await whole(client, get())


@pytest.mark.parametrize(
    "line", [b"X-Long: " + bytes(b"x" * 9_000_000), b"X: y\r\n" * 200_000], ids=["line", "lines"]
)
async def test_a_head_without_end_is_not_kept(client_of, line):
    server = Server(b"HTTP/1.1 200 OK\r\n" + line)
    async with server() as root, client_of(root, silence=2) as client:
        with pytest.raises(UpstreamDied):
            await whole(client, get())


async def test_a_silent_server_is_not_waited_for_without_end(client_of):
    server = Server(stays_silent)
    async with server() as root, client_of(root, silence=0.1) as client:
        with pytest.raises(UpstreamTimeout):
            await whole(client, get())


async def test_nor_one_that_falls_silent(client_of):
    async def begins(reader, writer):
        writer.write(CHUNKED + b"2\r\nso\r\n")
        await stays_silent(reader, writer)

    server = Server(begins)
    async with server() as root, client_of(root, silence=0.1) as client:
        reply = await client.send(get())
        with pytest.raises(UpstreamTimeout):
            await reply.read()
        reply.leave()


async def test_every_byte_begins_the_wait_anew(client_of):
    async def drips(_, writer):
        for piece in [CHUNKED, *[b"1\r\nx\r\n"] * 8, b"0\r\n\r\n"]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.06)

    server = Server(drips)
    async with server() as root, client_of(root, silence=0.3) as client:
        assert await whole(client, get()) == (200, b"x" * 8)


async def test_the_whole_may_be_bounded(client_of):
    async def drips(_, writer):
        writer.write(CHUNKED)
        while True:
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    server = Server(drips)
    async with server() as root, client_of(root) as client:
        with pytest.raises(UpstreamTimeout):
            await whole(client, get(total=0.3))


async def test_a_server_that_takes_no_connection_is_given_up_within_the_time_for_the_whole(client_of):
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):  # whoever comes now gets no answer, as from a machine that is cut off
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        root = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with client_of(root, connect=30.0) as client, asyncio.timeout(3):
            with pytest.raises(UpstreamTimeout):
                await whole(client, get(total=0.3))


async def test_nobody_there(client_of, unused_tcp_port):
    async with client_of(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(UpstreamDied, match="refused the connection"):
            await whole(client, get())


async def test_who_leaves_early_is_noticed(client_of):
    server = Server(talks_for_ever())
    async with server() as root, client_of(root) as client:
        reply = await client.send(get())
        await anext(aiter(reply.frames()))
        reply.leave()
        async with asyncio.timeout(2):
            await server.hung_up.wait()


async def test_who_gives_up_waiting_is_noticed(client_of):
    server = Server(stays_silent, OK)
    async with server() as root, client_of(root) as client:
        asking = asyncio.get_running_loop().create_task(whole(client, get()))
        await server.heard.wait()
        asking.cancel()
        async with asyncio.timeout(2):
            await server.hung_up.wait()
        assert await whole(client, get()) == (200, b"ok")


async def test_a_half_read_answer_is_never_another_ones(client_of):
    server = Server(CHUNKED + b"4\r\nmine\r\n0\r\n\r\n", OK)
    async with server() as root, client_of(root) as client:
        first = await client.send(get())
        first.leave()
        assert await whole(client, get()) == (200, b"ok")


async def test_a_server_that_talks_faster_than_we_listen_waits(client_of):
    sent = 0

    async def pours(_, writer):
        nonlocal sent
        writer.write(CHUNKED)
        for _ in range(800):
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()
            sent += 65536
        writer.write(b"0\r\n\r\n")

    server = Server(pours)
    async with server() as root, client_of(root, silence=30) as client:
        reply = await client.send(get())
        await asyncio.sleep(0.3)
        held = sent
        assert len(await reply.read()) == 800 * 65536
        reply.leave()
    assert held < 24 * 1024 * 1024  # what the kernel's own buffers take, and some


async def test_many_at_a_time_do_not_mix(client_of):
    async def echoes(number):
        body = b"%d" % number
        status, got = await whole(client, post(body))
        return status == 200 and got == body

    async def echo(_, writer):
        body = server.asked[-1][1]
        await asyncio.sleep(0.001 * (int(body) % 7))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    server = Server(*[echo] * 300)
    async with server() as root, client_of(root, silence=60, connect=60) as client:  # 300 handshakes at both ends
        assert all(await asyncio.gather(*[echoes(number) for number in range(300)]))


async def test_nothing_can_be_slipped_into_a_head(client_of):
    server = Server(OK)
    async with server() as root, client_of(root) as client:
        with pytest.raises((ValueError, UpstreamDied)):
            await whole(client, get(headers={"X-Request-ID": "a\r\nAuthorization: Bearer b"}))
    assert not server.asked


@pytest.mark.parametrize("begun", [False, True], ids=["before the head", "within the body"])
async def test_who_waits_when_the_client_is_closed_hears_of_it(client_of, begun):
    async def begins(reader, writer):
        if begun:
            writer.write(CHUNKED + b"2\r\nso\r\n")
        await stays_silent(reader, writer)

    server = Server(begins)
    async with server() as root, asyncio.timeout(3):
        async with client_of(root, silence=600) as client:
            asking = asyncio.get_running_loop().create_task(whole(client, get()))
            await server.heard.wait()
            await asyncio.sleep(0.05)
        with pytest.raises(UpstreamDied):
            await asking
