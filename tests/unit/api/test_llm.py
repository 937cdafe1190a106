"""M1's and M4's own routes over a fake engine, and what a caller may spend on the way."""

import json

import pytest

from enginehouse.testing import WHOLE, simulate
from tests.unit.api.house import open_door

GENERATE = "/v1/llm/generate"
INFERENCE = "/v1/inference"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


def with_door(**how):
    def wrap(test):
        def run():
            async def main():
                async with open_door(**how) as door:
                    await test(door)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return wrap


def said(text):
    message = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [message], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}).encode()


@with_door(chunks=[WHOLE])
async def test_generate_tells_usage_and_cost(door):
    answer = await door.post(GENERATE, HELLO, x_request_id="mine")
    assert answer.json() == {
        "response": "hi",
        "model": "tiny",
        "provider": "llama_server",
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
        "cost": {"input_cost": None, "output_cost": None, "total_cost": None},
        "finish_reason": "stop",
        "cached": False,
        "request_id": "mine",
    }
    (record,) = door.books.kept.values()
    assert (record.face, record.outcome, record.input_tokens, record.output_tokens) == ("llm", "completed", 3, 1)


@with_door(chunks=[WHOLE])
async def test_a_stream_tells_words_and_then_all_else(door):
    answer = await door.post(GENERATE, {**HELLO, "stream": True})
    *words, end, done = answer.events()
    assert [json.loads(word)["delta"] for word in words] == ["hi"]
    assert (json.loads(end)["done"], json.loads(end)["usage"]["total_tokens"], done) == (True, 4, "[DONE]")


@with_door()
async def test_vectors_with_their_cost(door):
    answer = await door.post("/v1/llm/generate-embeddings", {"model": "vec", "texts": ["four", "fives"]})
    body = answer.json()
    assert [len(vector) for vector in body["embeddings"]] == [2, 2]
    assert body["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


@with_door()
async def test_the_list_of_models(door):
    for path in ("/v1/llm/models", "/api/v1/models"):
        listed = (await door.call("GET", path)).json()["models"]
        tiny = next(model for model in listed if model["id"] == "tiny")
        assert set(tiny) == {
            "id",
            "name",
            "provider",
            "type",
            "max_tokens",
            "cost_per_1k_input",
            "cost_per_1k_output",
            "capabilities",
        }


@with_door(chunks=[WHOLE])
async def test_inference_without_a_schema(door):
    body = (await door.post(INFERENCE, {"model_id": "tiny", "prompt": "hi", "system": "short"})).json()
    assert (body["model_id"], body["output"], body["json_mode"], body["attempts"]) == ("tiny", "hi", None, 1)
    assert body["usage"]["total_tokens"] == 4
    assert set(body["timing"]) == {"queue_ms", "load_ms", "inference_ms", "total_ms"}


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@with_door(chunks=[said('{"n": 5}')])
async def test_inference_under_a_schema(door):
    body = (await door.post(INFERENCE, {"model_id": "tiny", "prompt": "hi", "json_schema": SCHEMA})).json()
    assert (body["json_mode"], body["attempts"], body["parsed"]) == ("native", 1, {"n": 5})


@with_door(chunks=[said('{"n": "five"}')])
async def test_an_answer_that_never_meets_its_schema_is_422_with_paths(door):
    answer = await door.post(INFERENCE, {"model_id": "tiny", "prompt": "hi", "json_schema": SCHEMA})
    assert answer.status == 422
    assert answer.json()["error"]["code"] == "schema_validation_failed"
    assert "/n" in answer.json()["error"]["message"]
    assert len(door.books.kept) == 3


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (GENERATE, {"model": "tiny"}, "messages"),
        (GENERATE, {**HELLO, "temperature": 9}, "temperature"),
        (INFERENCE, {"model_id": "tiny"}, "prompt"),
        (INFERENCE, {"model_id": "tiny", "prompt": "hi", "timeout": 0}, "timeout"),
        (INFERENCE, {"model_id": "tiny", "prompt": "hi", "json_schema": {"$ref": "http://x/y"}}, "json_schema"),
        ("/v1/llm/generate-embeddings", {"model": "vec", "texts": []}, "texts"),
    ],
)
def test_bad_input_names_the_field(path, body, param):
    async def main():
        async with open_door([WHOLE]) as door:
            answer = await door.post(path, body)
            assert (answer.status, answer.json()["error"]["param"]) == (400, param)
            assert not door.engine.calls

    simulate(main())


@with_door(chunks=[30.0, WHOLE])
async def test_a_timeout_bounds_all_of_it(door):
    answer = await door.post(INFERENCE, {"model_id": "tiny", "prompt": "hi", "timeout": 2})
    assert (answer.status, answer.json()["error"]["code"]) == (504, "upstream_timeout")
