"""OpenAI's JavaScript client against the real bundled model, and against a scripted one for what that cannot do.

How it takes refusals, and what it asks again, is in `test_client_manners.py`, beside the Python clients.
"""

import json

import pytest

from tests.integration.faces import SCHEMA
from tests.integration.javascript import JavaScript
from tests.integration.service import Service
from tests.integration.upstream import Upstream

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
ASKED = {"model": "smollm2", "messages": QUESTION, "max_tokens": 12, "temperature": 0, "cache_prompt": False}
CHAT = "chat.completions.create"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def javascript():
    with JavaScript() as javascript:
        yield javascript


@pytest.fixture
def ask(javascript, service):
    """Asks the real model; what went wrong fails the test."""
    options = {"baseURL": f"{service.url}/v1", "apiKey": "none", "maxRetries": 0}

    def ask(method, *args):
        told = javascript.ask(options, method, *args)
        assert "error" not in told, told
        assert told["tries"] == 1
        return told

    return ask


def test_a_chat(ask):
    answer = ask(CHAT, ASKED)["answer"]
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["choices"][0]["finish_reason"] in {"stop", "length"}
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 16


def test_a_stream_and_a_body_say_the_same(ask):
    whole = ask(CHAT, ASKED)["answer"]["choices"][0]["message"]["content"]
    chunks = ask(CHAT, {**ASKED, "stream": True, "stream_options": {"include_usage": True}})["pieces"]
    pieces = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(pieces) == whole
    assert len(pieces) > 1
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0


def test_a_schema(ask):
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    answer = ask(CHAT, {**ASKED, "max_tokens": 40, "response_format": form})["answer"]
    assert json.loads(answer["choices"][0]["message"]["content"]).keys() == {"city"}


def test_a_response(ask):
    question = {"model": "smollm2", "input": "Say hello.", "max_output_tokens": 12, "temperature": 0}
    answer = ask("responses.create", question)["answer"]
    assert answer["status"] in {"completed", "incomplete"}
    assert answer["output_text"].strip()
    events = ask("responses.create", {**question, "stream": True})["pieces"]
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] in {"response.completed", "response.incomplete"}


def test_vectors(ask):
    """The client asks for base64 unless it is told otherwise, and reads that itself."""
    question = {"model": "minilm", "input": ["king", "queen"]}
    silent = ask("embeddings.create", question)["answer"]
    stated = ask("embeddings.create", {**question, "encoding_format": "float"})["answer"]
    assert [len(one["embedding"]) for one in silent["data"]] == [384, 384]
    for one, other in zip(silent["data"], stated["data"], strict=True):
        assert one["embedding"] == pytest.approx(other["embedding"], abs=1e-6)


def test_models(ask):
    assert {"smollm2", "minilm"} <= {model["id"] for model in ask("models.list")["pieces"]}
    assert ask("models.retrieve", "smollm2")["answer"]["context_length"] == 8192


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"model": "smolm2"}, ("NotFoundError", 404, "model_not_found", "model")),
        ({"temperature": "hot"}, ("BadRequestError", 400, "invalid_request_error", "temperature")),
        (
            {"messages": [{"role": "user", "content": "word " * 9000}]},
            ("BadRequestError", 400, "context_length_exceeded", "messages"),
        ),
    ],
)
def test_errors_are_its_own_classes(javascript, service, asked, expected):
    options = {"baseURL": f"{service.url}/v1", "apiKey": "none"}
    told = javascript.ask(options, CHAT, ASKED | asked)
    error = told["error"]
    assert (error["name"], error["status"], error["code"], error["param"]) == expected
    assert told["tries"] == 1


def test_a_service_that_is_not_there(javascript):
    options = {"baseURL": "http://127.0.0.1:9/v1", "apiKey": "none", "maxRetries": 0}
    assert javascript.ask(options, CHAT, ASKED)["error"]["name"] == "APIConnectionError"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("javascript")
    with Upstream() as upstream:
        models = {
            "openai": {"engine": "openai", "base_url": f"{upstream.url}/well/v1"},
            "anthropic": {"engine": "anthropic", "base_url": f"{upstream.url}/well"},
            "ollama": {"engine": "ollama", "base_url": f"{upstream.url}/well/api"},
        }
        with Service(folder, {"default_models": False, "models": models, "data_dir": str(folder)}) as running:
            yield running


@pytest.mark.parametrize("model", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("stream", [False, True])
def test_tools(javascript, house, model, stream):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    asked = {"model": model, "messages": [{"role": "user", "content": "parallel"}], "tools": tools}
    told = javascript.ask({"baseURL": f"{house.url}/v1", "apiKey": "none"}, CHAT, asked | {"stream": stream})
    assert "error" not in told, told
    if stream:
        calls, reason = _calls_of(told["pieces"])
    else:
        [choice] = told["answer"]["choices"]
        calls = [
            (call["function"]["name"], call["function"]["arguments"]) for call in choice["message"]["tool_calls"]
        ]
        reason = choice["finish_reason"]
    assert reason == "tool_calls"
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [
        ("weather", {"city": "Köln"}),
        ("weather", {"city": "東京"}),
    ]


@pytest.mark.parametrize("model", ["openai", "anthropic", "ollama"])
def test_a_schema_at_every_engine(javascript, house, model):
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    asked = {"model": model, "messages": [{"role": "user", "content": "schema"}], "response_format": form}
    told = javascript.ask({"baseURL": f"{house.url}/v1", "apiKey": "none"}, CHAT, asked)
    text = told["answer"]["choices"][0]["message"]["content"]
    assert json.loads(text) == {"keys": sorted(SCHEMA["properties"])}


def _calls_of(chunks):
    calls, reason = {}, None
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        reason = choice["finish_reason"] or reason
        for call in choice["delta"].get("tool_calls") or ():
            name, arguments = calls.get(call["index"], ("", ""))
            told = call["function"]
            calls[call["index"]] = (name + (told.get("name") or ""), arguments + (told.get("arguments") or ""))
    return list(calls.values()), reason
