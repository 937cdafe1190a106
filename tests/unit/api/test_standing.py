"""The settings in force and whom a caller is taken for."""

from enginehouse.testing import WHOLE, simulate
from tests.unit.api.house import open_door

SETTINGS = {
    "auth": {"jwt_secret": "a-very-secret-text-of-more-than-32-bytes"},
    "stores": {"redis_url": "redis://:hunter2@localhost/0"},
    "models": {"m": {"engine": "openai", "api_key": "sk-not-for-you"}},
}


def get(path, *, keys=(), settings=None, **headers):
    async def main():
        async with open_door([WHOLE], keys=keys, settings=settings) as door:
            return await door.call("GET", path, **headers)

    return simulate(main())


def test_the_settings_are_told_without_their_secrets():
    answer = get("/v1/config", settings=SETTINGS)
    body = answer.json()
    assert answer.status == 200
    assert body["values"]["models"]["m"]["engine"] == "openai"
    assert body["values"]["cache"]["enabled"] is True
    for secret in ("a-very-secret", "hunter2", "sk-not-for-you"):
        assert secret.encode() not in answer.body


def test_every_key_says_what_it_means():
    keys = get("/v1/config").json()["keys"]
    assert keys["cache.max_bytes"]["meaning"]
    assert keys["server.host"]["restart"] is True
    assert keys["cache.max_bytes"]["restart"] is False


def test_strangers_learn_neither():
    for path in ("/v1/config", "/v1/me"):
        assert get(path, keys=["a-key"]).status == 401


def test_a_caller_is_told_who_it_is():
    assert get("/v1/me", keys=["a-key"], x_api_key="a-key").json() == {
        "user": "admin",
        "role": "admin",
        "tier": "admin",
        "tenant": "",
        "key": None,
        "tags": [],
        "models": [],
        "limits": {"requests": None, "tokens": None, "concurrent": None},
    }
    assert get("/v1/me").json()["user"] == "local"
