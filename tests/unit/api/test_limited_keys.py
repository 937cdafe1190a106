"""A key for some models learns of no other, whatever it asks: not its name, not its state, not what it holds."""

import asyncio

import pytest

from enginehouse.errors import ModelLoadFailed
from enginehouse.settings.schema import ServerSettings
from enginehouse.testing import WHOLE, simulate
from enginehouse.types import Principal
from tests.unit.api.house import open_door

SECRETS = ("org/big", "vec")
EVE = Principal(user="eve", models=("tiny",))
ANN = Principal(user="ann")


class Known:
    """Everybody is this principal."""

    open = False

    def __init__(self, principal):
        self._principal = principal

    async def principal(self, authorization, api_key):
        return self._principal


def asked(principal, work, **how):
    """What comes of a work at a door where everybody is this principal, once all models are in memory."""

    async def main():
        async with open_door([WHOLE], **how) as door:
            for name in ("tiny", "org/big:8b", "vec"):
                await door.post(f"/v1/models/{name}/load", {})
            door.app.adopt(Known(principal), ServerSettings())
            return await work(door)

    return simulate(main())


OVERVIEWS = [
    "/v1/models",
    "/v1/llm/models",
    "/api/v1/models",
    "/api/tags",
    "/api/ps",
    "/models",
    "/stats",
    "/vram",
    "/v1/status",
    "/v1/queue/stats",
    "/v1/models/status",
    "/v1/health/models",
]


@pytest.mark.parametrize("path", OVERVIEWS)
def test_no_overview_names_them(path):
    def get(door):
        return door.call("GET", path)

    answer = asked(EVE, get)
    assert answer.status == 200
    text = answer.body.decode()
    assert [secret in text for secret in SECRETS] == [False, False]
    assert "tiny" in text
    assert SECRETS[0] in asked(ANN, get).body.decode(), "the test asks where there is nothing to see"


def test_nor_does_the_list_of_failures():
    failure = ModelLoadFailed("The secret word of org/big:8b.")
    answer = asked(EVE, lambda door: door.call("GET", "/v1/models/failed"), failure=failure)
    assert list(answer.json()["models"]) == ["tiny"]
    answer = asked(ANN, lambda door: door.call("GET", "/v1/models/failed"), failure=failure)
    assert "org/big:8b" in answer.json()["models"]


def test_sums_are_those_of_what_is_seen():
    body = asked(EVE, lambda door: door.call("GET", "/v1/status")).json()
    assert body["summary"] == {"ready": 1}
    body = asked(EVE, lambda door: door.call("GET", "/stats")).json()["cache_stats"]
    assert (body["total_models"], body["cached_models"]) == (1, 1)


SINGLE = [
    ("GET", "/v1/models/{model}"),
    ("GET", "/v1/models/{model}/status"),
    ("GET", "/v1/models/{model}/status?explain=1"),
    ("GET", "/models/{model}"),
    ("GET", "/v1/models/{model}/logs"),
    ("POST", "/v1/models/{model}/load"),
    ("POST", "/v1/models/{model}/unload"),
    ("POST", "/models/{model}/warmup"),
]


@pytest.mark.parametrize(("method", "path"), SINGLE)
@pytest.mark.parametrize("model", ["org/big:8b", "org/big:8b-alias", "vec"])
def test_no_route_of_one_model_tells_of_them(method, path, model):
    answer = asked(EVE, lambda door: door.call(method, path.format(model=model)))
    assert answer.status == 403
    assert "ready" not in answer.body.decode()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models/org/big:8c", b""),
        ("GET", "/v1/models/org/big:8c/status", b""),
        ("GET", "/models/org/big:8c", b""),
        ("POST", "/api/show", {"model": "org/big:8c"}),
        ("POST", "/v1/chat/completions", {"model": "org/big:8c", "messages": [{"role": "user", "content": "x"}]}),
        ("POST", "/v1/embeddings", {"model": "org/big:8c", "input": "x"}),
        ("POST", "/v1/rerank", {"model": "org/big:8c", "query": "x", "documents": ["x"]}),
    ],
)
def test_a_near_miss_names_no_neighbour(method, path, body):
    answer = asked(EVE, lambda door: door.call(method, path, body))
    assert answer.status == 404
    assert "org/big:8b" not in answer.body.decode()
    assert "org/big:8b" in asked(ANN, lambda door: door.call(method, path, body)).body.decode()


@pytest.mark.parametrize("again", [False, True])
def test_the_stream_of_states_is_as_silent(again):
    async def follow(door):
        headers = {"last_event_id": door.changes.token(0)} if again else {}
        caller = door.caller("GET", "/v1/models/status/stream", **headers)
        running = asyncio.ensure_future(caller.run())
        await asyncio.sleep(1)
        for model in [model for model in door.catalogue.models() if model.id != "tiny"]:
            await door.residency.unload(model.deployments[0].id)
        await door.residency.unload("tiny")
        await asyncio.sleep(1)
        door.stopping.set()
        await running
        return caller.answer.body.decode()

    told = asked(EVE, follow)
    assert [secret in told for secret in SECRETS] == [False, False]
    assert '"tiny"' in told
    assert '"off"' in told
    everything = asked(ANN, follow)
    assert [secret in everything for secret in SECRETS] == [True, True]


def test_memory_as_a_whole_is_no_secret():
    body = asked(EVE, lambda door: door.call("GET", "/vram")).json()
    assert (list(body["models"]), body["ram"]["models_mb"]) == (["tiny"], 500.0)
    assert body["models"]["tiny"]["ram_mb"] == 200.0
