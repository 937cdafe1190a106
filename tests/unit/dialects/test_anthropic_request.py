"""Anthropic's Messages, requests: what survives the way there and back, and what cannot be said."""

import json

import msgspec
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from enginehouse.dialects.anthropic.messages import AnthropicMessages
from enginehouse.dialects.anthropic.shapes import ANSWER_TOOL
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.errors import InvalidRequest, UpstreamDied
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
from tests.unit.dialects import test_openai_chat as openai

CODEC = AnthropicMessages()
HERE = Dialect.ANTHROPIC_MESSAGES
OFFICIAL = TypeAdapter(MessageCreateParamsStreaming | MessageCreateParamsNonStreaming)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
HELLO = (Turn(role=Role.USER, parts=(Text(text="hello"),)),)

texts = st.text(min_size=1, max_size=12)
words = st.builds(Text, text=texts, extra=st.sampled_from([{}, {"cache_control": {"type": "ephemeral"}}]))
pictures = st.sampled_from(
    [Image(data="aGk=", media_type="image/png"), Image(url="https://x.test/i.png", extra={"cache_control": None})]
)
document = Foreign(
    dialect=HERE,
    kind="document",
    value={"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
)
calls = st.builds(ToolCall, id=texts, name=texts, arguments=st.sampled_from(["{}", '{"a":"ü"}']))
sealed = st.builds(Thinking, text=texts, signature=texts) | st.builds(RedactedThinking, data=texts)
results = st.builds(
    ToolResult, call_id=texts, parts=st.lists(words | pictures, max_size=2).map(tuple), is_error=st.booleans()
)


def turn(role, parts, least=1):
    return st.builds(Turn, role=st.just(role), parts=st.lists(parts, min_size=least, max_size=3).map(tuple))


@st.composite
def conversations(draw):
    turns = [*draw(st.lists(turn(Role.SYSTEM, words), max_size=1)), draw(turn(Role.USER, words | pictures))]
    for _ in range(draw(st.integers(0, 2))):
        turns.append(draw(turn(Role.ASSISTANT, words | sealed | calls)))
        answered = draw(st.lists(turn(Role.TOOL, results), max_size=1))
        turns += answered
        if not answered or draw(st.booleans()):
            turns.append(draw(turn(Role.USER, words | pictures | st.just(document))))
    return tuple(turns)


tools = st.sampled_from(
    [
        Tool(
            name="f",
            description="d",
            parameters=SCHEMA,
            strict=True,
            extra={"cache_control": {"type": "ephemeral"}},
        ),
        Tool(name="g", parameters={"type": "object"}),
        Foreign(dialect=HERE, kind="bash_20250124", value={"type": "bash_20250124", "name": "bash"}),
    ]
)
modes = st.sampled_from([Choosing.AUTO, Choosing.REQUIRED])
choices = (
    st.just(ToolChoice())
    | st.just(ToolChoice(mode=Choosing.NONE))
    | st.builds(ToolChoice, mode=modes, parallel=st.none() | st.booleans())
    | st.just(ToolChoice(mode=Choosing.NAMED, name="f", parallel=False))
)
generations = st.builds(
    Generation,
    model=texts,
    turns=conversations(),
    tools=st.lists(tools, min_size=1, max_size=3).map(tuple),
    tool_choice=choices,
    answer=st.sampled_from([None, JsonAnswer(schema=SCHEMA, strict=True)]),
    reasoning=st.sampled_from(
        [
            Reasoning(),
            Reasoning(enabled=False),
            Reasoning(enabled=True),
            Reasoning(enabled=True, budget=2048),
            Reasoning(effort="high"),
        ]
    ),
    sampling=st.builds(
        Sampling,
        temperature=st.none() | st.floats(0, 1),
        top_p=st.none() | st.floats(0, 1),
        top_k=st.none() | st.integers(1, 50),
        max_tokens=st.integers(1, 9999),
        stop=st.lists(texts, max_size=2).map(tuple),
    ),
    user=st.none() | texts,
    dialect=st.just(HERE),
    extra=st.sampled_from([{}, {"service_tier": "auto"}]),
)


@settings(max_examples=200, deadline=None)
@given(generations, st.booleans())
def test_a_request_survives_the_way_there_and_back(generation, stream):
    asked = CODEC.read_request(CODEC.write_request(generation, stream=stream))
    assert asked.generation == generation
    assert asked.stream is stream


@settings(deadline=None)
@given(generations, st.booleans())
def test_the_official_client_could_have_written_it(generation, stream):
    OFFICIAL.validate_json(CODEC.write_request(generation, stream=stream), strict=False)


def tolerant(generation):
    """The same without what Anthropic does not have."""
    sampling = msgspec.structs.replace(
        generation.sampling, n=1, logprobs=None, temperature=None, presence_penalty=None, frequency_penalty=None
    )
    plain = tuple(
        msgspec.structs.replace(turn, parts=tuple(part for part in turn.parts if not isinstance(part, Foreign)))
        for turn in generation.turns
    )
    extra = {name: value for name, value in generation.extra.items() if name != "audio"}
    choice = generation.tool_choice if generation.tools else ToolChoice()
    return msgspec.structs.replace(generation, sampling=sampling, turns=plain, tool_choice=choice, extra=extra)


@settings(deadline=None)
@given(openai.generations)
def test_what_an_openai_client_asks_keeps_its_meaning(generation):
    generation = tolerant(generation)
    if not any(turn.parts for turn in generation.turns if turn.role is not Role.SYSTEM):
        return
    body = CODEC.write_request(generation, stream=False)
    OFFICIAL.validate_json(body)
    there = CODEC.read_request(body).generation
    back = OpenAIChat(extended=True).read_request(OpenAIChat(extended=True).write_request(there, stream=False))
    assert said(back.generation, Role.USER) == said(generation, Role.USER)
    assert said(back.generation, Role.SYSTEM) == said(generation, Role.SYSTEM)
    assert [part.call_id for part in parts(back.generation, ToolResult)] == [
        part.call_id for part in parts(generation, ToolResult)
    ]
    assert [json.loads(part.arguments) for part in parts(back.generation, ToolCall)] == [
        json.loads(part.arguments) for part in parts(generation, ToolCall)
    ]
    assert back.generation.sampling.top_k == generation.sampling.top_k
    assert back.generation.sampling.stop == generation.sampling.stop


def parts(generation, kind):
    return [part for turn in generation.turns for part in turn.parts if isinstance(part, kind)]


def said(generation, role):
    roles = {Role.SYSTEM, Role.DEVELOPER} if role is Role.SYSTEM else {role}
    turns = [turn for turn in generation.turns if turn.role in roles]
    return [part.text for turn in turns for part in turn.parts if isinstance(part, Text)]


def write(**fields):
    return json.loads(CODEC.write_request(Generation(**{"model": "m", "turns": HELLO, **fields}), stream=False))


def test_system_words_are_hoisted_and_turns_merged():
    called = Turn(role=Role.ASSISTANT, parts=(Text(text="let me see"), ToolCall(id="c", name="f", arguments="")))
    image = Image(data="aGk=", media_type="image/png")
    turns = (
        Turn(role=Role.SYSTEM, parts=(Text(text="be kind"),)),
        *HELLO,
        Turn(role=Role.DEVELOPER, parts=(Text(text="be short"),)),
        called,
        Turn(role=Role.USER, parts=(Text(text="and?"),)),
        Turn(role=Role.TOOL, parts=(ToolResult(call_id="c", parts=(image,)),)),
        Turn(role=Role.TOOL, parts=(ToolResult(call_id="d", is_error=True),)),
        Turn(role=Role.ASSISTANT, parts=(Thinking(text="unsealed"), Text(text=""))),
        Turn(role=Role.USER, parts=(Text(text="go on"),)),
    )
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    assert write(turns=turns) == {
        "model": "m",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": "be kind"}, {"type": "text", "text": "be short"}],
        "messages": [
            {"role": "user", "content": "hello"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "let me see"},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image", "source": source}]},
                    {"type": "tool_result", "tool_use_id": "d", "is_error": True},
                    {"type": "text", "text": "and?"},
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
    }


def test_seals_go_back_to_their_maker_only():
    turns = (*HELLO, Turn(role=Role.ASSISTANT, parts=(Thinking(text="hm", signature="s"), Text(text="hi"))))
    assert len(write(turns=turns, dialect=HERE)["messages"][1]["content"]) == 2
    assert write(turns=turns, dialect=Dialect.OPENAI_RESPONSES)["messages"][1]["content"] == "hi"


def test_an_answer_in_json_is_a_schema_where_it_binds_and_a_tool_elsewhere():
    form = {"type": "json_schema", "schema": SCHEMA}
    strict = write(answer=JsonAnswer(schema=SCHEMA, strict=True))
    assert strict["output_config"] == {"format": form}
    assert "tools" not in strict
    array = {"type": "array"}
    assert write(answer=JsonAnswer(schema=array))["output_config"]["format"]["schema"] == array
    thinking = write(answer=JsonAnswer(schema=SCHEMA), reasoning=Reasoning(effort="high"))
    assert thinking["output_config"] == {"format": form, "effort": "high"}
    forced = write(answer=JsonAnswer(schema=SCHEMA, description="d"))
    assert forced["tools"] == [{"name": ANSWER_TOOL, "description": "d", "input_schema": SCHEMA}]
    assert forced["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL}
    assert write(answer=JsonAnswer())["tools"][0]["input_schema"] == {"type": "object"}


def test_an_answer_in_json_beside_tools_leaves_the_choice():
    tools = (Tool(name="f"),)
    either = write(answer=JsonAnswer(), tools=tools)
    assert [tool["name"] for tool in either["tools"]] == ["f", ANSWER_TOOL]
    assert either["tool_choice"] == {"type": "any"}
    none = write(answer=JsonAnswer(), tools=tools, tool_choice=ToolChoice(mode=Choosing.NONE))
    assert [tool["name"] for tool in none["tools"]] == [ANSWER_TOOL]
    named = write(answer=JsonAnswer(), tools=tools, tool_choice=ToolChoice(mode=Choosing.NAMED, name="f"))
    assert named["tool_choice"] == {"type": "tool", "name": "f"}
    assert [tool["name"] for tool in named["tools"]] == ["f"]


@pytest.mark.parametrize(
    ("reasoning", "thinking", "effort"),
    [
        (Reasoning(effort="minimal"), {"type": "adaptive"}, "low"),
        (Reasoning(effort="none"), {"type": "disabled"}, None),
        (Reasoning(enabled=False, effort="high"), {"type": "disabled"}, None),
        (Reasoning(enabled=True), {"type": "adaptive"}, None),
        (Reasoning(budget=2048), {"type": "enabled", "budget_tokens": 2048}, None),
    ],
)
def test_thinking_in_anthropics_words(reasoning, thinking, effort):
    written = write(reasoning=reasoning)
    assert written["thinking"] == thinking
    assert written.get("output_config", {}).get("effort") == effort
    assert written["max_tokens"] == 4096 + (reasoning.budget or 0)


def test_what_our_words_do_not_hold_goes_back_as_it_came():
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "x"}],
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high", "task_budget": 3},
        "metadata": {"user_id": "u", "trace": "t"},
        "speed": "fast",
    }
    generation = CODEC.read_request(json.dumps(body).encode()).generation
    assert json.loads(CODEC.write_request(generation, stream=False)) == body
    assert "speed" not in json.loads(OpenAIChat().write_request(generation, stream=False))


def asking(**fields):
    base = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    return json.dumps({name: value for name, value in (base | fields).items() if value is not None}).encode()


def saying(*blocks, role="user"):
    return asking(messages=[{"role": role, "content": list(blocks)}])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (asking(max_tokens=None), "max_tokens"),
        (asking(model=None), "model"),
        (asking(messages=[]), "messages"),
        (asking(temperature=1.5), "temperature"),
        (asking(stop_sequences="x"), "stop_sequences"),
        (asking(messages=[{"role": "king", "content": "x"}]), "messages.0.role"),
        (asking(messages=[{"role": "user"}]), "messages.0.content"),
        (saying({"type": "text"}), "messages.0.content.0.text"),
        (saying({"text": "x"}), "messages.0.content.0.type"),
        (saying({"type": "tool_use", "id": "c", "name": "f", "input": "{}"}), "messages.0.content.0.input"),
        (saying({"type": "tool_result"}), "messages.0.content.0.tool_use_id"),
        (
            saying({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}),
            "messages.0.content.0.source.data",
        ),
        (
            saying({"type": "image", "source": {"type": "url", "url": "file:///x"}}),
            "messages.0.content.0.source.url",
        ),
        (asking(tools=[{"name": "f"}]), "tools.0.input_schema"),
        (asking(tool_choice={"type": "some"}), "tool_choice.type"),
        (asking(tool_choice={"type": "tool"}), "tool_choice.name"),
        (asking(thinking={"type": "enabled"}), "thinking.budget_tokens"),
        (asking(output_config={"format": {"type": "json_schema"}}), "output_config.format.schema"),
        (asking(output_config={"format": {"type": "xml", "schema": {}}}), "output_config.format.type"),
        (asking(metadata={"user_id": 5}), "metadata.user_id"),
    ],
)
def test_a_mistake_is_told_with_its_field(body, param):
    with pytest.raises(InvalidRequest) as caught:
        CODEC.read_request(body)
    assert caught.value.param == param


ELSEWHERE = Foreign(dialect=Dialect.OPENAI_CHAT, kind="file", value={})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"sampling": Sampling(n=2)}, "n"),
        ({"sampling": Sampling(logprobs=0)}, "logprobs"),
        ({"sampling": Sampling(temperature=1.5)}, "temperature"),
        ({"sampling": Sampling(presence_penalty=0.5)}, "presence_penalty"),
        ({"sampling": Sampling(frequency_penalty=-1)}, "frequency_penalty"),
        ({"prompt": Prompt(texts=("a",), suffix="b")}, "suffix"),
        ({"turns": (Turn(role=Role.SYSTEM, parts=(Text(text="x"),)),)}, "messages"),
        ({"turns": (Turn(role=Role.USER, parts=(ELSEWHERE,)),)}, "messages.0"),
        ({"turns": (Turn(role=Role.USER, parts=(Image(data="aGk=", media_type="image/bmp"),)),)}, "messages.0"),
        (
            {"turns": (*HELLO, Turn(role=Role.ASSISTANT, parts=(ToolCall(id="c", name="f", arguments="[]"),)))},
            "messages.1",
        ),
        ({"tools": (ELSEWHERE,)}, "tools"),
        ({"tool_choice": ToolChoice(mode=Choosing.REQUIRED)}, "tool_choice"),
        ({"answer": JsonAnswer(), "reasoning": Reasoning(enabled=True)}, "response_format"),
        ({"dialect": Dialect.OPENAI_RESPONSES, "extra": {"previous_response_id": "r"}}, "previous_response_id"),
    ],
)
def test_what_anthropic_cannot_say_is_refused_with_its_field(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        write(**fields)
    assert caught.value.param == param


def test_penalties_of_nothing_are_no_penalties():
    sampling = Sampling(presence_penalty=0, frequency_penalty=0.0, seed=5, min_p=0.1, repeat_penalty=1.1)
    assert write(sampling=sampling) == write()


def test_counting_asks_for_the_prompt_alone():
    generation = Generation(
        model="m", turns=HELLO, sampling=Sampling(max_tokens=3), dialect=HERE, extra={"speed": "fast"}
    )
    body = CODEC.write_count_request(generation)
    assert json.loads(body) == {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    assert CODEC.read_count_request(body).turns == HELLO
    assert CODEC.read_count(CODEC.write_count(12)) == 12
    with pytest.raises(UpstreamDied):
        CODEC.read_count(b"{}")
