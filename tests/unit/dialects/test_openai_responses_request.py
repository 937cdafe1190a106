"""OpenAI's Responses, requests: both ways, as the official client writes them, and into other dialects."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import TypeAdapter

from enginehouse.dialects.anthropic.messages import AnthropicMessages
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.responses import OpenAIResponses
from enginehouse.errors import InvalidRequest
from enginehouse.types.generation import (
    Choosing,
    Dialect,
    Foreign,
    Generation,
    Image,
    JsonAnswer,
    Prompt,
    Reasoning,
    RedactedThinking,
    Refusal,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

CODEC = OpenAIResponses()
HERE = Dialect.OPENAI_RESPONSES
WHOLE = TypeAdapter(ResponseCreateParamsNonStreaming)
STREAMED = TypeAdapter(ResponseCreateParamsStreaming)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}

texts = st.text(min_size=1, max_size=12)
words = st.builds(Text, text=texts)
contents = st.lists(
    words
    | st.just(Image(data="aGk=", media_type="image/png", detail="low"))
    | st.just(Image(url="https://x.test/i.png", detail="auto"))
    | st.just(Foreign(dialect=HERE, kind="input_file", value={"type": "input_file", "file_id": "f"})),
    min_size=1,
    max_size=3,
).map(tuple)
summed = {"id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
open_thought = {"id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
thoughts = st.sampled_from(
    [
        Thinking(text="hm", signature="s", extra=summed),
        Thinking(text="hm", extra=open_thought),
        RedactedThinking(data="s", extra={"id": "rs_1", "summary": []}),
    ]
)
calls = st.builds(
    ToolCall, id=texts, name=texts, arguments=st.just('{"a": "ü"}'), extra=st.sampled_from([{}, {"id": "fc_1"}])
)
said = st.lists(words | st.builds(Refusal, text=texts), min_size=1, max_size=2)
NAMED = {"id": "msg_1", "status": "completed"}
phases = st.sampled_from([{}, NAMED | {"phase": "commentary"}])
turns = st.one_of(
    st.builds(Turn, role=st.sampled_from([Role.SYSTEM, Role.DEVELOPER]), parts=st.tuples(words)),
    st.builds(Turn, role=st.just(Role.USER), parts=contents),
)
assistants = st.builds(
    lambda thought, said, called, extra: Turn(
        role=Role.ASSISTANT,
        parts=(*thought, *said, *called),
        extra=(extra or (NAMED if len(said) > 1 or isinstance(said[0], Refusal) else {})) if said else {},
    ),
    st.lists(thoughts, max_size=1),
    said | st.just([]),
    st.lists(calls, min_size=1, max_size=2),
    phases,
)
results = st.builds(
    Turn,
    role=st.just(Role.TOOL),
    parts=st.lists(
        st.builds(ToolResult, call_id=texts, parts=st.just(()) | st.tuples(words) | contents),
        min_size=1,
        max_size=2,
    ).map(tuple),
)
generations = st.builds(
    Generation,
    model=texts,
    turns=st.tuples(turns, turns, assistants, results),
    tools=st.sampled_from(
        [
            (),
            (Tool(name="f", description="d", parameters=SCHEMA, strict=True), Tool(name="g")),
            (Foreign(dialect=HERE, kind="web_search", value={"type": "web_search"}),),
        ]
    ),
    tool_choice=st.builds(ToolChoice, mode=st.sampled_from([None, Choosing.REQUIRED]), parallel=st.booleans())
    | st.just(ToolChoice(mode=Choosing.NAMED, name="f")),
    answer=st.sampled_from([None, JsonAnswer(), JsonAnswer(schema=SCHEMA, name="n", description="d", strict=True)]),
    reasoning=st.sampled_from([Reasoning(), Reasoning(effort="low")]),
    sampling=st.builds(
        Sampling,
        temperature=st.none() | st.floats(0, 2),
        top_p=st.none() | st.floats(0, 1),
        max_tokens=st.none() | st.integers(0, 50),
        logprobs=st.none() | st.integers(0, 20),
    ),
    user=st.none() | texts,
    dialect=st.just(HERE),
    extra=st.sampled_from(
        [
            {},
            {"metadata": {"a": "b"}, "text": {"verbosity": "low"}, "reasoning": {"summary": "auto"}},
            {"include": ["reasoning.encrypted_content"], "truncation": "auto"},
        ]
    ),
)


@settings(max_examples=200, deadline=None)
@given(generations, st.booleans())
def test_a_request_survives_the_way_there_and_back(generation, stream):
    asked = CODEC.read_request(CODEC.write_request(generation, stream=stream))
    assert asked.generation == generation
    assert (asked.stream, asked.wants_usage) == (stream, True)


@settings(max_examples=200, deadline=None)
@given(generations, st.booleans())
def test_the_official_clients_types_hold_our_requests(generation, stream):
    (STREAMED if stream else WHOLE).validate_json(CODEC.write_request(generation, stream=stream))


def test_the_official_clients_types_hold_what_others_have_said():
    """Messages of more than a text have to have ids, which other dialects do not give."""
    several = (Refusal(text="no"), Text(text="a"), ToolCall(id="c", name="f", arguments="{}"), Text(text="b"))
    turns = (
        Turn(role=Role.USER, parts=(Image(url="https://x.test/i.png"),)),
        Turn(role=Role.ASSISTANT, parts=several),
    )
    written = CODEC.write_request(Generation(model="m", turns=turns), stream=False)
    WHOLE.validate_json(written)
    assert [item["type"] for item in json.loads(written)["input"]] == [
        "message",
        "message",
        "function_call",
        "message",
    ]


def test_words_that_others_have_added_arrive():
    borrowed = {"seed": 1, "stop": ["x"], "top_k": 3, "min_p": 0.5, "repeat_penalty": 1.5, "presence_penalty": 1}
    body = {"model": "m", "input": "hi", **borrowed}
    asked = CODEC.read_request(json.dumps(body).encode())
    assert asked.generation.sampling == Sampling(
        seed=1, stop=("x",), top_k=3, min_p=0.5, repeat_penalty=1.5, presence_penalty=1
    )
    written = json.loads(CODEC.write_request(asked.generation, stream=False))
    assert {name: written[name] for name in borrowed} == borrowed


def test_nothing_is_stored():
    asked = CODEC.read_request(b'{"model": "m", "input": "hi", "store": true, "previous_response_id": null}')
    written = json.loads(CODEC.write_request(asked.generation, stream=False))
    assert written == {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": "hi"}],
        "store": False,
    }


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt", "background"])
def test_what_would_want_a_store_is_refused(name):
    body = {"model": "m", "input": "hi", name: True if name == "background" else "x"}
    with pytest.raises(InvalidRequest, match="not stored") as caught:
        CODEC.read_request(json.dumps(body).encode())
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0"),
        ({"input": [{"type": 7}]}, "input.0.type"),
        ({"input": [{"role": "king", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user"}]}, "input.0.content"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input.0.content.0.text"),
        ({"input": [{"role": "user", "content": [{"type": "film"}]}]}, "input.0.content.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.image_url"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input.0.call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input.0.output"),
        ({"input": [{"type": "reasoning", "content": [{"type": "x"}]}]}, "input.0.content.0.text"),
        ({"input": [{"type": "reasoning", "content": 7}]}, "input.0.content"),
        ({"temperature": 3}, "temperature"),
        ({"tools": [{}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tool_choice": "yes"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"reasoning": {"effort": 7}}, "reasoning.effort"),
        ({"include": "all"}, "include"),
    ],
)
def test_a_mistake_is_told_with_its_field(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        CODEC.read_request(json.dumps({"model": "m", "input": "hi", **fields}).encode())
    assert caught.value.param == param


def test_allowed_tools_are_those_alone():
    tools = [{"type": "function", "name": name, "parameters": {}, "strict": False} for name in "fgh"]
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}, 7]}
    body = {"model": "m", "input": "hi", "tools": tools, "tool_choice": allowed}
    asked = CODEC.read_request(json.dumps(body).encode()).generation
    assert [tool.name for tool in asked.tools] == ["g"]
    assert asked.tool_choice.mode is Choosing.REQUIRED


LOOP = {
    "model": "m",
    "instructions": "be brief",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "s"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "d", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "function_call_output", "call_id": "d", "output": [{"type": "input_text", "text": "2"}]},
        {"role": "assistant", "content": "x"},
        {"role": "assistant", "content": "y"},
    ],
}


def test_what_the_model_said_without_a_pause_is_one_turn():
    asked = CODEC.read_request(json.dumps(LOOP).encode()).generation
    system, user, said, results, *others = asked.turns
    assert [turn.role for turn in asked.turns] == ["system", "user", "assistant", "tool", "assistant", "assistant"]
    assert (system.parts, user.parts) == ((Text(text="be brief"),), (Text(text="hi"),))
    assert [type(part) for part in said.parts] == [RedactedThinking, Text, ToolCall, ToolCall]
    assert [part.call_id for part in results.parts] == ["c", "d"]
    assert [turn.parts for turn in others] == [(Text(text="x"),), (Text(text="y"),)]


def test_a_loop_of_tools_reads_the_same_in_chat():
    asked = CODEC.read_request(json.dumps(LOOP).encode()).generation
    messages = json.loads(OpenAIChat().write_request(asked, stream=False))["messages"]
    assert [message["role"] for message in messages] == [
        "system", "user", "assistant", "tool", "tool", "assistant", "assistant",
    ]  # fmt: skip
    assert [call["id"] for call in messages[2]["tool_calls"]] == ["c", "d"]
    assert messages[4] == {"role": "tool", "tool_call_id": "d", "content": "2"}


SAID = Generation(model="m", turns=(Turn(role=Role.USER, parts=(Text(text="x"),)),))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"sampling": Sampling(n=2)}, "n"),
        ({"sampling": Sampling(stop=("x",))}, "stop"),
        ({"sampling": Sampling(presence_penalty=1)}, "presence_penalty"),
        ({"prompt": Prompt(texts=("a", "b"))}, "prompt"),
        ({"prompt": Prompt(texts=("a",), suffix="b")}, "suffix"),
        ({"tools": (Foreign(dialect=Dialect.ANTHROPIC_MESSAGES, kind="bash", value={}),)}, "tools"),
        ({"dialect": Dialect.OPENAI_CHAT, "extra": {"audio": {"voice": "x"}}}, "audio"),
        (
            {
                "turns": (
                    Turn(role=Role.USER, parts=(Foreign(dialect=Dialect.OPENAI_CHAT, kind="file", value={}),)),
                )
            },
            "input.0",
        ),
    ],
)
def test_what_responses_cannot_say_is_refused_with_its_field(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        CODEC.write_request(msgspec.structs.replace(SAID, **fields), stream=False)
    assert caught.value.param == param


def test_what_changes_little_is_left_out_elsewhere():
    thought = Turn(role=Role.ASSISTANT, parts=(Thinking(text="hm", signature="s"), Text(text="a")))
    generation = msgspec.structs.replace(
        SAID,
        turns=(*SAID.turns, thought, *SAID.turns),
        sampling=Sampling(seed=1, top_k=3, min_p=0.1, presence_penalty=0),
        dialect=Dialect.ANTHROPIC_MESSAGES,
        tools=(Tool(name="f"),),
    )
    written = json.loads(CODEC.write_request(generation, stream=False))
    assert set(written) == {"model", "input", "tools", "store"}
    assert [item["type"] for item in written["input"]] == ["message"] * 3
    assert written["tools"][0]["strict"] is False
    assert "strict" in json.loads(CODEC.write_request(generation, stream=False))["tools"][0]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"},
        {"role": "user", "content": [{"type": "input_image", "file_id": "f"}]},
    ],
)
@pytest.mark.parametrize("codec", [OpenAIChat(), AnthropicMessages()])
def test_what_only_responses_can_say_is_refused_elsewhere_and_goes_home(codec, item):
    asked = CODEC.read_request(json.dumps({"model": "m", "input": [item]}).encode()).generation
    with pytest.raises(InvalidRequest):
        codec.write_request(asked, stream=False)
    (written,) = json.loads(CODEC.write_request(asked, stream=False))["input"]
    assert written == item | ({"type": "message"} if "role" in item else {})


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    ).map(lambda value: json.dumps({"model": "m", "input": "x", "tools": value, "text": value}).encode())
)
def test_random_bodies_never_escape_our_errors(body):
    with contextlib.suppress(InvalidRequest):
        CODEC.read_request(body)
