"""Conversations over HTTP: each owner's own, on every route, whatever the id."""

import json
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.framework import framework_app
from enginehouse.api.sessions import sessions_router
from enginehouse.core.sessions import Archive, Question, Sessions, Status
from enginehouse.errors import MissingCredentials
from enginehouse.settings.schema import ServerSettings, SessionSettings
from enginehouse.stores.kv import MemoryCopies
from enginehouse.stores.sql import database_url, migrate, open_database
from enginehouse.testing import Caller
from enginehouse.testing.conversations import WordRulers
from enginehouse.types import Principal, Usage
from enginehouse.types.generation import Role, Text, ToolCall, ToolResult, Turn

CALLERS = {
    "ann": Principal(user="ann"),
    "bob": Principal(user="bob"),
    "ann@acme": Principal(user="ann", tenant="acme"),
    "acme": Principal(user="acme"),
    "root": Principal(user="root", role="admin"),
}
ROOT = "/api/v1/sessions"


class Callers:
    """Stands in for the identity: the key is the caller's name."""

    open = False

    async def principal(self, authorization, api_key):
        if api_key not in CALLERS:
            raise MissingCredentials("who?")
        return CALLERS[api_key]


async def here(work, *args):
    return work(*args)


class Door:
    def __init__(self, database, **settings):
        self.settings, self.now = SessionSettings(**settings), 1_700_000_000.0
        self.copies, self.forgotten = MemoryCopies(10**6, 60.0), []
        rulers = WordRulers(parrot=None, raven=100)
        self.sessions = Sessions(database, rulers, self.settings, self.copies, clock=lambda: self.now)
        self.archive = Archive(
            database,
            self.copies,
            lambda: self.settings,
            check_model=lambda principal, name: rulers.of(principal, name, ""),
            forget=[self.forget],
            clock=lambda: self.now,
        )
        self.app = FrontDoor({}, framework_app([sessions_router(self.archive, here)]), Callers(), ServerSettings())

    async def forget(self, session):
        self.forgotten.append((session.owner.user, session.id))

    async def say(self, said="hello", answer="hello yourself", who="ann", **more):
        self.now += 1
        async with self.sessions.turn(CALLERS[who], Question(said=said, **more)) as turn:
            status = more.get("status", Status.COMPLETE)
            await turn.answered(answer, usage=Usage(input=3, output=2), finish_reason="stop", status=status)
        return turn

    async def call(self, method, path, body=b"", who="ann"):
        return await Caller(self.app, method, f"{ROOT}{path}", body, {"X-API-Key": who}).run()

    async def ok(self, method, path="", body=b"", who="ann", status=200):
        answer = await self.call(method, path, body, who)
        assert answer.status == status, answer.body
        return answer.json()

    async def no(self, method, path, body=b"", who="ann", status=400):
        answer = await self.call(method, path, body, who)
        assert answer.status == status, answer.body
        return answer.json()["error"]


@pytest.fixture
async def database(tmp_path):
    async with open_database(database_url("", tmp_path)) as opened:
        await migrate(opened)
        yield opened


@pytest.fixture
def door(database):
    return Door(database)


async def test_a_session_is_made_read_changed_and_deleted(door):
    made = await door.ok("POST", "", {"id": "abc-123", "title": "Trip", "model": "parrot"}, status=201)
    assert (made["id"], made["title"], made["model"], made["message_count"]) == ("abc-123", "Trip", "parrot", 0)
    assert (await door.no("POST", "", {"id": "abc-123"}, status=409))["code"] == "conflict"
    door.now += 10
    changed = await door.ok("PATCH", "/abc-123", {"title": "A trip", "system": "Be short.", "metadata": {"a": [1]}})
    assert (changed["title"], changed["system"], changed["metadata"]) == ("A trip", "Be short.", {"a": [1]})
    assert changed["updated_at"] > made["updated_at"]
    assert await door.ok("GET", "/abc-123") == changed
    assert (await door.ok("PATCH", "/abc-123", {"system": None}))["system"] is None
    assert (await door.ok("DELETE", "/abc-123"))["deleted"] is True
    await door.no("GET", "/abc-123", status=404)
    assert door.forgotten == [("ann", "abc-123")]


async def test_an_id_of_the_services_choice(door):
    made = await door.ok("POST", "", status=201)
    assert made["id"].startswith("ses_")
    assert (await door.no("POST", "", {"id": made["id"]}))["param"] == "id"


async def test_deleting_leaves_nothing_anywhere(door, database):
    turn = await door.say("secret", "words")
    key = turn.session.key
    assert await door.copies.get(key, turn.session.version + 1) is not None
    await door.ok("DELETE", f"/{turn.session.id}")
    assert door.copies.size == 0
    await door.copies.put(key, 99, b"late")
    assert await door.copies.get(key, 99) is None

    def everything(connection):
        tables = ("sessions", "session_messages", "session_turns", "session_token_counts")
        return [connection.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar() for table in tables]

    assert await database.read(everything) == [0, 0, 0, 0]


async def test_the_list_has_pages(door):
    turns = [await door.say(f"number {n}") for n in range(5)]
    await door.say("again", session_id=turns[1].session.id)
    ids, cursor = [], ""
    while cursor is not None:
        page = await door.ok("GET", f"?limit=2{cursor and '&cursor=' + cursor}")
        ids += [session["id"] for session in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
    assert ids == [turns[n].session.id for n in (1, 4, 3, 2, 0)]
    assert (await door.no("GET", "?cursor=nonsense"))["param"] == "cursor"


async def test_messages_of_a_branch_and_of_all(door):
    first = await door.say("one", "1", session_id="s")
    second = await door.say("two", "2", session_id="s")
    third = await door.say("two, please", "2!", session_id="s", parent=first.message_id)

    async def texts(query=""):
        return [message["content"] for message in (await door.ok("GET", f"/s/messages{query}"))["data"]]

    assert await texts() == ["one", "1", "two, please", "2!"]
    assert await texts(f"?branch={second.message_id}") == ["one", "1", "two", "2"]
    assert await texts("?branch=all") == ["one", "1", "two", "2", "two, please", "2!"]
    for branch in ("", "&branch=all"):
        page, told = {"next_cursor": ""}, []
        while page["next_cursor"] is not None:
            cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
            page = await door.ok("GET", f"/s/messages?limit=3{branch}{cursor}")
            told += [message["content"] for message in page["data"]]
        assert told == await texts(f"?{branch}")
    chosen = await door.ok("PATCH", "/s", {"leaf": second.message_id})
    assert chosen["leaf"] == second.message_id
    assert await texts() == ["one", "1", "two", "2"]
    onward = await door.say("three", "3", session_id="s")
    assert onward.asked[0].parent == second.message_id
    assert (await door.no("PATCH", "/s", {"leaf": third.asked[0].id}))["param"] == "leaf"
    await door.no("PATCH", "/s", {"leaf": "msg_" + "0" * 32}, status=404)


async def test_a_message_says_all_there_is(door):
    turn = await door.say("one two three", "four five", session_id="s")
    await door.say("six", session_id="s")
    question, answer, *_ = (await door.ok("GET", "/s/messages"))["data"]
    assert (question["role"], question["parent"], question["status"]) == ("user", None, "complete")
    assert (answer["id"], answer["parent"], answer["model"]) == (turn.message_id, question["id"], "parrot")
    assert (answer["usage"]["input"], answer["usage"]["output"], answer["finish_reason"]) == (3, 2, "stop")
    assert [part["text"] for part in answer["parts"]] == ["four five"]


async def test_an_export_has_every_branch_as_json_and_one_as_markdown(door):
    call = ToolCall(id="1", name="clock", arguments='{"zone":"UTC"}')
    first = await door.say("what time?", (call,), session_id="s", system="Be exact.")
    result = ToolResult(call_id="1", name="clock", parts=(Text(text="```12:00```"),))
    await door.say((Turn(role=Role.TOOL, parts=(result,)),), "Noon.", session_id="s")
    await door.say("and now?", "Unsure.", session_id="s", parent="root")
    told = await door.ok("GET", "/s/export")
    assert told["format"] == "enginehouse-session-1"
    assert [message["content"] for message in told["messages"]] == [
        "what time?",
        "",
        "",
        "Noon.",
        "and now?",
        "Unsure.",
    ]
    assert told["messages"][1]["parts"][0]["name"] == "clock"
    await door.ok("PATCH", "/s", {"leaf": told["messages"][3]["id"], "title": "Time"})
    answer = await door.call("GET", "/s/export?format=markdown")
    page = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/markdown")
    for before, after in pairwise(["# Time", "Be exact.", "## User", "what time?", "`clock`", "````", "Noon."]):
        assert page.index(before) < page.index(after)
    assert "Unsure" not in page
    assert first.session.id == "s"


ATTACKS = [
    ("GET", "/{id}", b""),
    ("PATCH", "/{id}", {"title": "mine"}),
    ("DELETE", "/{id}", b""),
    ("GET", "/{id}/messages", b""),
    ("GET", "/{id}/messages?branch=all", b""),
    ("GET", "/{id}/messages?branch={message}", b""),
    ("GET", "/{id}/messages?cursor={message}", b""),
    ("GET", "/{id}/export", b""),
    ("GET", "/{id}/export?format=markdown", b""),
]


@pytest.mark.parametrize("session_id", [None, "s"], ids=["an id nobody guesses", "an id that two choose"])
@pytest.mark.parametrize("who", [name for name in CALLERS if name != "ann"])
async def test_nobody_else_reads_changes_or_deletes_it(door, who, session_id):
    turn = await door.say("a secret of Ann's", "kept", session_id=session_id)
    before = await door.ok("GET", f"/{turn.session.id}/export")
    with capture_logs() as logs:
        for method, path, body in ATTACKS:
            address = path.format(id=turn.session.id, message=turn.message_id)
            error = await door.no(method, address, body, who=who, status=404)
            assert error["code"] == "not_found"
            assert "secret" not in json.dumps(error)
        assert (await door.ok("GET", who=who))["data"] == []
    assert "secret" not in str(logs)
    own = await door.ok("POST", "", {"id": "s"}, who=who, status=201)
    for path in (f"/s/messages?branch={turn.message_id}", f"/s/messages?cursor={turn.message_id}"):
        await door.no("GET", path, who=who, status=404)
    await door.no("PATCH", "/s", {"leaf": turn.message_id}, who=who, status=404)
    assert own["message_count"] == 0
    assert await door.ok("GET", f"/{turn.session.id}/export") == before


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"title": "x" * 201}, "title"),
        ({"title": "a\nb"}, "title"),
        ({"title": 1}, "title"),
        ({"metadata": {"a": "x" * 20_000}}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"model": 1}, "model"),
        ({"other": 1}, None),
    ],
)
async def test_what_cannot_be_is_refused_with_the_fields_name(door, body, param):
    await door.say(session_id="s")
    error = await door.no("PATCH", "/s", body)
    assert param is None or error["param"] == param
    await door.no("POST", "", body)


@pytest.mark.parametrize("session_id", ["", " ", "a b", "-a", "a/b", "a\x00", "ü", "x" * 129])
async def test_an_id_that_cannot_be_one(door, session_id):
    assert (await door.no("POST", "", {"id": session_id}))["param"] in ("id", "session_id")


async def test_strange_ids_are_not_found(door):
    for strange in ("nobody", "%00", "a%20b", "%F0%9F%98%80", "'%20OR%201=1", "x" * 300):
        await door.no("GET", f"/{strange}", status=404)


async def test_a_model_has_to_be_there(door):
    assert (await door.no("POST", "", {"model": "nobody"}, status=404))["code"] == "model_not_found"
    await door.say(session_id="s")
    assert (await door.ok("PATCH", "/s", {"model": "raven"}))["model"] == "raven"
    assert (await door.say(session_id="s")).model == "raven"


async def test_there_may_be_only_so_many(database):
    door = Door(database, max_sessions=2, max_messages=4)
    await door.say(session_id="a")
    await door.ok("POST", "", {"id": "b"}, status=201)
    await door.no("POST", "", {"id": "c"}, status=409)
    await door.say(session_id="a")
    with pytest.raises(Exception, match="4 messages"):
        await door.say(session_id="a")
    with pytest.raises(Exception, match="2 sessions"):
        await door.say(session_id="c")
    await door.say(session_id="c", who="bob")


async def test_what_is_older_than_it_may_be_goes(database):
    door = Door(database, retention=100)
    old = await door.say(session_id="old")
    door.now += 60
    await door.say(session_id="young")
    door.now += 60
    async with door.sessions.turn(CALLERS["ann"], Question(said="busy", session_id="busy")):
        assert await door.archive.sweep() == 1
    assert [session["id"] for session in (await door.ok("GET"))["data"]] == ["busy", "young"]
    assert door.forgotten == [("ann", "old")]
    assert old.session.id == "old"
    door.settings = SessionSettings(retention=0)
    door.now += 10**9
    assert await door.archive.sweep() == 0


async def test_nobody_without_a_key(door):
    await door.no("GET", "", who="nobody", status=401)
