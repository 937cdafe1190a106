"""Calls that have to be made: what the engine is asked for instead, and what its answer is told as."""

import json

import msgspec
import pytest

from enginehouse.engines.llama_server.fold import Fold
from enginehouse.engines.llama_server.tools import Forced, forcing_of, knows_tools
from enginehouse.errors import InvalidRequest
from enginehouse.testing.engines import FakeReply

CITY = {"type": "object", "properties": {"city": {"$ref": "#/$defs/City"}}, "$defs": {"City": {"type": "string"}}}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": CITY, "strict": True},
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
NAMED = {"type": "function", "function": {"name": "clock"}}
TURNS = [{"role": "user", "content": "hi"}]


def fields(**said):
    body = {"model": "m", "messages": TURNS, "tools": [WEATHER, CLOCK], "temperature": 0, **said}
    return msgspec.json.decode(msgspec.json.encode(body), type=dict[str, msgspec.Raw])


def body(*, known, **said):
    forcing = forcing_of(fields(**said))
    return json.loads(msgspec.json.encode(forcing.body(fields(**said), known=known)))


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({}, []),
        ({"tool_choice": "auto"}, []),
        ({"tool_choice": None}, []),
        ({"tool_choice": "required"}, ["weather", "clock"]),
        ({"tool_choice": NAMED}, ["clock"]),
    ],
)
def test_what_has_to_be_called(said, names):
    assert [tool.name for tool in forcing_of(fields(**said)).tools] == names


@pytest.mark.parametrize("said", [{"tools": None}, {"tools": []}, {"tool_choice": "none"}])
def test_who_calls_nothing_is_left_alone(said):
    assert forcing_of(fields(**said)) is None


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "hammer"}}}, "tool_choice"),
        ({"tool_choice": "required", "tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required", "tools": {"name": "x"}}, "tools"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(said, param):
    with pytest.raises(InvalidRequest) as caught:
        forcing_of(fields(**said))
    assert caught.value.param == param


def test_the_schema_is_one_call_of_one_of_the_tools_whose_references_still_lead_home():
    asked = body(
        known=True, tool_choice="required", response_format={"type": "json_object"}, parallel_tool_calls=True
    )
    schema = asked["response_format"]["json_schema"]["schema"]
    first, second = schema["anyOf"]
    assert first["properties"] == {"name": {"const": "weather"}, "arguments": {"$ref": "#/$defs/0"}}
    assert second["properties"] == {"name": {"const": "clock"}, "arguments": {"$ref": "#/$defs/1"}}
    assert first["required"] == ["name", "arguments"]
    assert schema["$defs"]["0"]["properties"]["city"] == {"$ref": "#/$defs/0/$defs/City"}
    assert schema["$defs"]["1"] == {"type": "object", "properties": {}}
    assert (asked["temperature"], "parallel_tool_calls" in asked) == (0, False)


def test_a_template_that_knows_tools_tells_of_them_itself():
    asked = body(known=True, tool_choice=NAMED)
    assert (asked["tool_choice"], asked["messages"]) == ("none", TURNS)
    assert asked["tools"] == [WEATHER, CLOCK]


def test_for_one_that_knows_none_a_turn_does():
    asked = body(known=False, tool_choice=NAMED)
    told, *rest = asked["messages"]
    assert ("tools" in asked, "tool_choice" in asked, rest) == (False, False, TURNS)
    assert told["role"] == "system"
    assert ("clock" in told["content"], "weather" in told["content"]) == (True, False)


@pytest.mark.parametrize(
    ("properties", "knows"),
    [
        ({"chat_template_caps": {"supports_tools": True}, "chat_template": "none"}, True),
        ({"chat_template_caps": {"supports_tools": False}, "chat_template": "{% if tools %}"}, False),
        ({"chat_template": "{% if tools %}"}, True),
        ({"chat_template": "{{ messages }} toolshed"}, False),
        ({}, True),
    ],
)
def test_whether_a_template_knows_tools(properties, knows):
    assert knows_tools(properties) is knows


def frame(**choice):
    return b"data: " + json.dumps({"id": "x", "choices": [{"index": 0, "finish_reason": None, **choice}]}).encode()


def stream(*pieces, reason="stop"):
    frames = [frame(delta={"role": "assistant", "content": None})]
    frames += [frame(delta={"content": piece}) for piece in pieces]
    frames += [
        frame(delta={}, finish_reason=reason),
        b'data: {"choices":[],"usage":{"total_tokens":3}}',
        b"data: [DONE]",
    ]
    return b"".join(one + b"\n\n" for one in frames)


async def told(*chunks):
    """The frames of the answer, parsed, but for the end."""
    whole = await Forced(FakeReply(chunks, stream=True)).read()
    frames = [part.removeprefix(b"data: ") for part in whole.split(b"\n\n") if part]
    assert frames.pop() == b"[DONE]"
    return [json.loads(one) for one in frames]


CALL = ('{ "na', 'me": "weather",\n"arguments" : {"city": "Kö', 'ln"} }')


@pytest.mark.parametrize("size", [1, 7, 10**6])
async def test_the_text_is_told_as_a_call_however_it_comes(size):
    whole = stream(*CALL)
    frames = await told(*(whole[at : at + size] for at in range(0, len(whole), size)))
    [call] = [one for row in frames for choice in row["choices"] for one in choice["delta"].get("tool_calls", ())]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Köln"}
    assert (call["type"], call["index"], call["id"][:5]) == ("function", 0, "call_")
    assert not any(choice["delta"].get("content") for row in frames for choice in row["choices"])
    assert frames[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert frames[-1]["usage"] == {"total_tokens": 3}


async def test_the_whole_answer_is_the_fold_of_it():
    fold = Fold()
    for chunk in await told(stream(*CALL)):
        fold.add(chunk)
    [choice] = json.loads(fold.body())["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"city":"Köln"}'


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('{"name": "weather", "arguments": {"city": "K', ['{"city": "K']),
        ('{"name": "wea', []),
        ("", []),
    ],
)
async def test_an_answer_that_is_cut_off_says_so_and_is_never_text(text, calls):
    rows = [choice for row in await told(stream(text, reason="length")) for choice in row["choices"]]
    found = [call["function"]["arguments"] for row in rows for call in row["delta"].get("tool_calls", ())]
    assert (found, rows[-1]["finish_reason"]) == (calls, "length")
    assert not any(row["delta"].get("content") for row in rows)


async def test_several_answers_are_kept_apart():
    parts = [('{"name":"a","arguments":{}}', 0), ('{"name":"b","arguments":{}}', 1)]
    frames = [frame(index=index, delta={"content": text}) for text, index in parts]
    frames += [frame(index=index, delta={}, finish_reason="stop") for _, index in parts] + [b"data: [DONE]"]
    rows = await told(b"".join(one + b"\n\n" for one in frames))
    calls = {
        c["index"]: c["delta"]["tool_calls"] for row in rows for c in row["choices"] if "tool_calls" in c["delta"]
    }
    assert {index: call[0]["function"]["name"] for index, call in calls.items()} == {0: "a", 1: "b"}


async def test_what_else_an_engine_says_passes():
    progress = b'data: {"choices":[],"prompt_progress":{"total":9}}\n\n'
    thought = frame(delta={"reasoning_content": "hm", "content": "{"}) + b"\n\n"
    rows = await told(progress, thought, b": ping\n\ndata: [DONE]\n\n".replace(b": ping\n\n", b""))
    assert rows[0]["prompt_progress"] == {"total": 9}
    assert rows[1]["choices"][0]["delta"] == {"reasoning_content": "hm"}
