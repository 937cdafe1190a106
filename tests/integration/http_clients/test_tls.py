"""What only TLS can do wrong (certificates, handshakes, endings), and where it has to be as though it were none."""

import asyncio
import ssl
import time
from datetime import timedelta

import pytest

from enginehouse.engines.http.asking import Patience, Request
from enginehouse.engines.http.library import Library
from enginehouse.engines.http.pool import Pool
from enginehouse.errors import UpstreamDied, UpstreamTimeout
from tests.integration.authority import Authority, authority
from tests.integration.http_clients.server import CHUNKED, OK, TRUST, Server, then_closes
from tests.integration.http_clients.speaker import Speaker, cut, head_from, until_it_ends

ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
"""A head whose body ends with the connection."""
FAR = timedelta(days=400)


@pytest.fixture
def tls():
    """Here each test says for itself who speaks it."""


@pytest.fixture(params=[Pool, Library], ids=["pool", "library"])
def client_of(request):
    def make(root, *, silence=5.0, connect=5.0):
        return request.param(root, Patience(connect=connect, silence=silence), keep_alive=True, trust=TRUST)

    return make


def pool_of(root, *, connect=5.0):
    return Pool(root, Patience(connect=connect, silence=5), keep_alive=True, trust=TRUST)


def post(body=b"{}", *, total=None):
    return Request("POST", "/v1/x", body, {}, total)


async def whole(client, request):
    reply = await client.send(request)
    try:
        return reply.status, await reply.read()
    finally:
        reply.leave()


async def ends(speaker):
    """The server has seen the last of its client."""
    assert await asyncio.to_thread(speaker.over.wait, 5)


# Certificates.


async def refused(client_of, tls, host="127.0.0.1"):
    server = Server(OK)
    server.tls = tls
    async with server() as root, client_of(root.replace("127.0.0.1", host)) as client:
        with pytest.raises(UpstreamDied) as told:
            await whole(client, post())
        assert "127.0.0.1" not in told.value.message, "callers need not know where servers are"
    assert not server.asked
    return told.value.message


@pytest.mark.parametrize(
    ("host", "names", "says"),
    [
        ("localhost", ["elsewhere.example", "127.0.0.1"], "for another name than the one in base_url"),
        ("127.0.0.1", ["localhost"], "for another address than the one in base_url"),
    ],
)
async def test_a_certificate_of_somebody_else_is_refused(client_of, host, names, says):
    assert says in await refused(client_of, authority().serving(names), host)


async def test_an_issuer_that_is_not_trusted_is_refused(client_of):
    said = await refused(client_of, Authority("Somebody").serving())
    assert "issuer that this machine does not trust" in said
    assert "SSL_CERT_FILE" in said


@pytest.mark.parametrize(
    ("begins", "ends", "says"),
    [(-FAR, -FAR / 2, "has expired"), (FAR / 2, FAR, "is not valid yet")],
    ids=["before", "later"],
)
async def test_a_certificate_of_another_time_is_refused(client_of, begins, ends, says):
    assert says in await refused(client_of, authority().serving(begins=begins, ends=ends))


async def test_a_name_is_found_at_whichever_of_its_addresses_answers(client_of):
    """`localhost` is two on most machines, and only one of them is served; its name goes along."""
    named = []
    server = Server(OK)
    server.tls = authority().serving(["localhost"])
    server.tls.sni_callback = lambda _, name, __: named.append(name)
    async with server() as root, client_of(root.replace("127.0.0.1", "localhost")) as client:
        assert await whole(client, post()) == (200, b"ok")
    assert named == ["localhost"]
    assert b"host: localhost:" in server.asked[0][0].lower()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_it_speaks_http_1_whatever_else_the_server_may_know(client_of, version):
    agreed = []

    async def answers(_, writer):
        spoken = writer.get_extra_info("ssl_object")
        agreed.append((spoken.version(), spoken.selected_alpn_protocol()))
        writer.write(OK)

    server = Server(answers)
    server.tls = authority().serving()
    server.tls.maximum_version = version
    server.tls.set_alpn_protocols(["h2", "http/1.1"])
    async with server() as root, client_of(root) as client:
        assert await whole(client, post()) == (200, b"ok")
    assert agreed == [(version.name.replace("_", "."), "http/1.1")]


# Handshakes.


async def test_a_server_that_speaks_plain_http_is_told_from_one_that_is_down(client_of):
    def act(connection):
        connection.recv(65536)
        connection.sendall(OK.replace(b"200 OK", b"400 Bad Request"))

    with Speaker(act)() as place:
        async with client_of(f"https://{place}") as client:
            with pytest.raises(UpstreamDied, match=r"No TLS .* begins with http://"):
                await whole(client, post())


async def test_a_server_that_hangs_up_within_the_handshake(client_of):
    speaker = Speaker(lambda connection: connection.recv(10))
    with speaker() as place:
        async with client_of(f"https://{place}") as client:
            with pytest.raises(UpstreamDied):
                await whole(client, post())


@pytest.mark.parametrize(("connect", "total"), [(0.2, None), (30.0, 0.2)])
async def test_a_handshake_that_never_ends_takes_no_longer_than_a_connection_may(client_of, connect, total):
    speaker = Speaker(until_it_ends)
    with speaker() as place:
        async with client_of(f"https://{place}", connect=connect) as client, asyncio.timeout(3):
            with pytest.raises(UpstreamTimeout):
                await whole(client, post(total=total))
            await ends(speaker)


@pytest.mark.parametrize("after", [0.0, 0.001, 0.05])
async def test_who_gives_up_within_the_handshake_leaves_no_connection_behind(client_of, after):
    speaker = Speaker(until_it_ends)
    with speaker() as place:
        async with client_of(f"https://{place}") as client:
            asking = asyncio.get_running_loop().create_task(whole(client, post()))
            await asyncio.sleep(after)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await asyncio.sleep(0.05)
            if speaker.connections:
                await ends(speaker)


async def test_at_whatever_moment_somebody_gives_up_nothing_stays(client_of):
    """From before the connection until after the answer, in the steps of the loop."""
    server = Server(*[OK] * 100)
    server.tls = authority().serving()
    async with server() as root:
        async with client_of(root) as client:
            for steps in range(60):
                asking = asyncio.get_running_loop().create_task(whole(client, post()))
                for _ in range(steps):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.wait([asking])
            assert await whole(client, post()) == (200, b"ok")
        async with asyncio.timeout(5):
            await server.deserted.wait()


# Endings.


async def test_a_body_that_breaks_off_without_goodbye_is_told_after_what_came_of_it(client_of):
    def act(connection):
        head_from(connection)
        connection.sendall(CHUNKED + b"4\r\nhalf\r\n")
        connection.close()  # TCP only

    with Speaker(act, authority().serving())() as place:
        async with client_of(f"https://{place}") as client:
            reply = await client.send(post())
            frames = aiter(reply.frames())
            assert await anext(frames) == b"half"
            with pytest.raises(UpstreamDied):
                await anext(frames)
            reply.leave()


async def test_so_is_one_after_which_only_tls_says_goodbye(client_of):
    def act(connection):
        head_from(connection)
        connection.sendall(CHUNKED + b"4\r\nhalf\r\n")
        until_it_ends(connection.unwrap())

    with Speaker(act, authority().serving())() as place:
        async with client_of(f"https://{place}") as client, asyncio.timeout(3):
            with pytest.raises(UpstreamDied):
                await whole(client, post())


@pytest.mark.parametrize("goodbye", [True, False])
async def test_a_body_may_end_with_the_connection_politely_or_not(client_of, goodbye):
    """Many servers leave out TLS's goodbye; what matters is in dialects that know their own end."""

    def act(connection):
        head_from(connection)
        connection.sendall(ENDLESS + b"all of it")
        (connection.unwrap() if goodbye else connection).close()

    with Speaker(act, authority().serving())() as place:
        async with client_of(f"https://{place}") as client:
            assert await whole(client, post()) == (200, b"all of it")


async def test_but_not_with_a_connection_that_broke():
    """The library takes it for an end."""

    def act(connection):
        head_from(connection)
        connection.sendall(ENDLESS + b"all of it")
        time.sleep(0.1)
        cut(connection)

    with Speaker(act, authority().serving())() as place:
        async with pool_of(f"https://{place}") as client:
            with pytest.raises(UpstreamDied):
                await whole(client, post())


@pytest.mark.parametrize("goodbye", [True, False])
async def test_whose_server_hung_up_while_free_is_not_asked(client_of, goodbye):
    def act(connection):
        head_from(connection)
        connection.sendall(OK)
        if speaker.connections == 1:
            (connection.unwrap() if goodbye else connection).close()
        else:
            until_it_ends(connection)

    speaker = Speaker(act, authority().serving())
    with speaker() as place:
        async with client_of(f"https://{place}") as client:
            assert await whole(client, post()) == (200, b"ok")
            await asyncio.sleep(0.1)
            assert await whole(client, post()) == (200, b"ok")
    assert speaker.connections == 2


# As though it were not there.


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def speaks(request):
    """What a speaker speaks TLS with, if it does, and its scheme."""
    return (authority().serving(), "https") if request.param else (None, "http")


@pytest.mark.parametrize("goodbye", [True, False])
@pytest.mark.parametrize("size", [400_000, 500_000, 4_000_000])
async def test_a_server_that_goes_before_all_has_been_read_has_said_all(speaks, goodbye, size):

    def act(connection):
        head_from(connection)
        connection.recv(2)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        if goodbye and isinstance(connection, ssl.SSLSocket):
            connection.unwrap()

    tls, scheme = speaks
    with Speaker(act, tls)() as place:
        async with pool_of(f"{scheme}://{place}") as pool:
            reply = await pool.send(post())
            await asyncio.sleep(0.1)
            got = 0
            async for chunk in reply.frames():
                got += len(chunk)
                await asyncio.sleep(0.02)
            reply.leave()
    assert got == size


async def test_a_mebibyte_goes_there_and_comes_back_however_slowly(speaks):
    body = b"".join(b"%07d\n" % number for number in range(128 * 1024))

    def act(connection):
        head_from(connection)
        heard = b""
        while len(heard) < len(body):
            time.sleep(0.002)
            heard += connection.recv(32 * 1024)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(heard) + heard
        for at in range(0, len(answer), 50_000):
            connection.sendall(answer[at : at + 50_000])
            time.sleep(0.001)
        until_it_ends(connection)

    tls, scheme = speaks
    with Speaker(act, tls)() as place:
        async with pool_of(f"{scheme}://{place}") as pool:
            reply = await pool.send(post(body))
            heard = []
            async for chunk in reply.frames():
                heard.append(chunk)
                await asyncio.sleep(0.001)
            reply.leave()
            assert pool.take() is not None, "all was said and heard"
    assert b"".join(heard) == body


async def test_who_is_answered_before_all_was_sent_uses_the_connection_no_more(speaks):
    """What is unsent would go before the next request."""

    def act(connection):
        head_from(connection)
        connection.sendall(OK.replace(b"200 OK", b"413 Too large"))
        speaker.over.wait(5)

    tls, scheme = speaks
    speaker = Speaker(act, tls)
    with speaker() as place:
        async with pool_of(f"{scheme}://{place}") as pool:
            assert await whole(pool, post(bytes(32 * 1024 * 1024))) == (413, b"ok")
            assert pool.take() is None
        speaker.over.set()


async def test_what_was_asked_on_a_stale_connection_is_asked_once_more():
    def act(connection):
        head_from(connection)
        connection.sendall(OK)
        if speaker.connections == 1:
            head_from(connection)
            cut(connection)
        else:
            until_it_ends(connection)

    speaker = Speaker(act, authority().serving())
    with speaker() as place:
        async with pool_of(f"https://{place}") as pool:
            assert await whole(pool, post()) == (200, b"ok")
            assert await whole(pool, post()) == (200, b"ok")
    assert speaker.connections == 2


async def test_who_is_not_used_for_a_while_is_closed_with_the_pool():
    server = Server(OK, then_closes(OK))
    server.tls = authority().serving()
    async with server() as root:
        async with pool_of(root) as pool:
            assert await whole(pool, post()) == (200, b"ok")
        async with asyncio.timeout(2):
            await server.hung_up.wait()
