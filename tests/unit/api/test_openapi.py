"""The OpenAPI page names every route, what it takes and how it refuses; and each path refuses in its own shape."""

import json
import re

import pytest

from enginehouse.testing import WHOLE, simulate
from tests.unit.api.house import open_door

HOT = {
    "/v1/chat/completions": ("ChatBody", "text/event-stream"),
    "/v1/completions": ("CompletionBody", "text/event-stream"),
    "/v1/responses": ("ResponsesBody", "text/event-stream"),
    "/v1/embeddings": ("EmbeddingBody", None),
    "/v1/messages": ("MessagesBody", "text/event-stream"),
    "/v1/messages/count_tokens": ("CountTokensBody", None),
    "/api/chat": ("OllamaChatBody", "application/x-ndjson"),
    "/api/generate": ("OllamaGenerateBody", "application/x-ndjson"),
    "/api/embed": ("OllamaEmbedBody", None),
    "/api/embeddings": ("OllamaEmbeddingsBody", None),
    "/v1/llm/generate": ("GenerateBody", "text/event-stream"),
    "/v1/llm/generate-embeddings": ("EmbedBody", None),
    "/v1/inference": ("InferenceBody", None),
    "/predict": ("PredictBody", None),
}
SHAPES = {
    "/v1/nothing": "OpenAIError",
    "/v1/models": "OpenAIError",
    "/api/v1/sessions": "OpenAIError",
    "/v1/messages": "AnthropicError",
    "/v1/messages/nothing": "AnthropicError",
    "/api/chat": "OllamaError",
    "/api/tags": "OllamaError",
    "/api/nothing": "OllamaError",
    "/stats": "ModelCacheError",
    "/models/a/b/c": "ModelCacheError",
}


def ask(method, path, *, keys=(), body=b"", **headers):
    async def main():
        async with open_door([WHOLE], keys=keys) as door:
            return await door.call(method, path, body, **headers)

    return simulate(main())


@pytest.fixture(scope="module")
def page():
    return ask("GET", "/openapi.json").json()


def operations(page):
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def shape_of(body):
    """Told by the fields, so that a shape that is told wrongly has no name here."""
    match body:
        case {"type": "error", "error": {"type": str(), "message": str(), **rest}} if len(body) == 2 and not rest:
            return "AnthropicError"
        case {"error": {"message": str(), "type": str(), "param": _, "code": str()}} if len(body) == 1:
            return "OpenAIError"
        case {"status": "error", "error": str(), "code": str(), "timestamp": str()} if len(body) == 4:
            return "ModelCacheError"
        case {"error": str()} if len(body) == 1:
            return "OllamaError"
    return None


@pytest.mark.parametrize("path", HOT)
def test_a_hot_route_tells_its_body_and_how_it_streams(page, path):
    body, stream = HOT[path]
    operation = page["paths"][path]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(f"/{body}")
    assert operation["responses"]["200"]["content"].keys() == {"application/json", *([stream] if stream else [])}
    told = {one["name"] for one in operation["parameters"]}
    own = {"text", "model_name"} if path == "/predict" else set()
    assert told == {"X-Request-Priority", "X-Request-Timeout", "X-Session-ID"} | own
    assert {"400", "401", "403", "404", "413", "429", "502", "503", "504", "507"} <= operation["responses"].keys()


def test_only_anthropics_clients_have_statuses_of_their_own(page):
    told = {path for path, _, operation in operations(page) if {"402", "529"} & operation["responses"].keys()}
    assert told == {"/v1/messages", "/v1/messages/count_tokens"}


def test_nothing_on_the_page_points_nowhere(page):
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(page)))
    assert references <= page["components"]["schemas"].keys()
    assert "$defs" not in json.dumps(page)


def test_every_refusal_has_the_shape_of_its_path(page):
    for path, _, operation in operations(page):
        assert ("422" in operation["responses"]) == (path == "/v1/inference")
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and path not in {"/health", "/ready"}:
                (content,) = answer["content"].values()
                assert content["schema"]["$ref"].rpartition("/")[2] == SHAPES.get(path, shape_by_rule(path)), path


def shape_by_rule(path):
    families = {
        "/api/v1/": "OpenAIError",
        "/v1/messages": "AnthropicError",
        "/api/": "OllamaError",
        "/models": "ModelCacheError",
    }
    if path in {"/cleanup", "/predict"}:
        return "ModelCacheError"
    return next((shape for start, shape in families.items() if path.startswith(start)), "OpenAIError")


def test_who_may_ask_without_a_key_is_told(page):
    assert page["security"] == [{"bearer": []}, {"key": []}]
    open_to_all = {path for path, _, operation in operations(page) if operation.get("security") == []}
    assert open_to_all == {"/", "/ping", "/health", "/ready"}
    for path, _, operation in operations(page):
        assert ("401" in operation["responses"]) == (path not in open_to_all)


@pytest.mark.parametrize("path", SHAPES)
def test_who_has_no_key_is_refused_in_the_shape_of_the_path(path):
    answer = ask("POST", path, keys=["a-key"])
    assert (answer.status, shape_of(answer.json())) == (401, SHAPES[path])
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", SHAPES)
def test_so_is_who_asks_for_what_there_is_not(path):
    answer = ask("DELETE", path)
    assert answer.status in {404, 405}
    assert shape_of(answer.json()) == SHAPES[path]


@pytest.mark.parametrize("path", ["/v1/messages", "/api/chat", "/api/tags", "/stats", "/v1/models/status"])
def test_a_wrong_method_says_which_is_right(path):
    answer = ask("PUT", path)
    assert answer.status == 405
    assert answer.headers["allow"] in {"GET", "POST"}
    assert answer.headers["allow"] in answer.body.decode()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/cleanup?force=perhaps", 400),
        ("GET", "/v1/models/tiny/logs?lines=0", 400),
        ("POST", "/api/show", 400),
        ("GET", "/models/unknown", 404),
        ("GET", "/v1/models/unknown", 404),
    ],
)
def test_so_is_what_the_framework_or_a_route_refuses(method, path, status):
    answer = ask(method, path)
    assert answer.status == status
    assert shape_of(answer.json()) == shape_by_rule(path.partition("?")[0])
