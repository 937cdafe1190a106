"""One request's tries: another server, the same one again, another model, and never twice after the first byte."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from enginehouse.errors import (
    EngineError,
    InvalidRequest,
    ModelLoadFailed,
    UpstreamDied,
    UpstreamRefused,
    UpstreamTimeout,
)
from enginehouse.testing import WHOLE, FakeLauncher, simulate
from enginehouse.types import EngineName
from tests.unit.core.way import (
    BODY,
    ELSEWHERE,
    STREAM,
    Server,
    Servers,
    answer,
    many,
    open_gateway,
    request,
    wording,
)

DIED = UpstreamDied("gone")
BUSY = UpstreamRefused("busy", status=429, retry_after=3)
FIRST = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
STREAMED = [FIRST, LAST, DONE]


def asked(models, servers, body=BODY, requests=1, **routing):
    """What so many requests, one after the other, are answered; the last error when they are not."""
    elsewhere = Servers(**servers)
    stream = body is STREAM

    async def main():
        launchers = dict.fromkeys((EngineName.OPENAI, EngineName.OLLAMA), elsewhere)
        async with open_gateway(models, launchers, **routing) as gateway:
            for _ in range(requests):
                try:
                    told = await answer(gateway, request(body, stream=stream))
                except (EngineError, InvalidRequest) as error:
                    told = error
            return told

    return simulate(main())


def test_a_failure_that_may_pass_is_mended_by_asking_again_a_little_later():
    server = Server(DIED, UpstreamRefused("broken", status=500), WHOLE)
    assert asked(many(1), {"m": server}, retries=2, backoff=0.25) == WHOLE
    assert server.asked_at == [0.0, 0.25, 0.75]


def test_it_is_asked_again_so_often_and_no_more():
    server = Server(DIED)
    assert asked(many(1), {"m": server}, retries=2) is DIED
    assert len(server.calls) == 3


@pytest.mark.parametrize("error", [UpstreamRefused("no key", status=401), InvalidRequest("wrong")])
def test_what_another_try_does_not_mend_is_told_at_once(error):
    first, second = Server(error), Server()
    assert asked(many(2), {"m": first, "m_2": second}) is error
    assert (len(first.calls), len(second.calls)) == (1, 0)


def test_another_server_is_asked_at_once():
    first, second = Server(DIED), Server()
    assert asked(many(2), {"m": first, "m_2": second}) == WHOLE
    assert (first.asked_at, second.asked_at) == ([0.0], [0.0])


def test_the_last_server_that_is_left_is_asked_again():
    servers = [Server(DIED), Server(DIED), Server(DIED, DIED, WHOLE)]
    assert asked(many(3), dict(zip(("m", "m_2", "m_3"), servers, strict=True)), retries=2) == WHOLE
    assert [len(server.calls) for server in servers] == [1, 1, 3]


def test_then_the_models_that_stand_in_for_it():
    first, other = Server(DIED), Server()
    models = {"m": {**ELSEWHERE, "fallbacks": ["b"]}, "b": {**ELSEWHERE, "upstream_model": "theirs"}}
    assert asked(models, {"m": first, "b": other}) == WHOLE
    assert b'"model":"theirs"' in other.calls[0].body
    assert len(first.calls) == 1


def test_a_server_that_says_when_is_asked_then():
    server = Server(BUSY, WHOLE)
    assert asked(many(1), {"m": server}, max_pause=10) == WHOLE
    assert server.asked_at == [0.0, 3.0]


def test_a_longer_wait_is_handed_on():
    server = Server(BUSY)
    assert asked(many(1), {"m": server}, max_pause=2) is BUSY
    assert len(server.calls) == 1


def test_who_is_left_alone_is_not_asked():
    server = Server(DIED)
    error = asked(many(1), {"m": server}, requests=4, retries=0, breaker_failures=3, breaker_cooldown=30)
    assert (error.status, error.retry_after, len(server.calls)) == (503, 30, 3)


def test_who_is_left_alone_is_passed_over():
    first, second = Server(DIED), Server()
    assert asked(many(2), {"m": first, "m_2": second}, requests=9, breaker_failures=3) == WHOLE
    assert (len(first.calls), len(second.calls)) == (3, 9)


def test_requests_that_come_together_do_not_all_try_a_server_that_was_left_alone():
    server = Server(DIED, [1.0, WHOLE])

    async def one(gateway):
        try:
            return await answer(gateway, request())
        except EngineError as error:
            return error

    async def main():
        launchers = {EngineName.OPENAI: Servers(m=server)}
        rules = {"retries": 0, "breaker_failures": 1, "breaker_cooldown": 5}
        async with open_gateway(many(1), launchers, **rules) as gateway:
            assert await one(gateway) is DIED
            await asyncio.sleep(5)
            together = await asyncio.gather(*(one(gateway) for _ in range(10)))
            return together, await one(gateway)

    together, later = simulate(main())
    assert together.count(WHOLE) == 1
    assert later == WHOLE
    assert len(server.calls) == 3


def test_requests_that_come_together_part_among_the_servers_also_while_they_wait():
    servers = {"m": Server([1.0, WHOLE]), "m_2": Server([1.0, WHOLE])}
    models = {"m": {**ELSEWHERE, "slots": 1, "deployments": [{**ELSEWHERE, "slots": 1}]}}

    async def main():
        async with open_gateway(models, {EngineName.OPENAI: Servers(**servers)}) as gateway:
            await asyncio.gather(*(answer(gateway, request()) for _ in range(10)))

    simulate(main())
    assert [len(server.calls) for server in servers.values()] == [5, 5]


class SlowGrant:
    """What a caller was given of its limits, somewhere that takes a second to ask."""

    counts_tokens = True

    async def expect(self, tokens):
        await asyncio.sleep(1)

    def spent(self, tokens):
        """Nobody asks here."""


def test_who_had_to_ask_for_its_limits_goes_where_there_is_least_to_do_afterwards():
    servers = {"m": Server([9.0, WHOLE]), "m_2": Server([9.0, WHOLE])}

    async def main():
        async with open_gateway(many(2), {EngineName.OPENAI: Servers(**servers)}) as gateway:
            await asyncio.gather(*(answer(gateway, request(grant=SlowGrant())) for _ in range(4)))

    simulate(main())
    assert [len(server.calls) for server in servers.values()] == [2, 2]


def test_a_stream_is_tried_again_before_its_first_byte():
    server = Server([0.5, DIED], STREAMED)
    assert asked(many(1), {"m": server}, STREAM) == b"".join(STREAMED)
    assert len(server.calls) == 2


@pytest.mark.parametrize("broken", [[FIRST, DIED], [FIRST, LAST, DIED], [FIRST, FIRST[:20]], [FIRST]])
def test_nothing_is_asked_twice_after_the_first_byte(broken):
    first, second = Server(broken), Server(STREAMED)
    got = []

    async def read(gateway):
        async with gateway.frames(request(STREAM, stream=True), wording(STREAM)) as answering:
            async for piece in answering.pieces:
                got.append(piece)  # noqa: PERF401 - what came before it broke counts

    async def main():
        async with open_gateway(many(2), {EngineName.OPENAI: Servers(m=first, m_2=second)}) as gateway:
            with pytest.raises(UpstreamDied):
                await read(gateway)

    simulate(main())
    assert got[0] == FIRST
    assert DONE not in got
    assert (len(first.calls), len(second.calls)) == (1, 0)


def test_an_answer_that_is_not_streamed_has_no_first_byte_before_its_end():
    first, second = Server([WHOLE[:30], DIED]), Server()
    assert asked(many(2), {"m": first, "m_2": second}) == WHOLE


@pytest.mark.parametrize(
    ("limits", "chunks", "body", "ends"),
    [
        ({"first_token": 2}, [1.9, *STREAMED], STREAM, None),
        ({"first_token": 2}, [2.1, *STREAMED], STREAM, 2.0),
        ({"first_token": 2}, [FIRST, 9.0, LAST, DONE], STREAM, None),
        ({"first_token": 2}, [9.0, WHOLE], BODY, None),
        ({"total": 5}, [FIRST, 4.9, LAST, DONE], STREAM, None),
        ({"total": 5}, [FIRST, 4.0, FIRST, 4.0, LAST, DONE], STREAM, 5.0),
        ({"total": 5}, [9.0, WHOLE], BODY, 5.0),
        ({"first_token": 9, "total": 5}, [9.0, *STREAMED], STREAM, 5.0),
    ],
)
def test_an_answer_has_so_much_time(limits, chunks, body, ends):
    server = Server(chunks)

    async def main():
        clock = asyncio.get_running_loop().time
        models = {"m": {**ELSEWHERE, "timeouts": limits}}
        async with open_gateway(models, {EngineName.OPENAI: Servers(m=server)}, retries=0) as gateway:
            try:
                await answer(gateway, request(body, stream=body is STREAM))
            except UpstreamTimeout:
                return clock()
            return None

    assert simulate(main()) == ends
    assert server.running == 0


def test_a_server_that_is_too_slow_to_begin_is_passed_over():
    first, second = Server([60.0, *STREAMED]), Server(STREAMED)
    models = many(2, timeouts={"first_token": 2})
    assert asked(models, {"m": first, "m_2": second}, STREAM) == b"".join(STREAMED)
    assert second.asked_at == [2.0]


class Mortal(Server):
    """Runs here; its process ends with so many of its first requests."""

    def __init__(self, lives, *turns):
        super().__init__(*turns)
        self.lives = lives
        self.launcher = FakeLauncher(self, load_seconds=1)

    @asynccontextmanager
    async def forward(self, call):
        if self.lives:
            self.lives -= 1
            self.launcher.watchers["m"].ended("killed")
        async with super().forward(call) as reply:
            yield reply


def local(server, **fallback):
    """What a request to an engine that runs here is answered."""
    models = {"m": {"engine": "llama_server", "source": "m.gguf", "fallbacks": list(fallback)}}
    models |= dict.fromkeys(fallback, ELSEWHERE)

    async def main():
        launchers = {EngineName.LLAMA_SERVER: server.launcher, EngineName.OPENAI: Servers(**fallback)}
        async with open_gateway(models, launchers) as gateway:
            try:
                return await answer(gateway, request())
            except UpstreamDied as error:
                return error

    return simulate(main())


def test_an_engine_here_that_came_down_is_asked_once_more_in_its_next_life():
    server = Mortal(1, DIED, WHOLE)
    assert local(server) == WHOLE
    assert (len(server.calls), len(server.launcher.loads)) == (2, 2)


def test_but_only_once():
    server = Mortal(2, DIED, DIED, WHOLE)
    assert local(server) is DIED
    assert len(server.calls) == 2


def test_an_engine_here_that_lives_is_not_asked_again():
    server = Mortal(0, DIED, WHOLE)
    assert local(server) is DIED
    assert (len(server.calls), len(server.launcher.loads)) == (1, 1)


def test_a_model_elsewhere_stands_in_for_an_engine_here():
    server, other = Mortal(2, DIED), Server()
    assert local(server, b=other) == WHOLE
    assert (len(server.calls), len(other.calls)) == (2, 1)


def test_a_model_elsewhere_stands_in_for_one_that_cannot_be_loaded_here():
    server, other = Mortal(0), Server()
    server.launcher.failure = ModelLoadFailed("no memory")
    assert local(server, b=other) == WHOLE
    assert len(other.calls) == 1
