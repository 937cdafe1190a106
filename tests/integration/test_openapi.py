"""Schemathesis over the service's own page: whatever is asked, no failure and no answer that is not on the page.

Half of the questions name the models there are, so that not all of them end at the door. The questions are the same
in every run.
"""

import re
from collections import Counter

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.config import GenerationConfig, SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.parrot import Parrot
from tests.integration.service import Service

KEY = {"Authorization": "Bearer a-key"}
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
MAY_FAIL = {502, 503, 504, 507}
"""What is told of an engine or a store; `status_code_conformance` sees to it that the page tells it too."""
ENDLESS = r"(/stream|/v1/events)$"
"""Streams that end only with their caller; how they begin is asked apart."""
EXAMPLES = 10
HELLO = {
    "model": "parrot",
    "messages": [{"role": "user", "content": "Hello."}],
    "input": "Hello.",
    "texts": ["Hello."],
    "query": "Hello.",
    "session_id": "talk",
    "documents": ["Hello.", "Good night."],
    "max_tokens": 5,
}

MODELS = ("parrot", "vectors", "author/parrot:1b", "nobody")

NAMES = {"name": "shelf", "collection_name": "shelf", "key_id": "", "session_id": "talk"}
"""Other things there are, by what routes call them."""

seen: Counter[tuple[str, int]] = Counter()


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    with Parrot() as parrot:
        upstream = {"engine": "openai", "base_url": parrot.url}
        models = {
            "parrot": {**upstream, "kind": "chat", "aliases": ["author/parrot:1b"]},
            "vectors": {**upstream, "kind": "embedding"},
            "nobody": {"engine": "openai", "base_url": "http://127.0.0.1:9", "kind": "chat"},
        }
        config = {"data_dir": str(folder / "data"), "auth": {"api_keys": ["a-key"]}, "models": models}
        with Service(folder, config) as running:
            collection = {"collection_name": "shelf", "vector_size": 2}
            assert running.call("/v1/vector/collections", collection, KEY)[0] == 201
            assert running.call("/api/v1/sessions", {"id": "talk"}, KEY)[0] == 201
            NAMES["key_id"] = running.call("/v1/keys", {"name": "one"}, KEY)[1]["id"]
            yield running


@pytest.fixture(scope="module")
def page(house):
    """Keys are given to every question, and not made up: that all is refused without one is asked apart."""
    config = SchemathesisConfig()
    config.projects.default.generation = GenerationConfig(with_security_parameters=False)
    return schemathesis.openapi.from_url(f"{house.url}/openapi.json", config=config)


def test_every_answer_is_on_the_page(page, subtests):
    every = [found.ok() for found in page.exclude(path_regex=ENDLESS).get_all_operations()]
    for operation in sorted(every, key=lambda operation: operation.method == "delete"):
        with subtests.test(operation.label):
            put_to_it(operation)


def put_to_it(operation):
    """Questions of which one half are in order, and the others as wrong as a schema lets them be."""

    @given(case=st.one_of(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def asked(case):
        number = seen.total()
        if number % 3:
            aim(case, MODELS[number % len(MODELS)])
        response = case.call(headers=KEY, timeout=20)
        seen[operation.label, response.status_code] += 1
        assert response.status_code < 500 or response.status_code in MAY_FAIL, response.text
        case.validate_response(response, checks=CHECKS)

    asked()


def aim(case, model):
    """At a model, a collection or a key there is."""
    known = {"model": model, "model_id": model, "model_name": model, **NAMES}
    for fields in (case.path_parameters, case.body):
        if isinstance(fields, dict):
            fields.update({name: known[name] for name in fields.keys() & known if isinstance(fields[name], str)})


@pytest.fixture(scope="module")
def document(house):
    return requests.get(f"{house.url}/openapi.json", timeout=10).json()


def test_every_route_was_asked_and_most_have_answered(document):
    """The questions reach what is behind the door: not all of them may be refused."""
    routes = {label for label, path, _, _ in operations(document) if not re.search(ENDLESS, path)}
    assert routes == {route for route, _ in seen}
    assert len({route for route, status in seen if status < 300}) > len(routes) / 2


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", path, method, operation


def test_a_plain_question_is_answered_as_the_page_says(house, document):
    """Every route that takes words, whole and streamed; and of an engine that is away."""
    asked = 0
    for label, path, _, operation in operations(document):
        if "502" not in operation["responses"] or path == "/v1/messages/count_tokens" or "vector/" in path:
            continue
        told = operation["responses"]["200"]["content"]
        for changes, status, media_type in questions(told):
            words = {} if path == "/v1/responses" else {"prompt": "Hello."}  # there it is the name of a stored one
            model = "vectors" if "embed" in path or "rerank" in path else "parrot"
            body = HELLO | {"model": model, "model_id": model} | words | changes
            response = requests.post(house.url + path, json=body, headers=KEY, timeout=20)
            assert response.status_code == status, (label, changes, response.text)
            assert response.headers["content-type"].partition(";")[0] == media_type, (label, changes)
            asked += 1
    assert asked == 8 * 3 + 7


def questions(told):
    yield {"stream": False}, 200, "application/json"
    for media_type in told.keys() - {"application/json"}:
        yield {"stream": True}, 200, media_type
        yield {"model": "nobody"}, 502, "application/json"


def test_without_a_key_every_route_but_the_open_ones_says_401(house, document):
    for label, path, method, operation in operations(document):
        response = requests.request(method, house.url + path.replace("{", "").replace("}", ""), timeout=10)
        assert str(response.status_code) in operation["responses"]
        wanted = operation.get("security", document["security"])
        assert (response.status_code == 401) == (wanted != [] and {} not in wanted), label


def test_an_endless_stream_begins_as_the_page_says(house, document):
    endless = [path for path in document["paths"] if re.search(ENDLESS, path)]
    assert len(endless) == 4
    for path in endless:
        for model, status in (("parrot", 200), ("unknown", 404)):
            url = house.url + path.replace("{model_id}", model)
            if "{model_id}" not in path and status == 404:
                continue
            with requests.get(url, headers=KEY, stream=True, timeout=10) as response:
                told = document["paths"][path]["get"]["responses"][str(status)]["content"]
                assert response.status_code == status
                assert response.headers["content-type"].partition(";")[0] in told
