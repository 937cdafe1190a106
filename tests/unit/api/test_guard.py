"""The front door: credentials, pages of others, headers for browsers, sockets, and who managed what."""

import pytest

from enginehouse.api.dispatch import FrontDoor
from enginehouse.core.audit import Audit
from enginehouse.core.identity import Identity
from enginehouse.settings.schema import AuthSettings, ServerSettings
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.testing import Caller, simulate
from tests.unit.api.house import open_door

SOCKET = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": []}


def ask(method, path, *, keys=(), headers=None, body=b"", **server):
    async def main():
        async with open_door([b"{}"], keys=keys, **server) as door:
            return await door.call(method, path, body, **(headers or {}))

    return simulate(main())


async def said(door, scope):
    """What a socket is told, and the principal its route sees."""
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await door(scope, receive, send)
    return sent


class Route:
    """A framework that only remembers who came."""

    def __init__(self):
        self.principals = []

    async def __call__(self, scope, receive, send):
        self.principals.append(scope["state"]["principal"])


@pytest.fixture
def route():
    return Route()


@pytest.fixture
def door(route):
    identity = Identity(AuthSettings.model_validate({"api_keys": ["a-key"]}))
    return FrontDoor({}, route, identity, ServerSettings())


@pytest.mark.parametrize("path", ["/ping", "/v1/models", "/nowhere", "/v1/chat/completions"])
def test_every_answer_tells_browsers_what_to_heed(path):
    headers = ask("GET", path, keys=["a-key"]).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/chat/completions"), ("GET", "/"), ("GET", "/v1/models")]
)
def test_pages_of_others_may_not_act_where_no_key_is_asked(method, path):
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}, {"origin": "null"}):
        answer = ask(method, path, headers=headers)
        assert (answer.status, answer.json()["error"]["code"]) == (403, "permission_denied")
    assert ask(method, path, headers={"origin": "http://localhost:3000", "host": "localhost"}).status != 403
    assert ask(method, path, headers={"origin": "https://ours.example"}, cors_origins=["https://ours.example"])


def test_with_a_key_the_page_does_not_matter():
    headers = {"origin": "https://evil.example", "host": "evil.example", "x_api_key": "a-key"}
    assert ask("GET", "/v1/models", keys=["a-key"], headers=headers).status == 200


def test_pages_that_may_call_are_told_so():
    preflight = {"origin": "https://ours.example", "access_control_request_method": "POST",
                 "access_control_request_headers": "authorization"}  # fmt: skip
    answer = ask(
        "OPTIONS", "/v1/chat/completions", keys=["k"], headers=preflight, cors_origins=["https://ours.example"]
    )
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://ours.example"
    assert "access-control-allow-credentials" not in answer.headers
    answer = ask("GET", "/v1/models", keys=["k"], headers={"origin": "https://ours.example", "x_api_key": "k"},
                 cors_origins=["https://ours.example"])  # fmt: skip
    assert answer.headers["access-control-allow-origin"] == "https://ours.example"
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


def test_other_pages_are_not():
    preflight = {"origin": "https://evil.example", "access_control_request_method": "POST"}
    answer = ask(
        "OPTIONS", "/v1/chat/completions", keys=["k"], headers=preflight, cors_origins=["https://ours.example"]
    )
    assert (answer.status, "access-control-allow-origin" in answer.headers) == (400, False)
    answer = ask("OPTIONS", "/v1/chat/completions", keys=["k"], headers=preflight)
    assert (answer.status, "access-control-allow-origin" in answer.headers) == (401, False)


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key"])
def test_credentials_come_once(door, route, name):
    async def main():
        caller = Caller(door, "GET", "/v1/models", b"", {})
        caller._scope["headers"] = [(name, b"Bearer a-key"), (name, b"Bearer a-key")]
        return await caller.run()

    answer = simulate(main())
    assert (answer.status, route.principals) == (401, [])


async def test_a_socket_may_bring_its_key_in_its_address(door, route):
    for scope in (
        {**SOCKET, "query_string": b"token=a-key"},
        {**SOCKET, "headers": [(b"authorization", b"Bearer a-key")]},
    ):
        assert await said(door, scope) == []
    assert [principal.role for principal in route.principals] == ["admin", "admin"]


@pytest.mark.parametrize("query", [b"", b"token=", b"token=wrong", b"token=a-key&token=a-key", b"key=a-key"])
async def test_a_socket_without_is_closed_before_it_opens(door, route, query):
    sent = await said(door, {**SOCKET, "query_string": query})
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]
    assert route.principals == []


async def test_a_socket_of_somebody_elses_page_is_closed(route):
    door = FrontDoor({}, route, Identity(AuthSettings()), ServerSettings())
    sent = await said(door, {**SOCKET, "headers": [(b"origin", b"https://evil.example")]})
    assert (sent[0]["type"], route.principals) == ("websocket.close", [])


async def test_what_is_managed_is_noted(tmp_path):
    async def rest(scope, receive, send):
        scope["state"]["audit"]["model"] = "tiny"
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with open_database(database_url("", tmp_path)) as database:
        await prepare(database)
        audit = Audit(database)
        door = FrontDoor({}, rest, Identity(AuthSettings()), ServerSettings(), audit=audit)
        for method, path in (
            ("POST", "/v1/models/tiny/load"),
            ("GET", "/v1/models"),
            ("DELETE", "/v1/keys/x"),
            ("POST", "/v1/vector/search"),
        ):
            await Caller(door, method, path, b"", {"x-request-id": "r1"}).run()
        newest, oldest = await audit.latest()
        assert (newest.action, oldest.action) == ("DELETE /v1/keys/x", "POST /v1/models/tiny/load")
        assert (oldest.user_id, oldest.role, oldest.status) == ("local", "admin", 403)
        assert (oldest.request_id, oldest.detail) == ("r1", {"model": "tiny"})
        assert [one.id for one in await audit.latest(before=newest.id)] == [oldest.id]
        assert [one.id for one in await audit.latest(limit=1)] == [newest.id]


async def test_a_route_that_breaks_is_noted_as_well(tmp_path):
    async def rest(scope, receive, send):
        raise RuntimeError("broken")

    async with open_database(database_url("", tmp_path)) as database:
        await prepare(database)
        audit = Audit(database)
        door = FrontDoor({}, rest, Identity(AuthSettings()), ServerSettings(), audit=audit)
        with pytest.raises(RuntimeError):
            await Caller(door, "POST", "/cleanup").run()
        assert [(one.action, one.status) for one in await audit.latest()] == [("POST /cleanup", 500)]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions"])
def test_a_body_is_limited_while_it_is_read_whatever_it_says_of_itself(path):
    """Chunks without a length, or with a false one: reading stops at the limit."""
    served = 0

    async def main():
        nonlocal served
        async with open_door([b"{}"], max_body_bytes=1000) as door:
            caller = door.caller("POST", path, b"", content_length="10")

            async def chunks():
                nonlocal served
                served += 1
                return {"type": "http.request", "body": b"x" * 400, "more_body": True}

            caller._receive = chunks
            return await caller.run()

    answer = simulate(main())
    assert (answer.status, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert served <= 21


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/chat/completions",
            {"error": {"type": "authentication_error", "param": None, "code": "invalid_api_key"}},
        ),
        ("/v1/messages", {"type": "error", "error": {"type": "authentication_error"}}),
        ("/api/chat", {"error": None}),
        ("/predict", {"status": "error", "code": "INVALID_API_KEY"}),
    ],
)
def test_who_is_refused_hears_it_in_the_dialect_that_was_spoken(path, body):
    answer = ask("POST", path, keys=["a-key"])
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["x-request-id"]
    said = answer.json()
    if isinstance(said["error"], dict):
        message = said["error"].pop("message")
    else:
        message = said["error"]
        said["error"] = body.get("error")
    assert "X-API-Key" in message
    assert {name: said[name] for name in body} == body
