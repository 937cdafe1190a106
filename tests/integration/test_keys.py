"""Keys and tokens of a real service: changed by another process, kept over a restart, and on PostgreSQL."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from enginehouse.core.identity.jwks import KeySet, fetch_from
from enginehouse.errors import StoreUnavailable
from enginehouse.stores.sql import database_url, migrate, open_database
from tests.integration.command import run
from tests.integration.postgres import Postgres
from tests.integration.redis_server import RedisServer
from tests.integration.service import Service
from tests.keys_contract import *  # noqa: F403 - the tests themselves

LIST = "/v1/models"
ROOT = "root-key-of-the-settings"
SECRET = "the secret that signs tokens, 32 bytes and more"


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as server:
        yield server


@pytest.fixture
async def database(postgres, tmp_path):
    async with open_database(database_url(postgres.new_database(), tmp_path)) as opened:
        await migrate(opened)
        yield opened


def status(service, key):
    return service.call(LIST, headers={"X-API-Key": key})[0]


def within_a_second(service, key, wanted):
    began = time.monotonic()
    while status(service, key) != wanted:
        assert time.monotonic() - began < 1.0
        time.sleep(0.02)


def test_a_service_follows_the_command_line(tmp_path):
    config = {"data_dir": str(tmp_path / "data"), "auth": {"api_keys": [ROOT], "jwt_secret": SECRET}}
    service = Service(tmp_path, config)

    def keys(*arguments):
        done = run("keys", *arguments, "--json", "--config", str(service.config_file), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = keys("create", "--user", "ann")
    with service:
        assert [status(service, key) for key in (first["key"], ROOT, "wrong")] == [200, 200, 401]
        second = keys("create", "--user", "bob", "--role", "admin")
        within_a_second(service, second["key"], 200)
        rotated = keys("rotate", second["id"], "--grace", "0")
        within_a_second(service, rotated["key"], 200)
        within_a_second(service, second["key"], 401)
        keys("revoke", first["id"])
        within_a_second(service, first["key"], 401)
        token = jwt.encode({"sub": "eve", "exp": time.time() + 60, "role": "admin"}, SECRET, "HS256")
        assert status(service, token) == 200
        made = service.call("/v1/keys", {"user_id": "carl"}, {"Authorization": f"Bearer {rotated['key']}"})[1]
        assert status(service, made["key"]) == 200
        listed = service.call("/v1/keys", headers={"X-API-Key": ROOT})[1]["data"]
        assert {(row["user_id"], row["status"]) for row in listed} == {
            ("ann", "revoked"), ("bob", "active"), ("carl", "active")}  # fmt: skip
    with service:
        assert [status(service, key) for key in (first["key"], rotated["key"], made["key"])] == [401, 200, 200]
    log = service.log_file.read_text()
    assert '"action": "POST /v1/keys"' in log or "POST /v1/keys" in log
    for secret in (ROOT, SECRET, first["key"], second["key"], rotated["key"], made["key"], token):
        assert secret not in log
        assert secret[-24:] not in log


def test_on_loopback_the_first_key_locks_the_door(tmp_path):
    service = Service(tmp_path, {"data_dir": str(tmp_path / "data")})
    with service:
        assert service.call(LIST)[0] == 200
        assert service.call(LIST, headers={"Origin": "https://evil.example"})[0] == 403
        made = service.call("/v1/keys", {"role": "admin"})[1]
        assert service.call(LIST)[0] == 401
        assert status(service, made["key"]) == 200


def test_limits_of_a_real_service_are_told(tmp_path):
    service = Service(tmp_path, {"data_dir": str(tmp_path / "data"), "limits": {"requests": 2}})
    chat = {"model": "nobody", "messages": [{"role": "user", "content": "hi"}]}
    with service:
        answers = [service.call("/v1/chat/completions", chat) for _ in range(3)]
    assert [answer[0] for answer in answers] == [404, 404, 429]
    assert [answer[2]["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert 59 <= int(answers[2][2]["Retry-After"]) <= 61


ANSWERS = {}


class Issuer(BaseHTTPRequestHandler):
    def do_GET(self):
        code, body = ANSWERS[self.path]
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/keys")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def issuer():
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())), "kid": "a"}
    document = json.dumps({"keys": [public]}).encode()
    ANSWERS["/keys"] = (200, document)
    ANSWERS["/moved"] = (302, b"")
    ANSWERS["/broken"] = (500, document)
    ANSWERS["/huge"] = (200, document + b" " * (2 << 20))
    ANSWERS["/page"] = (200, b"<html>")
    with ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_an_issuers_keys_are_fetched(issuer):
    keys = KeySet(fetch_from(f"{issuer}/keys"), "RS256", ttl=300, cooldown=30)
    assert await keys.key("a") is not None
    assert await keys.key("b") is None


@pytest.mark.parametrize("path", ["moved", "broken", "huge", "page"])
async def test_what_is_no_document_of_keys_is_not_believed(issuer, path):
    with pytest.raises(StoreUnavailable):
        await KeySet(fetch_from(f"{issuer}/{path}"), "RS256", ttl=300, cooldown=30).key("a")


async def test_an_issuer_that_is_not_there():
    with pytest.raises(StoreUnavailable):
        await KeySet(fetch_from("http://127.0.0.1:9/keys"), "RS256", ttl=300, cooldown=30).key("a")


@pytest.mark.parametrize(("mode", "said"), [("local", "counts limits for itself"), ("deny", "are refused")])
def test_health_says_how_limits_are_counted_while_redis_is_away(tmp_path, mode, said):
    with RedisServer(tmp_path) as redis:
        config = {
            "data_dir": str(tmp_path / "data"),
            "stores": {"redis_url": redis.url},
            "limits": {"requests": 5, "on_store_failure": mode},
        }
        chat = {"model": "nobody", "messages": [{"role": "user", "content": "hi"}]}
        with Service(tmp_path, config) as service:
            assert service.call("/health")[1]["dependencies"]["limits"]["status"] == "up"
            assert service.call("/v1/chat/completions", chat)[0] == 404
            redis.stop()
            service.wait_until(lambda: service.call("/health")[1]["dependencies"]["limits"]["status"] == "down", 10)
            body = service.call("/health")[1]
            assert (body["status"], said in body["dependencies"]["limits"]["detail"]) == ("degraded", True)
            status, answer, headers = service.call("/v1/chat/completions", chat)
            if mode == "local":
                assert (status, headers["x-ratelimit-remaining-requests"]) == (404, "4")
            else:
                assert (status, answer["error"]["code"], headers["Retry-After"]) == (503, "store_unavailable", "5")
            redis.start()


def test_edited_keys_and_limits_count_at_once(tmp_path):
    config = {"data_dir": str(tmp_path / "data"), "auth": {"api_keys": [ROOT]}}
    chat = {"model": "nobody", "messages": [{"role": "user", "content": "hi"}]}
    with Service(tmp_path, config) as service:
        assert status(service, "another-key") == 401
        service.configure({**config, "auth": {"api_keys": ["another-key"]}, "limits": {"requests": 1}})
        service.wait_until(lambda: status(service, "another-key") == 200, 10)
        assert status(service, ROOT) == 401
        bearer = {"Authorization": "Bearer another-key"}
        assert [service.call("/v1/chat/completions", chat, bearer)[0] for _ in range(2)] == [404, 429]
