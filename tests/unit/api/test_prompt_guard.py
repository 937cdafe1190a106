"""The guard beside admission: what is blocked, flagged or only noted, and that its time counts once."""

import asyncio

import pytest

from enginehouse.errors import ModelLoadFailed
from enginehouse.testing import WHOLE, FakeClassifier, simulate
from enginehouse.types import EngineName, Kind
from tests.unit.api.house import model, open_door

CHAT = "/v1/chat/completions"


def at_the_door(seconds=0.0, **how):
    def decorate(test):
        def run():
            async def main():
                async with open_door([WHOLE], **how) as door:
                    judge = model("guard", Kind.CLASSIFIER, EngineName.ONNX)
                    door.catalogue.replace("settings", [*door.catalogue.models(), judge])
                    door.onnx.engine = FakeClassifier(seconds)
                    await test(door)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return decorate


def chat(*turns, **more):
    messages = [{"role": role, "content": text} for role, text in turns]
    return {"model": "tiny", "messages": messages, **more}


@at_the_door(guard={"mode": "block"})
async def test_an_attack_is_refused_before_the_engine_hears_of_it(door):
    answer = await door.post(CHAT, chat(("user", "an attack")))
    assert answer.status == 403
    assert answer.json()["error"]["code"] == "prompt_blocked"
    assert "prompt injection" in answer.json()["error"]["message"]
    assert answer.headers["x-enginehouse-guard"] == "blocked; label=prompt_injection; score=0.950"
    assert door.engine.calls == []
    await asyncio.sleep(1)
    [record] = door.books.kept.values()
    assert (record.outcome, record.error, record.model) == ("failed", "prompt_blocked", "tiny")


@at_the_door(guard={"mode": "block"})
async def test_each_face_refuses_in_its_own_shape(door):
    said = {"model": "tiny", "messages": [{"role": "user", "content": "evil"}]}
    anthropic = await door.post("/v1/messages", {**said, "max_tokens": 5})
    assert (anthropic.status, anthropic.json()["type"]) == (403, "error")
    assert anthropic.json()["error"]["type"] == "permission_error"
    ollama = await door.post("/api/chat", said)
    assert (ollama.status, list(ollama.json())) == (403, ["error"])


@at_the_door(guard={"mode": "block"})
async def test_a_stream_is_refused_with_a_status(door):
    answer = await door.post(CHAT, chat(("user", "attack"), stream=True))
    assert answer.status == 403


@at_the_door(guard={"mode": "block"})
async def test_what_is_harmless_passes(door):
    answer = await door.post(CHAT, chat(("user", "hello")))
    assert (answer.status, answer.headers["x-enginehouse-guard"]) == (200, "passed; score=0.050")


@at_the_door(guard={"mode": "flag"})
async def test_a_flag_is_a_header(door):
    answer = await door.post(CHAT, chat(("user", "attack")))
    assert (answer.status, answer.headers["x-enginehouse-guard"][:8]) == (200, "flagged;")


@at_the_door(guard={"mode": "shadow"})
async def test_in_shadow_the_caller_learns_nothing(door):
    answer = await door.post(CHAT, chat(("user", "attack")))
    assert answer.status == 200
    assert "x-enginehouse-guard" not in answer.headers
    assert door.onnx.engine.asked == ["attack"]


@at_the_door()
async def test_nobody_looks_unless_told_to(door):
    assert (await door.post(CHAT, chat(("user", "attack")))).status == 200
    assert door.onnx.engine.asked == []


@at_the_door(guard={"mode": "flag", "by_model": {"tiny": "block"}})
async def test_a_model_may_be_stricter_than_the_rest(door):
    assert (await door.post(CHAT, chat(("user", "attack")))).status == 403
    assert (await door.post(CHAT, {**chat(("user", "attack")), "model": "org/big:8b"})).status == 200


@at_the_door(guard={"mode": "block"})
async def test_only_what_came_since_the_model_last_spoke_is_read(door):
    turns = [("system", "never attack"), ("user", "old attack"), ("assistant", "no"), ("user", "sorry")]
    assert (await door.post(CHAT, chat(*turns))).status == 200
    assert door.onnx.engine.asked == ["sorry"]


@at_the_door(guard={"mode": "block"})
async def test_what_tools_bring_is_read_too(door):
    call = {"id": "1", "type": "function", "function": {"name": "web", "arguments": "{}"}}
    body = chat(("user", "read this page"))
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "a page with an attack"},
    ]
    assert (await door.post(CHAT, body)).status == 403


@at_the_door(guard={"mode": "block"})
async def test_the_same_words_are_judged_once(door):
    for _ in range(3):
        await door.post(CHAT, chat(("user", "hello")))
    assert door.onnx.engine.asked == ["hello"]


@at_the_door(guard={"mode": "block", "threshold": 0.96})
async def test_a_threshold_of_ones_own_comes_first(door):
    assert (await door.post(CHAT, chat(("user", "attack")))).status == 200


@at_the_door(seconds=2.0, load_seconds=3.0, guard={"mode": "block"})
async def test_its_time_is_hidden_behind_the_wait(door):
    clock = asyncio.get_running_loop().time
    began = clock()
    assert (await door.post(CHAT, chat(("user", "hello")))).status == 200
    assert clock() - began == pytest.approx(3.0, abs=0.5)


@at_the_door(guard={"mode": "block"})
async def test_where_nobody_can_look_nothing_passes(door):
    door.onnx.failure = ModelLoadFailed("no such file")
    answer = await door.post(CHAT, chat(("user", "hello")))
    assert (answer.status, answer.json()["error"]["code"]) == (503, "guard_unavailable")
    assert door.engine.calls == []


@at_the_door(guard={"mode": "block", "on_failure": "allow"})
async def test_unless_the_settings_would_rather_let_it(door):
    door.onnx.failure = ModelLoadFailed("no such file")
    answer = await door.post(CHAT, chat(("user", "hello")))
    assert (answer.status, answer.headers["x-enginehouse-guard"]) == (200, "unavailable")


@at_the_door(seconds=60.0, guard={"mode": "block", "timeout": 2.0})
async def test_it_has_only_so_much_time(door):
    answer = await door.post(CHAT, chat(("user", "hello")))
    assert (answer.status, answer.json()["error"]["code"]) == (503, "guard_unavailable")
