"""One settings file, word for word, from the embedded form to servers: only addresses in the environment differ.

The vectors are part of it where QDRANT_URL names a server; what a Qdrant that goes away does is shown in any case.
"""

import os
from contextlib import ExitStack

import pytest

from tests.integration.command import run
from tests.integration.loopback import Handler, Loopback
from tests.integration.postgres import Postgres
from tests.integration.redis_server import RedisServer
from tests.integration.replicas import Book
from tests.integration.service import Service, free_port

CHAT = "/v1/chat/completions"
BOSS = {"X-API-Key": "boss-of-them-all"}


@pytest.fixture(scope="module")
def book():
    with Book() as running:
        yield running


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """Of servers, as variables of the environment."""
    with Postgres() as postgres, RedisServer(tmp_path_factory.mktemp("redis")) as redis:
        found = {"DATABASE_URL": postgres.new_database(), "REDIS_URL": redis.url}
        yield found | {name: os.environ[name] for name in ("QDRANT_URL",) if name in os.environ}


def settings(folder, book):
    return {
        "data_dir": str(folder / "data"),
        "default_models": False,
        "auth": {"key_secret": "k" * 40, "api_keys": [BOSS["X-API-Key"]]},
        "cache": {"enabled": True, "semantic": {"enabled": False}},
        "registration": {"base_urls": ["*"]},
        "models": {"m": {"base_url": book.url, "kind": "chat", "slots": 2, "price": {"output_per_1k": "1"}}},
    }


def day(service, upstream):
    """A day in the life of a service, as its callers see it; what differs by nature is left out."""
    key = service.call("/v1/keys", {"user_id": "ann", "limits": {"requests": "4/minute"}}, BOSS)[1]["key"]
    ann = {"X-API-Key": key}

    def ask(words, headers=ann, **more):
        body = {"model": "m", "messages": [{"role": "user", "content": f"q {words} 0"}], **more}
        status, said, told = service.call(CHAT, body, headers)
        return status, told["X-Enginehouse-Cache"], said["usage"] if status == 200 else said["error"]["code"]

    session = service.call("/api/v1/sessions", {"title": "t"}, ann)
    id_ = session[1]["id"]
    yield session[0]
    yield ask(3), ask(3), ask(4), ask(4, ann | {"X-Session-ID": id_}), ask(5)
    yield len(service.call(f"/api/v1/sessions/{id_}/messages", headers=ann)[1]["data"])
    yield service.call("/v1/models", {"id": "more", "base_url": upstream, "kind": "chat"}, BOSS)[0]
    yield sorted(one["id"] for one in service.call("/v1/models", headers=ann)[1]["data"])
    yield service.call("/v1/cache/clear", {}, BOSS)[0]
    used = service.call("/v1/llm/usage?user_id=ann", headers=BOSS)[1]
    yield used["total_requests"], used["total_tokens"], used["total_cost"]
    yield service.call("/v1/queue/stats", headers=BOSS)[1]["queues"]["m"]["slots"]
    yield service.call("/v1/vector/collections", {"name": "docs", "vector_size": 2}, BOSS)[0]
    points = {"collection_name": "docs", "points": [{"id": "a", "vector": [1, 0]}, {"id": "b", "vector": [0, 1]}]}
    yield service.call("/v1/vector/points", points, BOSS)[0]
    found = service.call(
        "/v1/vector/search", {"collection_name": "docs", "query_vector": [1, 0.1], "limit": 1}, BOSS
    )
    yield [hit["id"] for hit in found[1]["results"]]
    yield service.call("/v1/vector/collections/docs", headers=BOSS, method="DELETE")[0]


def test_the_same_file_serves_the_same_day_embedded_and_on_servers(tmp_path, book, addresses):
    seen, files = [], []
    for name, variables in (("embedded", {}), ("servers", addresses)):
        folder = tmp_path / name
        folder.mkdir()
        config = settings(tmp_path, book) | {"data_dir": str(tmp_path / "data" / name)}
        service = Service(folder, config, environ=variables)
        files.append(service.config_file.read_text().replace(name, "NAME"))
        if variables:
            done = run("db", "upgrade", "--config", str(service.config_file), cwd=folder, **variables)
            assert done.returncode == 0, done.stderr
        with service:
            health = service.call("/health", headers=BOSS)[1]
            assert health["status"] == "healthy"
            assert {"database", "redis"} <= health["dependencies"].keys() or not variables
            seen.append(list(day(service, book.url)))
    assert files[0] == files[1]
    assert seen[0] == seen[1]
    statuses = [one[0] for one in seen[0][1]]
    assert statuses == [200, 200, 200, 200, 429]


class Collections(Handler):
    """As much of Qdrant as it takes to be there."""

    def get(self):
        self.send_json({"result": {"collections": []}, "status": "ok", "time": 0})


def test_while_qdrant_is_away_all_but_vectors_is_served_and_health_says_so(tmp_path, book):
    port = free_port()
    service = Service(tmp_path, settings(tmp_path, book), environ={"QDRANT_URL": f"http://127.0.0.1:{port}"})

    def told():
        body = service.call("/health", headers=BOSS)[1]
        return body["status"], body["dependencies"]["qdrant"]["status"]

    def served():
        body = {"model": "m", "messages": [{"role": "user", "content": "q 1 0"}]}
        return service.call(CHAT, body, BOSS)[0], service.call("/v1/vector/collections", headers=BOSS)[0]

    with service:
        for _ in range(2):  # it starts without, finds it, loses it and finds it again
            assert told() == ("degraded", "down")
            assert served() == (200, 503)
            with ExitStack() as stack:
                stack.enter_context(Loopback(Collections, port))
                service.wait_until(lambda: told() == ("healthy", "up"), 10)
                assert served() == (200, 200)
