"""The front door: ids, credentials, methods, public routes, the list of models, the documentation."""

import pytest

from enginehouse.testing import WHOLE, simulate
from tests.unit.api.house import open_door

KEY = {"authorization": "Bearer a-key"}


def ask(method, path, *, keys=(), headers=None, body=b""):
    async def main():
        async with open_door([WHOLE], keys=keys) as door:
            return await door.call(method, path, body, **(headers or {}))

    return simulate(main())


def test_a_sane_request_id_is_kept_everywhere():
    for path in ("/ping", "/v1/models", "/nowhere"):
        assert ask("GET", path, headers={"x_request_id": "my id-1"}).headers["x-request-id"] == "my id-1"


@pytest.mark.parametrize("given", ["", "x" * 129, "a\x7fb", "caf\u00e9"])
def test_any_other_is_replaced(given):
    assert ask("GET", "/ping", headers={"x_request_id": given}).headers["x-request-id"] != given


@pytest.mark.parametrize("path", ["/ping", "/v1/models", "/nowhere", "/v1/chat/completions"])
def test_every_answer_is_timed(path):
    assert ask("GET", path, keys=["a-key"]).headers["server-timing"].startswith("gateway;dur=")
    assert ask("GET", path).headers["server-timing"].startswith("gateway;dur=")


@pytest.mark.parametrize("path", ["/", "/ping", "/health", "/ready", "/docs", "/openapi.json"])
def test_public_routes_want_no_key(path):
    assert ask("GET", path, keys=["a-key"]).status == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/models"), ("GET", "/v1/status"), ("POST", "/v1/chat/completions")]
)
def test_all_else_does(method, path):
    refused = ask(method, path, keys=["a-key"])
    assert refused.status == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert refused.headers["www-authenticate"] == "Bearer"
    assert ask(method, path, keys=["a-key"], headers=KEY).status != 401
    assert ask(method, path, keys=["a-key"], headers={"x_api_key": "a-key"}).status != 401


def test_a_wrong_method_on_a_hot_route_is_405():
    answer = ask("GET", "/v1/chat/completions")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_an_unknown_route_is_404_in_the_same_shape():
    answer = ask("GET", "/v1/nothing")
    assert answer.status == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_the_list_of_models_is_openais_with_more():
    body = ask("GET", "/v1/models").json()
    assert body["object"] == "list"
    entry = next(item for item in body["data"] if item["id"] == "tiny")
    assert entry["object"] == "model"
    assert entry["status"] == "off"
    assert entry["provider"] == "llama_server"
    assert entry["type"] == "chat"


@pytest.mark.parametrize(
    "path", ["/v1/models/org/big:8b", "/v1/models/org%2Fbig:8b", "/v1/models/org/big:8b-alias"]
)
def test_a_model_is_found_under_any_of_its_names(path):
    from urllib.parse import unquote

    assert ask("GET", unquote(path)).json()["id"] == "org/big:8b"


def test_an_unknown_model_is_404():
    answer = ask("GET", "/v1/models/tinny")
    assert answer.status == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_root_is_json_for_programs_and_a_page_for_browsers():
    assert ask("GET", "/").json() == {"status": "running", "service": "enginehouse"}
    assert ask("GET", "/", headers={"accept": "text/html"}).status == 307


def test_health_has_what_the_documents_promise():
    body = ask("GET", "/health").json()
    assert body["status"] == "healthy"
    assert {
        "cache_status",
        "memory_usage",
        "models_cached",
        "total_models",
        "dependencies",
        "timestamp",
    } <= body.keys()
    assert {"used_mb", "total_mb", "usage_percentage", "threshold"} == body["memory_usage"].keys()


def test_the_documentation_names_every_hot_route_and_no_outside_address():
    document = ask("GET", "/openapi.json").json()
    assert {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models"} <= document["paths"].keys()
    assert "messages" in document["components"]["schemas"]["ChatBody"]["properties"]
    page = ask("GET", "/docs").body.decode()
    assert "https://" not in page
