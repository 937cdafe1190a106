"""Answers told again: whatever cut the network made of them, in every dialect the same words in valid frames."""

import asyncio
import json
import random
from contextlib import asynccontextmanager

import pytest

from enginehouse.core.gateway import Wording
from enginehouse.testing import FakeEngine, FakeLauncher
from enginehouse.types import EngineName, Usage
from enginehouse.types.answer import Answer, Choice, Finish, events_of
from enginehouse.types.generation import Dialect, Text, Thinking
from tests.unit.cache.made import Clock, recall_of
from tests.unit.core.way import ELSEWHERE, answer, open_gateway, request
from tests.unit.dialects.test_every_dialect import CLIENTS, HEAD, Said, received, streamed
from tests.unit.dialects.test_openai_chat import cut

CHUNKINGS = 170
"""Of each of six faces: more than a thousand together, by half of them streams and half bodies at first."""
WORDS = ["Grüße", "世界", "🤔", "\n", " ", "\\", '"', "data: [DONE]", "\u2028", "word", "</think>"]
DIALECTS = {
    "Chat": Dialect.OPENAI_CHAT,
    "Completions": Dialect.OPENAI_COMPLETIONS,
    "Responses": Dialect.OPENAI_RESPONSES,
    "Messages": Dialect.ANTHROPIC_MESSAGES,
    "Chatting": Dialect.OLLAMA_CHAT,
    "Generating": Dialect.OLLAMA_GENERATE,
}
BODIES = {
    "Completions": {"model": "m", "prompt": "hi"},
    "Generating": {"model": "m", "prompt": "hi"},
    "Responses": {"model": "m", "input": "hi"},
    "Messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class Speaking(FakeEngine):
    """Says the same in every dialect, in its own words."""

    dialects = frozenset(DIALECTS.values())
    media_type = ""

    @asynccontextmanager
    async def forward(self, call):
        async with super().forward(call) as reply:
            reply.headers = {"Content-Type": self.media_type if call.stream else "application/json"}
            yield reply


def said_by(rng, name):
    parts = [Text(text="so " + "".join(rng.choices(WORDS, k=rng.randint(1, 30))))]
    if name != "Completions" and rng.random() < 0.3:
        parts.insert(0, Thinking(text="hm" + "".join(rng.choices(WORDS, k=5))))
    return Answer(
        id="x", model="m", choices=(Choice(parts=tuple(parts), reason=Finish.STOP),), usage=Usage(input=3, output=4)
    )


def asked(client, name, *, stream):
    body = json.dumps({**BODIES.get(name, CHAT), "stream": stream}).encode()
    wording = Wording(DIALECTS[name], client.codec, HEAD, lambda: client.codec.read_request(body).generation)
    return request(body, stream=stream), wording


def read(client, data, *, stream):
    return received(client, [data]) if stream else client.whole(data)


async def told_again(client, name, seed):
    """What is told at first, and then in both forms: three times the same, and one engine's call."""
    rng = random.Random(seed)
    engine, wanted = Speaking(), said_by(rng, name)
    engine.media_type = client.codec.media_type
    first_streams = rng.random() < 0.5
    if first_streams:
        engine.chunks = list(cut(streamed(client, rng, wanted), seed))
    else:
        engine.chunks = [client.codec.write_answer(events_of(wanted), HEAD)]
    recall = recall_of(Clock(), replay=rng.choice(["instant", "paced"]), replay_speed=1e6)
    launchers = {EngineName.OPENAI: FakeLauncher(engine, load_seconds=0)}
    async with open_gateway({"m": ELSEWHERE}, launchers, recall=recall) as gateway:
        expected = Said(wanted.choices[0].text(), wanted.choices[0].thinking())
        for stream in (first_streams, True, False):
            one, wording = asked(client, name, stream=stream)
            got = read(client, await answer(gateway, one, wording), stream=stream)
            assert (got.text, got.thinking) == (expected.text, expected.thinking), (stream, one.timings.cache)
        assert one.timings.cache == "exact"
        assert len(engine.calls) == 1


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: type(client).__name__)
def test_it_is_told_again_to_the_last_byte(client):
    name = type(client).__name__

    async def main():
        for seed in range(CHUNKINGS):
            await told_again(client, name, seed)

    asyncio.run(main())
