"""OpenAI's chat completions: both ways, under any cut of the network, and as the official client reads them."""

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from enginehouse.dialects.base import Head
from enginehouse.dialects.errors import read_error
from enginehouse.dialects.framing import ServerSentEvents
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    RequestTooLarge,
    UpstreamBusy,
    UpstreamDied,
    UpstreamRefused,
)
from enginehouse.types import Usage
from enginehouse.types.answer import Answer, Choice, Finish, Score, events_of, fold
from enginehouse.types.generation import (
    Choosing,
    Dialect,
    Foreign,
    Generation,
    Image,
    JsonAnswer,
    Prompt,
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

CODEC = OpenAIChat(extended=True)
HEAD = Head(id="1", model="m", created=7)

texts = st.text(min_size=1, max_size=12)
calls = st.builds(ToolCall, id=st.just("c"), name=texts, arguments=st.just('{"a": "ü"}'))
scores = st.builds(
    Score, token=texts, logprob=st.floats(-9, 0), bytes=st.tuples(st.integers(0, 255)), top=st.just(())
)


@st.composite
def answers(draw):
    choices = []
    for _ in range(draw(st.integers(1, 2))):
        called = draw(st.lists(calls, max_size=2))
        parts = [*draw(st.just([]) | st.tuples(st.builds(Thinking, text=texts)).map(list))]
        parts += draw(st.just([]) | st.tuples(st.builds(Text, text=texts)).map(list))
        reason = Finish.TOOL_CALLS if called else draw(st.sampled_from([Finish.STOP, Finish.LENGTH]))
        held = tuple(draw(st.lists(scores, max_size=2))) if parts and isinstance(parts[-1], Text) else ()
        choices.append(Choice(parts=(*parts, *called), reason=reason, scores=held))
    usage = Usage(input=draw(st.integers(0, 9)), cached_input=2, output=draw(st.integers(0, 9)), reasoning=1)
    return Answer(id="chatcmpl-1", model="m", choices=tuple(choices), usage=usage)


def streamed(answer, *, wants_usage=True):
    writer = CODEC.writer(Head(id="1", model="m", created=7, wants_usage=wants_usage))
    return b"".join([writer.write(event) for event in events_of(answer)]) + writer.close()


def cut(data, seed):
    rng = random.Random(seed)
    while data:
        size = rng.choice((1, 2, 3, 7, 40, 400))
        yield data[:size]
        data = data[size:]


def read(chunks):
    reader = CODEC.reader()
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    return fold([*events, *reader.close()])


def frames(stream):
    return [json.loads(sent.data) for sent in ServerSentEvents().feed(stream) if sent.data != b"[DONE]"]


def unknown(model):
    """Fields that the official client's types do not name, in the model and below."""
    found = set(model.model_extra or ())
    for name in model.model_fields_set & set(type(model).model_fields):
        value = getattr(model, name)
        for item in value if isinstance(value, list) else [value]:
            if hasattr(item, "model_extra"):
                found |= unknown(item)
    return found


@given(answers())
def test_a_stream_and_a_whole_answer_say_the_same(answer):
    assert read([streamed(answer)]) == answer
    assert fold(CODEC.read_answer(CODEC.write_answer(events_of(answer), HEAD))) == answer


@given(answers())
def test_the_official_client_knows_every_field(answer):
    for frame in frames(streamed(answer)):
        assert unknown(ChatCompletionChunk.model_validate(frame)) <= {"reasoning_content"}
    whole = ChatCompletion.model_validate_json(CODEC.write_answer(events_of(answer), HEAD))
    assert unknown(whole) <= {"reasoning_content"}


WHOLE = Answer(
    id="chatcmpl-1",
    model="m",
    choices=(
        Choice(
            parts=(
                Thinking(text="hm … 🤔"),
                Text(text="Grüße, 世界\n\ndata: [DONE]\r\n"),
                ToolCall(id="c1", name="f", arguments='{"x": "é\\n"}'),
                ToolCall(id="c2", name="g", arguments="{}"),
            ),
            reason=Finish.TOOL_CALLS,
        ),
    ),
    usage=Usage(input=3, cached_input=2, output=5, reasoning=1),
)


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_a_thousand_cuts_change_nothing(ends):
    stream = b": hello\n\n" + re.sub(rb"(?m)^data:", b"event: message\ndata:", streamed(WHOLE))
    stream = stream.replace(b"\n", ends)
    for seed in range(334):
        assert read(cut(stream, seed)) == WHOLE, seed


def test_a_stream_that_breaks_off_is_never_a_success():
    stream = streamed(WHOLE)
    finish = stream.index(b'"finish_reason":"tool_calls"')
    for end in range(0, finish, 97):
        with pytest.raises(UpstreamDied):
            read([stream[:end]])
    with pytest.raises(UpstreamDied):
        read([stream[: stream.index(b'"delta":{"content"')], b"\n\ndata: [DONE]\n\n"])


def test_errors_inside_a_stream_are_raised():
    with pytest.raises(UpstreamRefused, match="no more"):
        read([b'data: {"error": {"message": "no more", "code": 500}}\n\n'])
    with pytest.raises(UpstreamRefused, match="no more"):
        read([b'error: {"message": "", "error": {"message": "no more"}}\n\n'])
    with pytest.raises(UpstreamDied):
        read([b"data: {oops\n\n"])


def test_a_writer_does_not_end_what_has_not_finished():
    writer = CODEC.writer(HEAD)
    for event in events_of(WHOLE)[:3]:
        writer.write(event)
    with pytest.raises(UpstreamDied):
        writer.close()
    assert b"[DONE]" not in writer.fail(UpstreamDied("gone"), 502)
    for nothing in (Answer(), Answer(choices=(Choice(parts=(Text(text="a"),)),))):
        with pytest.raises(UpstreamDied):
            CODEC.write_answer(events_of(nothing), HEAD)


def test_usage_comes_last_and_only_when_wanted():
    *chunks, last = frames(streamed(WHOLE))
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 5
    assert last["usage"]["completion_tokens"] == 6
    assert all(chunk["usage"] is None for chunk in chunks)
    assert all("usage" not in chunk for chunk in frames(streamed(WHOLE, wants_usage=False)))
    assert streamed(WHOLE).endswith(b"data: [DONE]\n\n")


contents = st.lists(
    st.builds(Text, text=texts)
    | st.just(Image(data="aGk=", media_type="image/png", detail="low"))
    | st.just(Image(url="https://x.test/i.png"))
    | st.just(Foreign(dialect=Dialect.OPENAI_CHAT, kind="file", value={"type": "file", "file": {"file_id": "f"}})),
    min_size=1,
    max_size=3,
).map(tuple)
turns = st.one_of(
    st.builds(
        Turn, role=st.sampled_from([Role.SYSTEM, Role.DEVELOPER]), parts=st.tuples(st.builds(Text, text=texts))
    ),
    st.builds(Turn, role=st.just(Role.USER), parts=contents, name=st.sampled_from(["", "ann"])),
    st.builds(Turn, role=st.just(Role.ASSISTANT), parts=st.lists(calls, min_size=1, max_size=2).map(tuple)),
    st.builds(
        Turn,
        role=st.just(Role.ASSISTANT),
        parts=st.tuples(st.builds(Thinking, text=texts), st.builds(Text, text=texts)),
    ),
)
results = st.builds(
    Turn,
    role=st.just(Role.TOOL),
    parts=st.tuples(st.builds(ToolResult, call_id=texts, parts=st.tuples(st.builds(Text, text=texts)))),
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
generations = st.builds(
    Generation,
    model=texts,
    turns=st.tuples(turns, turns, results),
    tools=st.sampled_from([(), (Tool(name="f", description="d", parameters=SCHEMA, strict=True),)]),
    tool_choice=st.builds(ToolChoice, mode=st.sampled_from([None, Choosing.REQUIRED]), parallel=st.booleans())
    | st.just(ToolChoice(mode=Choosing.NAMED, name="f")),
    answer=st.sampled_from([None, JsonAnswer(), JsonAnswer(schema=SCHEMA, name="n", description="d", strict=True)]),
    sampling=st.builds(
        Sampling,
        temperature=st.none() | st.floats(0, 2),
        top_k=st.none() | st.integers(1, 50),
        max_tokens=st.none() | st.integers(0, 50),
        stop=st.lists(texts, max_size=2).map(tuple),
        n=st.integers(1, 3),
        logprobs=st.none() | st.integers(0, 20),
    ),
    user=st.none() | texts,
    dialect=st.just(Dialect.OPENAI_CHAT),
    extra=st.sampled_from([{}, {"logit_bias": {"5": 1}, "audio": {"voice": "x"}}]),
)


@settings(max_examples=200)
@given(generations, st.booleans())
def test_a_request_survives_the_way_there_and_back(generation, stream):
    asked = CODEC.read_request(CODEC.write_request(generation, stream=stream))
    assert asked.generation == generation
    assert asked.stream is stream


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 3}', "temperature"),
        (b'{"model": "m", "messages": [{"role": "king", "content": "x"}]}', "messages.0.role"),
        (b'{"model": "m", "messages": [{"role": "tool", "content": "x"}]}', "messages.0.tool_call_id"),
        (
            b'{"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}',
            "messages.0.content.0.text",
        ),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [{}]}', "tools.0.function"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "tool_choice": "yes"}', "tool_choice"),
    ],
)
def test_a_mistake_is_told_with_its_field(body, param):
    with pytest.raises(InvalidRequest) as caught:
        CODEC.read_request(body)
    assert caught.value.param == param


def test_what_only_another_dialect_can_say_is_refused_or_left_out():
    elsewhere = Generation(
        model="m",
        turns=(Turn(role=Role.USER, parts=(Text(text="x", extra={"cache_control": {}}),)),),
        dialect=Dialect.ANTHROPIC_MESSAGES,
        extra={"speed": "fast"},
        sampling=Sampling(top_k=5, max_tokens=3),
    )
    written = json.loads(OpenAIChat().write_request(elsewhere, stream=False))
    messages = [{"role": "user", "content": "x"}]
    assert written == {"model": "m", "messages": messages, "max_completion_tokens": 3}
    bound = Generation(model="m", dialect=Dialect.OPENAI_RESPONSES, extra={"previous_response_id": "r"})
    with pytest.raises(InvalidRequest, match="previous_response_id"):
        CODEC.write_request(bound, stream=False)
    with pytest.raises(InvalidRequest, match="suffix"):
        CODEC.write_request(Generation(model="m", prompt=Prompt(texts=("a",), suffix="b")), stream=False)


def test_who_is_made_to_call_a_tool_has_called_one():
    message = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    body = {"id": "1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert fold(CODEC.read_answer(json.dumps(body).encode())).choices[0].reason is Finish.TOOL_CALLS


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": {"message": "no", "n_prompt_tokens": 9, "n_ctx": 4}}', ContextLengthExceeded),
        (
            400,
            b'{"type": "error", "error": {"message": "prompt is too long: 9 tokens > 4"}}',
            ContextLengthExceeded,
        ),
        (400, b'{"message": "maximum context length is 4 tokens"}', ContextLengthExceeded),
        (500, b'{"error": "input length exceeds the context length"}', ContextLengthExceeded),
        (422, b'{"detail": [{"msg": "bad"}]}', InvalidRequest),
        (413, b"too big", RequestTooLarge),
        (401, b'{"error": {"message": "bad key"}}', UpstreamRefused),
        (429, b"", UpstreamBusy),
    ],
)
def test_errors_of_engines_in_every_shape(status, body, kind):
    error = read_error(status, {"Retry-After": "3"}, body)
    assert type(error) is kind
    if status == 429:
        assert error.retry_after == 3
