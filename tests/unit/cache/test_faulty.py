"""A thousand answers that are broken somewhere: none is kept, and what is well is."""

import asyncio
import json
import random

import pytest

from enginehouse.errors import EnginehouseError, UpstreamDied
from enginehouse.testing import FakeEngine, FakeLauncher
from enginehouse.types import EngineName
from tests.unit.cache.made import Clock, recall_of
from tests.unit.core.way import ELSEWHERE, STREAM, answer, open_gateway, request, wording

BODIES = 1000
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def frames(rng, reason="stop"):
    texts = [f"w{number} " for number in range(rng.randint(1, 6))]
    deltas = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    end = [{"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}]
    return [b"data: " + json.dumps(one).encode() + b"\n\n" for one in deltas + end] + [b"data: [DONE]\n\n"]


def body(rng, reason="stop", text="words"):
    return json.dumps({"choices": [{"index": 0, "message": {"content": text}, "finish_reason": reason}]}).encode()


def cut_short(rng):
    """Somewhere before the reason is told."""
    whole = b"".join(frames(rng)[:-2])
    return [whole[: rng.randrange(1, len(whole))]]


def breaks(rng):
    told = frames(rng)
    return [*told[: rng.randrange(len(told) - 1)], UpstreamDied("gone")]


def garbled(rng):
    told = frames(rng)
    told.insert(rng.randrange(len(told) - 1), b"data: {]\n\n")
    return told


def reports(rng):
    told = frames(rng)
    told.insert(rng.randrange(len(told) - 1), b'data: {"error":{"message":"slot died","code":500}}\n\n')
    return told


STREAMS = {
    "cut short": cut_short,
    "breaks": breaks,
    "garbled": garbled,
    "reports an error": reports,
    "says nothing": lambda rng: [],
    "is truncated": lambda rng: frames(rng, "length"),
    "is filtered": lambda rng: frames(rng, "content_filter"),
    "has no words": lambda rng: frames(rng)[-2:],
}
WHOLE = {
    "cut short": lambda rng: [body(rng)[: rng.randrange(1, 40)]],
    "breaks": lambda rng: [body(rng)[:9], UpstreamDied("gone")],
    "no answer": lambda rng: [b'{"choices":[]}'],
    "an error": lambda rng: [b'{"error":{"message":"slot died"}}'],
    "a page": lambda rng: [b"<html>busy</html>"],
    "no reason": lambda rng: [body(rng, None)],
    "is truncated": lambda rng: [body(rng, "length")],
    "is filtered": lambda rng: [body(rng, "content_filter")],
    "empty": lambda rng: [body(rng, text=" ")],
    "refuses": lambda rng: [body(rng, text="I'm sorry, but I can't help with that.")],
}
STATUSES = (400, 401, 404, 429, 500, 503)


async def asked(gateway, number, *, stream):
    raw = json.dumps({**CHAT, "stream": stream, "messages": [{"role": "user", "content": f"q{number}"}]}).encode()
    one = request(raw, stream=stream)
    try:
        await answer(gateway, one)
    except EnginehouseError:
        return False
    return True


def test_of_a_thousand_faulty_answers_none_is_kept():
    async def main():
        engine, recall, rng = FakeEngine(), recall_of(Clock()), random.Random(7)
        launchers = {EngineName.OPENAI: FakeLauncher(engine, load_seconds=0)}
        async with open_gateway(
            {"m": ELSEWHERE}, launchers, recall=recall, retries=0, breaker_failures=9999
        ) as way:
            for number in range(BODIES):
                stream = rng.random() < 0.5
                fault = rng.choice(list((STREAMS if stream else WHOLE).values()))
                engine.chunks, engine.status = fault(rng), rng.choice(STATUSES) if rng.random() < 0.1 else 200
                await asked(way, number, stream=stream)
                assert (await recall.cache.answers.holding()).entries == 0, (number, engine.chunks)
            assert len(engine.calls) == BODIES
            engine.chunks, engine.status = frames(rng), 200
            assert await asked(way, BODIES, stream=True)
            engine.chunks = [body(rng)]
            assert await asked(way, BODIES + 1, stream=False)
        assert (await recall.cache.answers.holding()).entries == 2

    asyncio.run(main())


async def half_read(way, pieces):
    """A caller that reads so many pieces and goes."""
    async with way.frames(request(STREAM, stream=True), wording(STREAM)) as answering:
        for _ in range(pieces):
            await anext(answering.pieces)
        raise asyncio.CancelledError


@pytest.mark.parametrize("pieces", range(4))
async def test_a_stream_its_caller_leaves_is_not_kept(pieces):
    engine, recall = FakeEngine(frames(random.Random(3))), recall_of(Clock())
    launchers = {EngineName.OPENAI: FakeLauncher(engine, load_seconds=0)}
    async with open_gateway({"m": ELSEWHERE}, launchers, recall=recall) as way:
        with pytest.raises(asyncio.CancelledError):
            await half_read(way, min(pieces, len(engine.chunks) - 1))
    assert (await recall.cache.answers.holding()).entries == 0


async def test_a_caller_that_stops_reading_leaves_nothing():
    engine, recall = FakeEngine(frames(random.Random(3))), recall_of(Clock())
    launchers = {EngineName.OPENAI: FakeLauncher(engine, load_seconds=0)}
    asked = request(STREAM, stream=True)
    async with (
        open_gateway({"m": ELSEWHERE}, launchers, recall=recall) as way,
        way.frames(asked, wording(STREAM)) as answering,
    ):
        await anext(answering.pieces)
    assert (await recall.cache.answers.holding()).entries == 0
