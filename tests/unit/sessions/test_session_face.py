"""Any dialect's chat goes on with a kept conversation when a header names it, and is as it was when none does."""

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from enginehouse.api.anthropic import anthropic_faces
from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.framework import framework_app
from enginehouse.api.ollama import ollama_faces
from enginehouse.api.openai import openai_faces
from enginehouse.api.session_face import SessionFace
from enginehouse.api.sessions import sessions_router
from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies
from enginehouse.core.gateway import Gateway, Seats
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.routes import Routes
from enginehouse.core.sessions import Archive, Sessions
from enginehouse.errors import UpstreamDied
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import (
    AdmissionSettings,
    ResidencySettings,
    RoutingSettings,
    ServerSettings,
    SessionSettings,
)
from enginehouse.stores.kv import MemoryCopies
from enginehouse.stores.sql import database_url, migrate, open_database
from enginehouse.testing import Caller, FakeBooks, FakeLauncher, FakeSpool
from enginehouse.testing.conversations import WordRulers
from enginehouse.types import Deployment, EngineName, Kind, Model
from tests.ledger_requests import until
from tests.unit.chat.house import Known, Speaker

OPENAI, ANTHROPIC, OLLAMA = "/v1/chat/completions", "/v1/messages", "/api/chat"


class House:
    def __init__(self, door, engine, books):
        self.door, self.engine, self.books = door, engine, books

    async def post(self, path, body, session=None, who="ann"):
        named = {"X-Session-ID": session} if session is not None else {}
        headers = {"Authorization": f"Bearer {who}", **named}
        return await Caller(self.door, "POST", path, body, headers).run()

    async def chat(self, said, session="s", path=OPENAI, **more):
        body = {"model": "tiny", "messages": [{"role": "user", "content": said}], **more}
        return await self.post(path, body, session)

    async def messages(self, session="s", who="ann"):
        path = f"/api/v1/sessions/{session}/messages"
        answer = await Caller(self.door, "GET", path, b"", {"Authorization": f"Bearer {who}"}).run()
        return answer.json().get("data")

    def heard(self):
        """What the engine was last asked."""
        return [(turn.role.value, turn.parts[0].text) for turn in self.engine.asked[-1].turns]


async def unload(_):
    raise AssertionError("nobody asks for it")


@pytest.fixture
async def house(tmp_path):
    engine = Speaker()
    deployment = Deployment(id="tiny", model="tiny", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER)
    catalogue = Catalogue([Model(id="tiny", kind=Kind.CHAT, deployments=(deployment,))])
    opened = asyncio.Event(), asyncio.Event()

    async def live(made):
        async with AsyncExitStack() as stack:
            launchers = {EngineName.LLAMA_SERVER: FakeLauncher(engine, load_seconds=0)}
            residency = await stack.enter_async_context(Residency(launchers, ResidencySettings()))
            books = FakeBooks()
            ledger = await stack.enter_async_context(Ledger(books, FakeSpool(), Prices({}, ())))
            database = await stack.enter_async_context(open_database(database_url("", tmp_path)))
            await migrate(database)
            gates = Admission(AdmissionSettings())
            copies = Copies(gates, residency, ResidencySettings())
            routes = Routes(catalogue, RoutingSettings(), asyncio.get_running_loop().time, lambda: 1.0)
            gateway = Gateway(Seats(catalogue, gates, residency, copies), routes, ledger)
            at_hand, rulers, settings = MemoryCopies(10**6, 60.0), WordRulers(tiny=None), SessionSettings()
            sessions = Sessions(database, rulers, settings, at_hand)
            archive = Archive(database, at_hand, lambda: settings, check_model=lambda *_: None)
            faces = {
                **openai_faces(gateway),
                **anthropic_faces(gateway),
                **ollama_faces(gateway, catalogue, unload),
            }
            hot = {path: SessionFace(faces[path], sessions, gateway) for path in (OPENAI, ANTHROPIC, OLLAMA)}
            rest = framework_app([sessions_router(archive)])
            made.append(House(FrontDoor(hot, rest, Known(), ServerSettings()), engine, books))
            opened[0].set()
            await opened[1].wait()

    made = []
    async with asyncio.TaskGroup() as tasks:  # a fixture is entered and left by tasks of its own
        tasks.create_task(live(made))
        await opened[0].wait()
        yield made[0]
        opened[1].set()


async def test_the_conversation_goes_on_whichever_dialect_asks(house):
    first = await house.chat("one", max_tokens=9)
    assert first.json()["choices"][0]["message"]["content"] == "one "
    second = await house.chat("two", path=ANTHROPIC, max_tokens=9, system="Be short.")
    assert second.json()["content"][0]["text"] == "two "
    third = await house.chat("three", path=OLLAMA, stream=False)
    assert third.json()["message"]["content"] == "three "
    assert house.heard() == [
        ("system", "Be short."),
        *[(role, text) for word in ("one", "two") for role, text in (("user", word), ("assistant", f"{word} "))],
        ("user", "three"),
    ]
    kept = [(m["content"], m["status"], m["finish_reason"]) for m in await house.messages()]
    assert kept[1::2] == [(f"{word} ", "complete", "stop") for word in ("one", "two", "three")]


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, OLLAMA])
async def test_who_leaves_before_its_turn_is_recorded(house, path):
    house.engine.pause = 0.05
    running = asyncio.ensure_future(house.chat(" ".join("x" * 20)))
    await until(lambda: house.engine.running, every=0.01)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "two"}], "max_tokens": 9}
    headers = {"Authorization": "Bearer ann", "X-Session-ID": "s"}
    for leaves in (True, False):
        caller = Caller(house.door, "POST", path, body, {**headers, "X-Request-Timeout": "0.3"})
        waiting = asyncio.ensure_future(caller.run())
        await asyncio.sleep(0.1)
        if leaves:
            caller.leave()
        await waiting
    seen = [(r.model, r.outcome, r.error, r.input_tokens, r.upstream_us) for r in house.books.kept.values()]
    assert seen == [
        ("tiny", "cancelled", "caller_gone", 0, None),
        ("tiny", "failed", "queue_timeout", 0, None),
    ]
    assert (await running).status == 200


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, OLLAMA])
async def test_a_stream_is_whole_and_durable_before_its_end(house, path):
    answer = await house.chat("one two three", path=path, stream=True, max_tokens=9)
    assert answer.status == 200
    end = {OPENAI: b"data: [DONE]\n\n", ANTHROPIC: b"message_stop", OLLAMA: b'"done":true'}[path]
    assert end in answer.body[-400:]
    assert b"two" in answer.body
    assert [(m["content"], m["status"]) for m in await house.messages()] == [
        ("one two three", "complete"),
        ("one two three ", "complete"),
    ]


async def test_without_the_header_nothing_is_kept(house):
    assert (await house.chat("one", session=None, path=ANTHROPIC, max_tokens=9)).status == 200
    assert await house.messages() is None


async def test_what_fails_midway_is_kept_as_failed_and_what_is_refused_is_not(house):
    house.engine.failure, house.engine.after = UpstreamDied("gone"), 2
    answer = await house.chat("one two three", stream=True)
    assert b'"error"' in answer.body
    assert b"[DONE]" not in answer.body
    assert [(m["content"], m["status"], m["error"]) for m in await house.messages()][1:] == [
        ("one two ", "failed", "upstream_died")
    ]
    house.engine.after = None
    assert (await house.chat("four", session="t")).status == 502
    assert await house.messages("t") is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages"),
        ({"messages": [{"role": "system", "content": "a"}]}, "prompt"),
        ({"messages": [{"role": "user", "content": "a"}], "n": 2}, "n"),
    ],
)
async def test_what_is_no_turn_of_a_conversation_is_refused(house, body, param):
    answer = await house.post(OPENAI, {"model": "tiny", **body}, "s")
    assert (answer.status, json.loads(answer.body)["error"]["param"]) == (400, param)
    assert (await house.post(OPENAI, {"model": "tiny", "messages": []}, "a b")).status == 400


async def test_another_users_conversation_is_another_one(house):
    await house.chat("a secret")
    body = {"model": "tiny", "messages": [{"role": "user", "content": "what was said?"}]}
    await house.post(OPENAI, body, "s", who="bob")
    assert house.heard() == [("user", "what was said?")]
    assert [m["content"] for m in await house.messages()] == ["a secret", "a secret "]
