"""The routes of keys: what they answer, to whom, and what they never tell."""

import pytest
from structlog.testing import capture_logs

from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.framework import framework_app
from enginehouse.api.keys import keys_router
from enginehouse.core.access import Access
from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.usage import UsageReports
from enginehouse.settings.schema import Settings
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.testing import Caller
from tests.ledger_contract import record

ROOT = {"x-api-key": "root-key"}


class House:
    def __init__(self, access, settings, database):
        rest = framework_app([keys_router(access.keys, access.audit, UsageReports(database))])
        self.door = FrontDoor({}, rest, access.identity, settings.server, audit=access.audit)
        self.access = access

    async def __call__(self, method, path, body=b"", headers=ROOT):
        return await Caller(self.door, method, path, body, headers).run()

    async def made(self, **fields):
        return (await self("POST", "/v1/keys", fields)).json()


@pytest.fixture
async def house(tmp_path):
    settings = Settings.model_validate({"data_dir": str(tmp_path), "auth": {"api_keys": ["root-key"]}})
    async with open_database(database_url("", tmp_path)) as database:
        await prepare(database)
        async with Access(settings, database) as access:
            yield House(access, settings, database)


async def test_a_key_is_shown_once(house):
    answer = await house("POST", "/v1/keys", {"user_id": "ann", "tier": "premium"})
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["key"].startswith(f"eh_{body['id']}_")
    assert (body["user_id"], body["tier"], body["role"], body["status"]) == ("ann", "premium", "user", "active")
    assert body["created_by"] == "admin"
    for path in ("/v1/keys", f"/v1/keys/{body['id']}", "/v1/audit"):
        again = await house("GET", path)
        assert again.status == 200
        assert body["key"] not in again.body.decode()
        assert body["key"].split("_", 2)[2] not in again.body.decode()


async def test_all_that_may_be_said(house):
    said = {
        "name": "CI", "user_id": "ann", "tenant": "acme", "role": "admin", "tier": "gold",
        "models": ["m", "m", "org/*"], "tags": ["a"], "expires_at": "2099-01-01T00:00:00Z",
        "limits": {"requests": "100/hour", "tokens": "5000/minute", "concurrent": 3},
        "budget": {"dollars": "10.5", "period": "day"},
    }  # fmt: skip
    body = await house.made(**said)
    assert {name: body[name] for name in said} == said | {"models": ["m", "org/*"]}
    assert (await house("GET", f"/v1/keys/{body['id']}")).json() == {
        name: value for name, value in body.items() if name != "key"
    }


async def test_it_is_told_when_a_key_was_last_used(house, tmp_path):
    body = await house.made(user_id="ann")
    assert body["last_used_at"] is None
    async with open_database(database_url("", tmp_path)) as database:
        await SqlBooks(database).write([record(day=1, key_id=body["id"])])
    for one in (
        (await house("GET", f"/v1/keys/{body['id']}")).json(),
        (await house("GET", "/v1/keys")).json()["data"][0],
    ):
        assert one["last_used_at"] == "2024-01-02T00:00:00Z"


async def test_a_change_counts_at_once_and_leaves_the_rest(house):
    body = await house.made(user_id="ann", tier="basic", limits={"requests": "1/hour"})
    changed = await house("PATCH", f"/v1/keys/{body['id']}", {"tier": "premium", "limits": None, "expires_in": 60})
    assert changed.status == 200
    assert (changed.json()["tier"], changed.json()["user_id"]) == ("premium", "ann")
    assert changed.json()["limits"] == {"requests": None, "tokens": None, "concurrent": None}
    assert (await house.access.identity.principal(None, body["key"])).tier == "premium"


async def test_rotation_and_revocation(house):
    body = await house.made(role="admin")
    old = {"x-api-key": body["key"]}
    rotated = (await house("POST", f"/v1/keys/{body['id']}/rotate")).json()
    new = {"x-api-key": rotated["key"]}
    assert rotated["old_key_until"] is not None
    assert [(await house("GET", "/v1/keys", headers=one)).status for one in (old, new)] == [200, 200]
    await house("POST", f"/v1/keys/{body['id']}/rotate", {"grace_seconds": 0})
    assert [(await house("GET", "/v1/keys", headers=one)).status for one in (old, new)] == [401, 401]
    revoked = await house("DELETE", f"/v1/keys/{body['id']}")
    assert (revoked.status, revoked.json()["status"]) == (200, "revoked")
    again = await house("PATCH", f"/v1/keys/{body['id']}", {"tier": "x"})
    assert (again.status, again.json()["error"]["code"]) == (409, "conflict")
    assert [row["status"] for row in (await house("GET", "/v1/keys")).json()["data"]] == ["revoked"]


async def test_the_list_may_be_of_one_user(house):
    for user in ("ann", "bob", "ann"):
        await house.made(user_id=user)
    found = (await house("GET", "/v1/keys?user_id=ann")).json()["data"]
    assert [row["user_id"] for row in found] == ["ann", "ann"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/keys", {"role": "admin"}),
        ("GET", "/v1/keys", b""),
        ("GET", "/v1/keys/ID", b""),
        ("PATCH", "/v1/keys/ID", {"role": "admin"}),
        ("DELETE", "/v1/keys/ID", b""),
        ("POST", "/v1/keys/ID/rotate", b""),
        ("GET", "/v1/audit", b""),
    ],
)
async def test_keys_are_for_admins_also_ones_own(house, method, path, body):
    own = await house.made(user_id="ann")
    answer = await house(method, path.replace("ID", own["id"]), body, {"x-api-key": own["key"]})
    assert (answer.status, answer.json()["error"]["code"]) == (403, "permission_denied")
    assert (await house.access.keys.get(own["id"])).role == "user"
    assert (await house.access.keys.get(own["id"])).revoked is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"role": "service"}, "role"),
        ({"digest": "x"}, "digest"),
        ({"id": "x"}, "id"),
        ({"models": "m"}, "models"),
        ({"limits": {"requests": "many"}}, "limits"),
        ({"limits": {"concurrent": 0}}, "limits.concurrent"),
        ({"budget": {"dollars": "-1"}}, "budget.dollars"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_in": 5, "expires_at": "2099-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_in": 10**12}, "expires_at"),
        (b"{", None),
        (b"[]", None),
    ],
)
async def test_mistakes_are_named(house, body, param):
    answer = await house("POST", "/v1/keys", body)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert await house.access.keys.all() == []


async def test_an_unknown_key_is_404(house):
    for method, path in (("GET", "x"), ("DELETE", "x"), ("PATCH", "x"), ("POST", "x/rotate")):
        answer = await house(method, f"/v1/keys/{path}")
        assert (answer.status, answer.json()["error"]["code"]) == (404, "not_found")


async def test_what_was_done_is_told_without_a_secret(house):
    with capture_logs() as logs:
        body = await house.made(user_id="ann")
        await house("DELETE", f"/v1/keys/{body['id']}", headers={"x-api-key": body["key"]})
        await house("DELETE", f"/v1/keys/{body['id']}")
    told = (await house("GET", "/v1/audit?limit=3")).json()["data"]
    assert [(one["action"].split()[0], one["status"], one["user_id"]) for one in told] == [
        ("DELETE", 200, "admin"), ("DELETE", 403, "ann"), ("POST", 201, "admin")]  # fmt: skip
    assert told[2]["detail"] == {"key": body["id"], "user": "ann", "role": "user"}
    assert body["key"].split("_", 2)[2] not in str(logs)
    older = (await house("GET", f"/v1/audit?before={told[0]['id']}")).json()["data"]
    assert [one["id"] for one in older] == [one["id"] for one in told[1:]]
