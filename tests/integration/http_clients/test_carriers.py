"""What is sent at once, on a connection that is free, keeps the contract of the clients, on real sockets."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from enginehouse.engines.http import HttpServer, Unheard
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
from tests.pieces import by_the_piece

TYPE = "text/event-stream"
STREAM = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: text/event-stream\r\n\r\n")
FINE = OK.replace(b"text/plain", b"text/event-stream")
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer key"}
ID = "0192f0aa-1111-7222-8333-444455556666"


class Way:
    """One of the two ways in which such an answer is had."""

    def __init__(self, told):
        self.told = told
        self.heard = []

    @property
    def hear(self):
        return by_the_piece(self.heard.append) if self.told else None

    def send(self, carrier, body=b"{}"):
        self.heard = []
        return carrier.send_now(body, ID, self.hear)

    async def end(self, carried):
        if not self.told:
            return await carried.whole()
        await carried.over()
        return await carried.whole() if carried.status >= 400 else b"".join(self.heard)

    async def asked(self, carrier, body=b"{}"):
        carried = self.send(carrier, body)
        assert carried is not None, "a connection is free"
        try:
            whole = await self.end(carried)
            return carried.status, whole
        finally:
            carried.leave()


@pytest.fixture(params=[False, True], ids=["gathered", "told"])
def way(request):
    return Way(request.param)


async def once(pool):
    reply = await pool.send(Request("POST", "/v1/x", b"{}", {**HEADERS, "X-Request-ID": ID}, None))
    try:
        return await reply.read()
    finally:
        reply.leave()


@asynccontextmanager
async def carrying(server, *, silence=5.0):
    """A carrier with one free connection, which the server has answered before."""
    server.acts.insert(0, FINE)
    async with (
        server() as root,
        Pool(root, Patience(connect=5, silence=silence), keep_alive=True, trust=TRUST) as pool,
    ):
        await once(pool)
        yield pool.carrier("/v1/x", HEADERS, TYPE), pool


async def test_nothing_is_sent_where_no_connection_is_free(way):
    server = Server(OK)
    async with server() as root, Pool(root, Patience(connect=5, silence=5), keep_alive=True, trust=TRUST) as pool:
        assert way.send(pool.carrier("/v1/x", HEADERS, TYPE)) is None
        await asyncio.sleep(0.02)
    assert server.connections == 0


@pytest.mark.parametrize("body", [b"{}", bytes(20_000), bytes(2_000_000)], ids=["small", "large", "huge"])
async def test_the_server_sees_what_it_sees_of_every_client(way, body):
    server = Server(FINE, FINE)
    async with carrying(server) as (carrier, pool):
        assert await way.asked(carrier, body) == (200, b"ok")
        reply = await pool.send(Request("POST", "/v1/x", body, {**HEADERS, "X-Request-ID": ID}, None))
        assert await reply.read() == b"ok"
        reply.leave()
    assert server.asked[1] == server.asked[2]
    assert server.connections == 1


async def test_the_headers_of_a_trace_go_along(way):
    passed = {"traceparent": "00-1-2-01", "tracestate": "a=b"}
    server = Server(FINE, FINE, FINE)
    async with carrying(server) as (carrier, pool):
        carried = carrier.send_now(b"{}", ID, way.hear, passed)
        assert await way.end(carried) == b"ok"
        carried.leave()
        way.heard.clear()
        carried = await carrier.send(b"{}", ID, way.hear, passed)
        assert await way.end(carried) == b"ok"
        carried.leave()
        reply = await pool.send(Request("POST", "/v1/x", b"{}", {**HEADERS, "X-Request-ID": ID, **passed}, None))
        reply.leave()
    assert server.asked[1] == server.asked[2] == server.asked[3]


@pytest.mark.parametrize("name", ["Traceparent", "tracestate", "X-Request-Id"])
async def test_what_a_request_brings_is_never_there_twice(name):
    async with Pool("http://127.0.0.1:9", Patience(connect=1, silence=1), keep_alive=True) as pool:
        assert pool.carrier("/v1/x", {name: "ours"}, "text/event-stream") is None


async def test_one_connection_carries_one_after_the_other(way):
    server = Server(FINE, STREAM + b"2\r\nso\r\n0\r\n\r\n", FINE.replace(b"200 OK", b"503 No"), FINE)
    async with carrying(server) as (carrier, _):
        assert [await way.asked(carrier) for _ in range(4)] == [
            (200, b"ok"),
            (200, b"so"),
            (503, b"ok"),
            (200, b"ok"),
        ]
        first = way.send(carrier)
        assert way.send(carrier) is None
        first.leave()
    assert server.connections == 1


async def test_a_connection_that_had_gone_stale_says_so_and_what_follows_is_sent_once(way):
    """The one that is asked anew is a new one, for the others have been free for longer."""
    server = Server(FINE, FINE, closes, closes, FINE)
    async with carrying(server) as (carrier, pool):
        await asyncio.gather(once(pool), once(pool))
        with pytest.raises(Unheard):
            await way.asked(carrier)
        assert way.send(carrier) is None
        with pytest.raises(UpstreamDied):
            await once(pool)
    assert len(server.asked) == 5
    assert server.connections == 3


async def test_a_connection_that_was_closed_while_free_is_not_asked(way):
    server = Server(then_closes(FINE))
    async with carrying(server) as (carrier, pool):
        await once(pool)
        await asyncio.sleep(0.05)
        assert way.send(carrier) is None


@pytest.mark.parametrize(
    "cut",
    [b"HTTP/1.1 2", FINE[:-1], STREAM + b"4\r\nhalf\r\n", STREAM + b"9\r\nhalf"],
    ids=["head", "length", "chunks", "within a chunk"],
)
async def test_what_breaks_off_is_told(way, cut):
    server = Server(then_closes(cut))
    async with carrying(server) as (carrier, _):
        with pytest.raises(UpstreamDied) as told:
            await way.asked(carrier)
        assert not isinstance(told.value, Unheard)
        assert way.send(carrier) is None


async def test_a_body_may_end_with_the_connection(way):
    server = Server(then_closes(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\nall of it"))
    async with carrying(server) as (carrier, _):
        assert await way.asked(carrier) == (200, b"all of it")
        assert way.send(carrier) is None


async def test_an_interim_answer_is_passed_over(way):
    server = Server(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + FINE)
    async with carrying(server) as (carrier, _):
        assert await way.asked(carrier) == (200, b"ok")


@pytest.mark.parametrize("surplus", [FINE, b"garbage"], ids=["a second answer", "garbage"])
async def test_what_was_not_asked_for_answers_nobody(way, surplus):
    server = Server(FINE + surplus)
    async with carrying(server) as (carrier, _):
        assert await way.asked(carrier) == (200, b"ok")
        await asyncio.sleep(0.02)
        assert way.send(carrier) is None


@pytest.mark.parametrize(
    "nonsense",
    [b"SSH-2.0-OpenSSH\r\n", bytes(300), b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000, OK.replace(b"ok", b"no")],
    ids=["another protocol", "nothing", "a head without end", "no stream"],
)
async def test_what_is_no_answer_is_told(way, nonsense):
    server = Server(nonsense)
    async with carrying(server, silence=2) as (carrier, _):
        if nonsense.endswith(b"no") and not way.told:
            assert await way.asked(carrier) == (200, b"no")
            return
        with pytest.raises(UpstreamDied):
            await way.asked(carrier)
        assert way.send(carrier) is None


@pytest.mark.parametrize("begun", [b"", STREAM + b"2\r\nso\r\n"], ids=["silent", "falls silent"])
async def test_a_silent_server_is_not_waited_for_without_end(way, begun):
    async def begins(reader, writer):
        writer.write(begun)
        await stays_silent(reader, writer)

    server = Server(begins)
    async with carrying(server, silence=0.1) as (carrier, _):
        with pytest.raises(UpstreamTimeout):
            await way.asked(carrier)


async def says_all_and_ends_later(_, writer):
    """As most servers do: the end of the chunks is written by itself."""
    writer.write(STREAM + b"6\r\n[DONE]\r\n")
    await writer.drain()
    await asyncio.sleep(0.03)
    writer.write(b"0\r\n\r\n")


async def test_a_stream_whose_end_is_written_by_itself_leaves_the_connection_free():
    def hear(_):
        carried.done()

    server = Server(says_all_and_ends_later, FINE)
    async with carrying(server) as (carrier, _):
        carried = carrier.send_now(b"{}", ID, by_the_piece(hear))
        await carried.over()
        carried.leave()
        assert carrier.send_now(b"{}", ID) is None
        await asyncio.sleep(0.06)
        assert await Way(False).asked(carrier) == (200, b"ok")
    assert server.connections == 1


@pytest.mark.parametrize("well", [True, False])
async def test_so_does_the_general_way_where_it_goes_well(well):
    server = Server(says_all_and_ends_later, FINE)
    async with server() as root, HttpServer(root, None, silence=5, trust=TRUST) as engine:
        with suppress(ValueError):
            async with engine.request("POST", "/v1/x", b"{}") as reply:
                assert await anext(aiter(reply.frames())) == b"[DONE]"
                if not well:
                    raise ValueError("the caller has left")
        await asyncio.sleep(0.06)
        async with engine.request("POST", "/v1/x", b"{}") as reply:
            assert await reply.read() == b"ok"
    assert server.connections == (1 if well else 2)


async def test_every_byte_begins_the_wait_anew(way):
    async def drips(_, writer):
        for piece in [STREAM, *[b"1\r\nx\r\n"] * 8, b"0\r\n\r\n"]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.06)

    server = Server(drips)
    async with carrying(server, silence=0.3) as (carrier, _):
        assert await way.asked(carrier) == (200, b"x" * 8)


async def test_who_leaves_early_is_noticed(way):
    server = Server(talks_for_ever(STREAM))
    async with carrying(server) as (carrier, _):
        server.heard.clear()
        carried = way.send(carrier)
        await server.heard.wait()
        await asyncio.sleep(0.02)
        assert carried.status == 200
        carried.leave()
        async with asyncio.timeout(2):
            await server.hung_up.wait()


async def test_who_gives_up_waiting_is_noticed(way):
    server = Server(stays_silent)
    async with carrying(server) as (carrier, _):
        server.heard.clear()
        asking = asyncio.ensure_future(way.asked(carrier))
        await server.heard.wait()
        asking.cancel()
        async with asyncio.timeout(2):
            await server.hung_up.wait()
        assert way.send(carrier) is None


async def test_a_server_that_talks_faster_than_we_listen_waits():
    sent = 0

    async def pours(_, writer):
        nonlocal sent
        writer.write(STREAM)
        for _ in range(800):
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()
            sent += 65536
        writer.write(b"0\r\n\r\n")

    heard = 0

    def hear(piece):
        nonlocal heard
        heard += len(piece)
        if heard < 2_000_000:
            carried.pause(True)
            asyncio.get_running_loop().call_later(0.02, carried.pause, False)

    server = Server(pours)
    async with carrying(server, silence=30) as (carrier, _):
        carried = carrier.send_now(b"{}", ID, by_the_piece(hear))
        await asyncio.sleep(0.1)
        held = sent
        await carried.over()
        carried.leave()
    assert heard == 800 * 65536
    assert held < 24 * 1024 * 1024  # what the kernel's own buffers take, and some


async def test_many_at_a_time_do_not_mix(way):
    async def echo(_, writer):
        body = server.asked[-1][1]
        await asyncio.sleep(0.001 * (int(body) % 7))
        writer.write(FINE.replace(b"Length: 2\r\n\r\nok", b"Length: %d\r\n\r\n%s" % (len(body), body)))

    async def echoes(pool, number):
        carrier = pool.carrier("/v1/x", HEADERS, TYPE)
        mine = Way(way.told)
        carried = mine.send(carrier, b"%d" % number)
        if carried is None:
            reply = await pool.send(Request("POST", "/v1/x", b"%d" % number, HEADERS, None))
            got = await reply.read()
            reply.leave()
            return got == b"%d" % number
        try:
            return await mine.end(carried) == b"%d" % number
        finally:
            carried.leave()

    server = Server(*[echo] * 300)
    async with carrying(server) as (_, pool):
        for start in range(0, 300, 50):
            assert all(await asyncio.gather(*[echoes(pool, number) for number in range(start, start + 50)]))
    assert server.connections <= 60


@pytest.mark.parametrize("begun", [b"", STREAM + b"2\r\nso\r\n"], ids=["before the head", "within the body"])
async def test_who_waits_when_the_client_is_closed_hears_of_it(way, begun):
    async def begins(reader, writer):
        writer.write(begun)
        await stays_silent(reader, writer)

    server = Server(begins)
    async with carrying(server, silence=600) as (carrier, _):
        server.heard.clear()
        asking = asyncio.ensure_future(way.asked(carrier))
        await server.heard.wait()
        await asyncio.sleep(0.02)
    with pytest.raises(UpstreamDied, match="closed"):
        await asking


@pytest.mark.parametrize("name", ["", "a\r\nAuthorization: Bearer b", "a\nb", "a\0b"])
async def test_nothing_can_be_slipped_into_a_head(way, name):
    server = Server()
    async with carrying(server) as (carrier, _):
        assert carrier.send_now(b"{}", name) is None
        with pytest.raises(ValueError, match="line break"):
            carrier.send_now(b"{}", ID, None, {"traceparent": "a\r\nX: b"})
        assert carrier.send_now(b"{}", ID, None, {"AUTHORIZATION": "Bearer b"}) is None
        carried = way.send(carrier)
        assert carried is not None  # no connection was lost on the way
        carried.leave()


@pytest.mark.parametrize("first", [closes, then_closes(b"HTTP/1.1 2"), FINE], ids=["silently", "mid-word", "well"])
async def test_a_new_connection_may_be_waited_for_and_is_asked_once(way, first):
    server = Server(first, FINE)
    async with server() as root, Pool(root, Patience(connect=5, silence=5), keep_alive=True, trust=TRUST) as pool:
        carried = await pool.carrier("/v1/x", HEADERS, TYPE).send(b"{}", ID, way.hear)
        if first is FINE:
            assert await way.end(carried) == b"ok"
        else:
            with pytest.raises(UpstreamDied):
                await way.end(carried)
        carried.leave()
        assert (pool.take() is not None) is (first is FINE)
    assert len(server.asked) == 1


async def test_nobody_there(unused_tcp_port):
    async with Pool(
        f"http://127.0.0.1:{unused_tcp_port}", Patience(connect=1, silence=1), keep_alive=True, trust=TRUST
    ) as pool:
        with pytest.raises(UpstreamDied, match="refused the connection"):
            await pool.carrier("/v1/x", HEADERS, TYPE).send(b"{}", ID)


async def test_not_every_client_has_a_carrier():
    patience = Patience(connect=1, silence=1)
    once_only, library = (
        Pool("http://h", patience, keep_alive=False),
        Library("http://h", patience, keep_alive=True),
    )
    assert once_only.carrier("/x", {}, TYPE) is None
    assert library.carrier("/x", {}, TYPE) is None
    assert Pool("http://h", patience, keep_alive=True).carrier("/x", {"A": "b\r\nC: d"}, TYPE) is None
    own_id = Pool("http://h", patience, keep_alive=True).carrier("/x", {"x-request-id": "b"}, TYPE)
    assert own_id is None
