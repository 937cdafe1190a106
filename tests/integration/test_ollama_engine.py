"""Ollama's native API over a real connection."""

import asyncio
import math

import pytest

from enginehouse.engines.base import Embeds
from enginehouse.engines.ollama import Details, Known, Ollama, Progress, Running, Shown
from enginehouse.errors import InvalidRequest, SourceError, UpstreamDied, UpstreamRefused
from enginehouse.types import Kind, Usage
from enginehouse.types.answer import Finish, fold
from enginehouse.types.generation import Generation, Prompt, Role, Text, Turn
from tests.integration.ollama_server import HELLO, FakeOllama


@pytest.fixture
async def server():
    fake = FakeOllama()
    async with fake.serve() as fake.url:
        yield fake


def at(server, model="m:1b", **options):
    return Ollama(server.url, "key", model=model, silence=5, **options)


def question(text):
    return Generation(model="ours", turns=(Turn(role=Role.USER, parts=(Text(text=text),)),))


async def ask(engine, generation):
    async with engine.generate(generation, request_id="r1") as events:
        return fold([event async for event in events])


async def test_an_answer_comes_whole_and_the_server_hears_its_own_name(server):
    async with at(server) as engine:
        answer = await ask(engine, question("hi"))
    assert answer.choices[0].text() == HELLO
    assert answer.choices[0].reason is Finish.LENGTH
    assert answer.usage == Usage(output=3)
    path, body = server.asked[-1]
    assert (path, body["model"], body["stream"]) == ("/api/chat", "m:1b", True)
    assert server.headers[-1]["Authorization"] == "Bearer key"
    assert server.headers[-1]["X-Request-ID"] == "r1"


async def test_a_prompt_goes_to_generate_as_it_stands(server):
    async with at(server) as engine:
        answer = await ask(engine, Generation(model="ours", prompt=Prompt(texts=("Once",))))
    assert answer.choices[0].text() == HELLO
    assert server.asked[-1][0] == "/api/generate"
    assert server.asked[-1][1]["raw"] is True


@pytest.mark.parametrize(
    ("text", "kind"), [("refuse", InvalidRequest), ("break", UpstreamDied), ("fail", UpstreamRefused)]
)
async def test_what_goes_wrong_is_never_an_answer(server, text, kind):
    async with at(server) as engine:
        with pytest.raises(kind):
            await ask(engine, question(text))


async def test_who_leaves_stops_the_generation(server):
    async with at(server) as engine:
        async with engine.generate(question("hang")) as events:
            await anext(events)
        await asyncio.wait_for(server.hung_up.wait(), 1)


async def test_vectors(server):
    async with at(server, kind=Kind.EMBEDDING) as engine:
        assert isinstance(engine, Embeds)
        embedding = await engine.embed(["a", "b"])
        assert (embedding.vectors, embedding.tokens) == ([[1.0, 0.0], [1.0, 0.0]], 5)
        with pytest.raises(InvalidRequest):
            await engine.embed([[1, 2]])
        with pytest.raises(UpstreamDied):
            await engine.embed(["a", "lost"])


async def test_what_the_server_has_and_can(server):
    async with at(server) as engine:
        assert await engine.healthy()
        details = Details(family="llama", parameter_size="1.2B", quantization_level="Q8_0")
        assert await engine.tags() == (Known(name="m:1b", size=9, digest="d", details=details),)
        assert await engine.ps() == (Running(name="m:1b", size=9, size_vram=4, context_length=4096),)
        assert await engine.show() == Shown(capabilities=("completion", "tools"), context_length=131072)


async def test_a_pull_tells_how_far_it_is(server):
    async with at(server) as engine:
        progress = [step async for step in engine.pull()]
        assert progress[1] == Progress(status="pulling d", digest="d", total=9, completed=4)
        assert progress[-1].status == "success"
    for model, kind in (("lost", SourceError), ("cut", UpstreamDied)):
        async with at(server, model) as engine:
            with pytest.raises(kind):
                [step async for step in engine.pull()]


async def test_loading_and_unloading_are_a_matter_of_keep_alive(server):
    async with at(server) as engine:
        await engine.load()
        await engine.load(math.inf)
        await engine.load(60.0)
        await engine.unload()
    bodies = [body for path, body in server.asked if path == "/api/generate"]
    assert [body.get("keep_alive") for body in bodies] == [None, -1, 60.0, 0]
    assert all("prompt" not in body for body in bodies)
    async with at(server, kind=Kind.EMBEDDING) as engine:
        await engine.load(60.0)
    assert server.asked[-1] == ("/api/embed", {"model": "m:1b", "input": [], "keep_alive": 60.0})


async def test_a_server_that_is_not_there_is_not_healthy():
    async with Ollama("http://127.0.0.1:9", None, model="m", silence=5) as engine:
        assert not await engine.healthy()
        with pytest.raises(UpstreamDied):
            await engine.show()
