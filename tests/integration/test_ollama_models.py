"""What an Ollama server has and says of it, in the lists of a service before it."""

import asyncio

import pytest

from tests.integration.ollama_server import HELLO, FakeOllama
from tests.integration.service import Service

WORDS = ["chat", "completion", "json_schema", "tools"]


@pytest.fixture
async def house(tmp_path):
    fake = FakeOllama()
    async with fake.serve() as url:
        models = {
            "far": {"engine": "ollama", "upstream_model": "m:1b"},
            "short": {
                "engine": "ollama",
                "upstream_model": "m:1b",
                "context_length": 100,
                "capabilities": ["chat"],
            },
        }
        config = {"data_dir": str(tmp_path / "data"), "default_models": False, "models": models}
        running = Service(tmp_path, config, environ={"ENGINEHOUSE_OLLAMA__BASE_URL": url})
        await asyncio.to_thread(running.start)
        try:
            yield running
        finally:
            await asyncio.to_thread(running.__exit__)


async def answer(house, path, body=None):
    return (await asyncio.to_thread(house.call, path, body))[1]


def listed(house):
    return {model["id"]: model for model in house.call("/v1/models")[1]["data"]}


async def test_the_lists_say_what_the_server_says(house):
    def known():
        models = listed(house)
        return "m:1b" in models and models["far"]["context_length"]

    await asyncio.to_thread(house.wait_until, known, 30)
    models = await asyncio.to_thread(listed, house)
    told = {id_: (model["origin"], model["context_length"], model["capabilities"]) for id_, model in models.items()}
    assert told == {
        "far": ("settings", 131072, WORDS),
        "short": ("settings", 100, ["chat"]),
        "m:1b": ("ollama", 131072, WORDS),
    }
    assert {model["name"] for model in (await answer(house, "/api/tags"))["models"]} == set(told)
    shown = await answer(house, "/api/show", {"model": "m:1b"})
    assert shown["capabilities"] == ["completion", "tools"]
    assert 131072 in shown["model_info"].values()
    question = {"model": "m:1b", "messages": [{"role": "user", "content": "hi"}]}
    told = await answer(house, "/v1/chat/completions", question)
    assert told["choices"][0]["message"]["content"] == HELLO
