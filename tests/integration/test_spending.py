"""What callers may spend, over HTTP, at a real service: budgets, token limits, allowed models, and who leaves."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.integration.openai_server import FakeOpenAI
from tests.integration.service import Service, Stream

ADMIN = {"X-API-Key": "the-admin-of-this-test"}
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
PRICE = {"input_per_1k": "1", "output_per_1k": "1"}
PARROT = {"engine": "openai", "kind": "chat", "price": PRICE}
HELD = 400
"""Most tokens of an answer: more than half of a budget of half a dollar, at a dollar a thousand."""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spending")
    with FakeOpenAI() as upstream:
        models = {name: {**PARROT, "base_url": upstream.url} for name in ("parrot", "jackdaw")}
        config = {
            "data_dir": str(folder),
            "default_models": False,
            "models": {**models, "vectors": {**PARROT, "base_url": upstream.url, "kind": "embedding"}},
            "auth": {"api_keys": [ADMIN["X-API-Key"]]},
            "limits": {"tiers": {"crowd": "100/hour"}},
        }
        with Service(folder, config) as running:
            yield running


def key(house, **wanted):
    """Headers of a fresh key; its user is `key:` and its id, unless said otherwise."""
    status, made, _ = house.call("/v1/keys", {"tier": "free", **wanted}, ADMIN)
    assert status in {200, 201}, made
    return {"X-API-Key": made["key"]}


def ask(house, headers, path=CHAT, content="hello", **more):
    body = {"model": "parrot", "messages": [{"role": "user", "content": content}], "max_tokens": 5, **more}
    return house.call(path, body, headers)


def usage(house, headers):
    status, told, _ = house.call("/v1/llm/usage", None, headers)
    assert status == 200, told
    return told


@pytest.mark.parametrize("stream", [False, True])
def test_a_spent_budget_refuses_and_says_that_asking_again_is_no_use(house, stream):
    """Each answer took ten tokens, a cent: the second one needs more than the cent and a half."""
    mine = key(house, user_id=f"spender-{stream}", budget={"dollars": "0.015", "period": "total"})
    assert ask(house, mine, stream=stream)[0] == 200
    status, body, headers = ask(house, mine, stream=stream)
    assert (status, body["error"]["code"], headers["x-should-retry"]) == (429, "insufficient_quota", "false")
    status, body, headers = ask(house, mine, MESSAGES, stream=stream)
    assert (status, body["type"], headers["x-should-retry"]) == (402, "error", "false")
    house.wait_until(lambda: usage(house, mine)["failed_requests"] == 2, 5)
    told = usage(house, mine)
    assert (told["total_cost"], told["total_requests"]) == (0.01, 3)


def test_a_budget_is_held_while_a_request_runs(house):
    mine = key(house, user_id="holder", budget={"dollars": "0.5", "period": "total"})
    body = {"model": "parrot", "messages": [{"role": "user", "content": "count"}], "stream": True}
    with Stream(house, CHAT, {**body, "max_tokens": HELD}, headers=mine) as running:
        running.read_until(b'"content"')
        assert ask(house, mine, max_tokens=HELD)[1]["error"]["code"] == "insufficient_quota"
    house.wait_until(lambda: usage(house, mine)["cancelled_requests"] == 1, 5)
    assert ask(house, mine, max_tokens=HELD)[0] == 200


def test_a_limit_on_tokens_counts_what_was_used(house):
    mine = key(house, user_id="talker", limits={"tokens": "40/hour"})
    passed = [ask(house, mine)[0] for _ in range(5)]
    assert passed == [200, 200, 200, 200, 429]
    status, body, headers = ask(house, mine)
    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 3000 < int(headers["Retry-After"]) <= 3660
    assert headers["x-ratelimit-remaining-tokens"] == "0"


def test_a_key_with_models_of_its_own_gets_no_other_on_any_face(house):
    mine = key(house, user_id="chooser", models=["parrot"])
    turns = [{"role": "user", "content": "hello"}]
    asked = {
        CHAT: {"messages": turns},
        "/v1/completions": {"prompt": "hello"},
        "/v1/responses": {"input": "hello"},
        MESSAGES: {"messages": turns, "max_tokens": 5},
        "/v1/messages/count_tokens": {"messages": turns},
        "/api/chat": {"messages": turns},
        "/api/generate": {"prompt": "hello"},
        "/v1/llm/generate": {"messages": turns},
        "/v1/inference": {"prompt": "hello"},
        "/v1/embeddings": {"input": "hello"},
        "/api/embed": {"input": "hello"},
        "/v1/llm/generate-embeddings": {"texts": ["hello"]},
    }
    for path, body in asked.items():
        model = "vectors" if "embed" in path else "jackdaw"
        named = {"model_id": model} if path == "/v1/inference" else {"model": model}
        status, told, _ = house.call(path, {**named, **body}, mine)
        assert status == 403, (path, told)
    assert ask(house, mine)[0] == 200


def test_a_key_with_models_of_its_own_sees_no_other_in_any_list(house):
    mine = key(house, user_id="reader", models=["parrot"])
    for path in ("/v1/models", "/v1/llm/models", "/api/v1/models", "/api/tags", "/models"):
        status, told, _ = house.call(path, None, mine)
        assert status == 200, (path, told)
        text = json.dumps(told)
        assert ("jackdaw" in text, "vectors" in text) == (False, False), (path, text)
        assert "parrot" in text, (path, text)


def test_of_two_hundred_at_once_a_hundred_pass(house):
    mine = key(house, user_id="crowd", tier="crowd")
    with ThreadPoolExecutor(200) as crowd:
        answers = list(crowd.map(lambda _: ask(house, mine), range(200)))
    statuses = [status for status, _, _ in answers]
    assert (statuses.count(200), statuses.count(429)) == (100, 100)
    assert usage(house, mine)["total_requests"] == 100


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/llm/generate"])
def test_who_leaves_a_stream_is_recorded_with_what_was_passed_on(house, path):
    mine = key(house, user_id=f"leaver {path}")
    body = {"model": "parrot", "messages": [{"role": "user", "content": "count"}], "stream": True}
    with Stream(house, path, {**body, "max_tokens": 50}, headers=mine) as running:
        running.read_until(b'"3 "')
    house.wait_until(lambda: usage(house, mine)["total_requests"] == 1, 30)
    with closing(sqlite3.connect(house.folder / "enginehouse.db")) as database:
        columns = "outcome, error, estimated, input_tokens > 0, output_tokens"
        question = f"SELECT {columns} FROM usage_records WHERE user_id = ?"
        [(*how, output)] = database.execute(question, [f"leaver {path}"]).fetchall()
    assert how == ["cancelled", "caller_gone", 1, 1]
    assert 4 <= output < 1000


def test_a_failure_is_in_the_ledger_when_its_caller_hears_of_it(house):
    mine = key(house, user_id="refused")
    for number in range(1, 6):
        assert ask(house, mine, content="refuse")[0] == 400
        assert usage(house, mine)["failed_requests"] == number, "who asks at once is told of all"
        assert recorded(house.folder, "refused") == [("failed", "invalid_request_error")] * number


def test_another_process_reads_of_an_answer_a_moment_later(house):
    mine = key(house, user_id="watched")
    assert ask(house, mine)[0] == 200
    house.wait_until(lambda: recorded(house.folder, "watched") == [("completed", "")], 5)


def test_a_stream_that_a_shutdown_cuts_off_is_recorded_as_that(tmp_path):
    body = {"model": "parrot", "messages": [{"role": "user", "content": "count"}], "stream": True}
    with FakeOpenAI() as upstream:
        config = {
            "data_dir": str(tmp_path),
            "default_models": False,
            "models": {"parrot": {**PARROT, "base_url": upstream.url}},
            "server": {"shutdown_timeout": 1},
        }
        with Service(tmp_path, config) as own, Stream(own, CHAT, body) as cut:
            cut.read_until(b'"3 "')
            own.process.terminate()
            cut.read_until(b'"shutting_down"')
            assert own.process.wait(20) == 0
    assert recorded(tmp_path, "local") == [("failed", "shutting_down")]


def recorded(folder, user):
    with closing(sqlite3.connect(folder / "enginehouse.db")) as database:
        question = "SELECT outcome, error FROM usage_records WHERE user_id = ? ORDER BY id"
        return database.execute(question, [user]).fetchall()
