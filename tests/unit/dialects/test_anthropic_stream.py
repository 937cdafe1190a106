"""Anthropic's Messages, answers: both ways, under any cut of the network, and as the official client reads them."""

import json

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from enginehouse.dialects.anthropic.messages import AnthropicMessages
from enginehouse.dialects.anthropic.shapes import ANSWER_TOOL
from enginehouse.dialects.base import Head
from enginehouse.dialects.errors import read_error
from enginehouse.dialects.framing import ServerSentEvents
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.errors import (
    ContextLengthExceeded,
    EnginehouseError,
    InvalidRequest,
    PermissionDenied,
    QueueFull,
    UpstreamDied,
    UpstreamRefused,
)
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Answer,
    Began,
    Choice,
    Counted,
    Finish,
    Finished,
    RefusalDelta,
    TextDelta,
    ToolCallBegan,
    ToolCallDelta,
    events_of,
    fold,
)
from enginehouse.types.generation import RedactedThinking, Text, Thinking, ToolCall
from tests.unit.dialects.test_openai_chat import cut

CODEC = AnthropicMessages()
HEAD = Head(id="1", model="m", created=7)
EVENT = TypeAdapter(RawMessageStreamEvent)

texts = st.text(min_size=1, max_size=12)
thoughts = st.builds(Thinking, text=st.just("") | texts, signature=texts) | st.builds(RedactedThinking, data=texts)
calls = st.builds(ToolCall, id=texts, name=texts, arguments=st.sampled_from(["{}", '{"a":"ü"}', '{"b":[1,{}]}']))


@st.composite
def answers(draw):
    said = draw(st.lists(st.builds(Text, text=texts), max_size=1))
    thought = draw(st.lists(thoughts, max_size=2) | st.builds(Thinking, text=texts).map(lambda part: [part]))
    called = draw(st.lists(calls, max_size=3))
    ends = (Finish.TOOL_CALLS,) if called else (Finish.STOP, Finish.LENGTH, Finish.CONTENT_FILTER)
    usage = Usage(
        input=draw(st.integers(0, 9)),
        cached_input=draw(st.integers(0, 9)),
        cache_write=draw(st.integers(0, 9)),
        output=draw(st.integers(0, 9)),
        reasoning=draw(st.integers(0, 9)),
    )
    choice = Choice(parts=(*thought, *said, *called), reason=draw(st.sampled_from(ends)))
    return Answer(id="msg_1", model="m", choices=(choice,), usage=usage)


def written(events):
    writer = CODEC.writer(HEAD)
    return b"".join([writer.write(event) for event in events]) + writer.close()


def streamed(answer):
    return written(events_of(answer))


def read(chunks):
    reader = CODEC.reader()
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    return fold([*events, *reader.close()])


def frames(stream):
    sent = ServerSentEvents().feed(stream)
    parsed = [json.loads(frame.data) for frame in sent]
    assert [frame["type"] for frame in parsed] == [frame.name.decode() for frame in sent]
    return parsed


def unknown(model):
    """Fields that the official client's types do not name, in the model and below."""
    found = set(model.model_extra or ())
    for name in model.model_fields_set & set(type(model).model_fields):
        value = getattr(model, name)
        for item in value if isinstance(value, list) else [value]:
            if hasattr(item, "model_extra"):
                found |= unknown(item)
    return found


def officially(stream):
    """The whole message as the official client makes it of the frames."""
    snapshot, buffers = None, {}
    for frame in frames(stream):
        event = EVENT.validate_python(frame)
        assert not unknown(event)
        if event.type != "message_stop":
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return snapshot


@settings(deadline=None)
@given(answers())
def test_a_stream_and_a_whole_answer_say_the_same(answer):
    assert read([streamed(answer)]) == answer
    assert fold(CODEC.read_answer(CODEC.write_answer(events_of(answer), HEAD))) == answer


@settings(deadline=None)
@given(answers())
def test_the_official_client_makes_the_whole_answer_of_the_stream(answer):
    whole = Message.model_validate_json(CODEC.write_answer(events_of(answer), HEAD))
    assert not unknown(whole)
    assert officially(streamed(answer)).to_dict(mode="json", exclude_unset=False) | {"content": []} == {
        **whole.to_dict(mode="json", exclude_unset=False),
        "content": [],
    }
    blocks = [block.to_dict(mode="json") for block in officially(streamed(answer)).content]
    assert blocks == [block.to_dict(mode="json") for block in whole.content]


@settings(deadline=None)
@given(answers())
def test_blocks_come_one_after_the_other(answer):
    kinds = [(frame["type"], frame.get("index")) for frame in frames(streamed(answer))]
    assert kinds[0] == ("message_start", None)
    assert kinds[-2:] == [("message_delta", None), ("message_stop", None)]
    expected, opened = 0, None
    for kind, index in kinds[1:-2]:
        if kind == "content_block_start":
            assert (opened, index) == (None, expected)
            opened, expected = index, expected + 1
        assert index == opened
        if kind == "content_block_stop":
            opened = None
    assert opened is None


WHOLE = Answer(
    id="msg_1",
    model="m",
    choices=(
        Choice(
            parts=(
                Thinking(text="hm … 🤔", signature="seal"),
                RedactedThinking(data="xx"),
                Text(text="Grüße, 世界\n\nevent: message_stop\r\n"),
                ToolCall(id="c1", name="f", arguments='{"x":"é\\n"}'),
                ToolCall(id="c2", name="g", arguments="{}"),
            ),
            reason=Finish.TOOL_CALLS,
        ),
    ),
    usage=Usage(input=3, cached_input=2, cache_write=4, output=5, reasoning=1),
)


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_a_thousand_cuts_change_nothing(ends):
    stream = CODEC.writer(HEAD).ping() + b': hello\n\nevent: new\ndata: {"type": "new"}\n\n' + streamed(WHOLE)
    stream = stream.replace(b"\n", ends)
    for seed in range(334):
        assert read(cut(stream, seed)) == WHOLE, seed


def test_a_stream_that_breaks_off_is_never_a_success():
    stream = streamed(WHOLE)
    for end in range(0, len(stream) - 1, 53):
        with pytest.raises(UpstreamDied):
            read([stream[:end]])
    with pytest.raises(UpstreamDied, match="without saying why"):
        read([stream[: stream.index(b"event: message_delta")], stream[stream.rindex(b"event: message_stop") :]])


@pytest.mark.parametrize(
    "stream",
    [
        b'data: {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}\n\n',
        b'data: {"type": "message_start", "message": {}}\n\ndata: {"type": "content_block_delta", "index": 3}\n\n',
        b'data: {"type": "message_start", "message": {}}\n\ndata: {"type": "content_block_start"}\n\n',
        b"data: {oops\n\n",
        b"data: []\n\n",
    ],
)
def test_what_is_not_a_stream_of_messages_is_refused(stream):
    with pytest.raises(UpstreamDied):
        read([stream])


def test_errors_inside_a_stream_are_raised_with_their_status():
    body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "no more"}}'
    for stream in (b"event: error\ndata: " + body, b"data: " + body):
        with pytest.raises(UpstreamRefused, match="no more") as caught:
            read([stream + b"\n\n"])
        assert caught.value.status == 529
    with pytest.raises(UpstreamRefused, match="no more"):
        CODEC.read_answer(body)
    wrong = b'data: {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long"}}'
    with pytest.raises(ContextLengthExceeded):
        read([wrong + b"\n\n"])


def test_a_writer_does_not_end_what_has_not_finished():
    writer = CODEC.writer(HEAD)
    told = b"".join([writer.write(event) for event in events_of(WHOLE)[:3]])
    with pytest.raises(UpstreamDied):
        writer.close()
    failed = frames(writer.fail(UpstreamDied("gone"), 502))
    assert failed == [{"type": "error", "error": {"type": "api_error", "message": "gone"}}]
    with pytest.raises(UpstreamDied):
        read([told])
    with pytest.raises(UpstreamDied):
        CODEC.write_answer(events_of(WHOLE)[:3], HEAD)


def test_words_are_written_as_they_come():
    writer = CODEC.writer(HEAD)
    assert writer.write(Began(id="x", model="y")) == b""
    assert writer.write(Counted(usage=Usage(input=8))) == b""
    first = frames(writer.write(TextDelta(text="a")))
    assert [frame["type"] for frame in first] == ["message_start", "content_block_start", "content_block_delta"]
    assert first[0]["message"]["usage"]["input_tokens"] == 8
    assert [frame["delta"]["text"] for frame in frames(writer.write(TextDelta(text="b")))] == ["b"]


def test_calls_that_come_together_are_written_one_after_the_other():
    events = [Began(id="msg_1", model="m")]
    events += [ToolCallBegan(index=index, id=f"c{index}", name="f") for index in range(3)]
    for piece in range(2):
        events += [
            ToolCallDelta(index=index, arguments=('{"a":', f"{index}}}")[piece]) for index in range(3) if index != 1
        ]
    events.append(Finished(reason=Finish.TOOL_CALLS))
    message = officially(written(events))
    assert [(block.id, block.input) for block in message.content] == [
        ("c0", {"a": 0}),
        ("c1", {}),
        ("c2", {"a": 2}),
    ]


def test_a_second_call_does_not_wait_for_the_end():
    writer = CODEC.writer(HEAD)
    for event in events_of(WHOLE)[:7]:
        writer.write(event)
    began = ToolCallBegan(index=1, id="c2", name="g")
    assert [frame["type"] for frame in frames(writer.write(began))] == ["content_block_stop", "content_block_start"]


def test_a_call_that_is_no_json_is_told_unless_it_was_cut_off():
    def answer(reason):
        return [
            ToolCallBegan(index=0, id="c", name="f"),
            ToolCallDelta(index=0, arguments='{"a'),
            Finished(reason=reason),
        ]

    with pytest.raises(UpstreamDied, match="not a JSON object"):
        CODEC.write_answer(answer(Finish.TOOL_CALLS), HEAD)
    assert json.loads(CODEC.write_answer(answer(Finish.LENGTH), HEAD))["content"][0]["input"] == {}


def test_an_answer_that_was_made_a_tool_call_is_text_again():
    def block(index, name, *pieces):
        use = {"type": "tool_use", "id": "t", "name": name, "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": use}
        for piece in pieces:
            delta = {"type": "input_json_delta", "partial_json": piece}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}

    def stream(*blocks):
        yield {"type": "message_start", "message": {"id": "i", "model": "m"}}
        for place, (name, *pieces) in enumerate(blocks):
            yield from block(place, name, *pieces)
        yield {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}
        yield {"type": "message_stop"}

    def choice(*blocks):
        return read([b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in stream(*blocks)]).choices[0]

    assert choice((ANSWER_TOOL, "", '{"a"', ": 1}")) == Choice(parts=(Text(text='{"a": 1}'),), reason=Finish.STOP)
    assert choice((ANSWER_TOOL,)).text() == "{}"
    both = choice((ANSWER_TOOL, "{}"), ("f", '{"x":1}'), ("g",))
    assert both.reason is Finish.TOOL_CALLS
    assert [call.arguments for call in both.tool_calls()] == ['{"x":1}', "{}"]
    body = {"type": "message", "content": [{"type": "tool_use", "name": ANSWER_TOOL, "input": {"a": 1}}]}
    whole = fold(CODEC.read_answer(json.dumps(body | {"stop_reason": "tool_use"}).encode()))
    assert whole.choices == (Choice(parts=(Text(text='{"a":1}'),), reason=Finish.STOP),)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", Finish.STOP),
        ("stop_sequence", Finish.STOP_SEQUENCE),
        ("max_tokens", Finish.LENGTH),
        ("model_context_window_exceeded", Finish.LENGTH),
        ("refusal", Finish.CONTENT_FILTER),
        ("something_new", Finish.STOP),
    ],
)
def test_why_it_ended(reason, finish):
    body = {"type": "message", "stop_reason": reason, "stop_sequence": "x", "content": []}
    assert fold([Began(id="", model=""), *CODEC.read_answer(json.dumps(body).encode())]).choices[0] == Choice(
        reason=finish, stop_sequence="x"
    )
    assert (
        json.loads(CODEC.write_answer([Finished(reason=Finish.STOP_SEQUENCE, stop_sequence="x")], HEAD))[
            "stop_sequence"
        ]
        == "x"
    )


def test_a_refusal_is_words_with_a_reason_of_its_own():
    events = [TextDelta(text="I"), RefusalDelta(text="no"), Finished(reason=Finish.STOP)]
    whole = json.loads(CODEC.write_answer(events, HEAD))
    assert whole["stop_reason"] == officially(written(events)).stop_reason == "refusal"
    assert [block["text"] for block in whole["content"]] == ["I", "no"]
    whole["content"], whole["stop_details"] = [], {"type": "refusal", "explanation": "rules"}
    read_back = fold(CODEC.read_answer(json.dumps(whole).encode())).choices[0]
    assert (read_back.refusal(), read_back.reason) == ("rules", Finish.CONTENT_FILTER)


def test_later_counts_complete_the_earlier_ones():
    stream = (
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":7,"cache_read_input_tokens":5,'
        b'"cache_creation_input_tokens":3,"output_tokens":1}}}\n\n'
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9,'
        b'"output_tokens_details":{"thinking_tokens":4}}}\n\ndata: {"type":"message_stop"}\n\n'
    )
    assert read([stream]).usage == Usage(input=7, cached_input=5, cache_write=3, output=5, reasoning=4)


@settings(deadline=None)
@given(answers())
def test_what_openai_can_say_too_survives_the_way_through_it(answer):
    openai = OpenAIChat(extended=True)
    writer, reader = openai.writer(HEAD), openai.reader()
    stream = b"".join([writer.write(event) for event in fold_events(answer)]) + writer.close()
    through = fold(reader.feed(stream) + reader.close()).choices[0]
    choice = answer.choices[0]
    assert (through.text(), through.thinking(), through.reason) == (choice.text(), choice.thinking(), choice.reason)
    assert through.tool_calls() == choice.tool_calls()
    assert read([written(events_of(fold(reader_events(openai, stream))))]).choices[0].text() == choice.text()


def fold_events(answer):
    reader = CODEC.reader()
    return reader.feed(streamed(answer)) + reader.close()


def reader_events(codec, stream):
    reader = codec.reader()
    return reader.feed(stream) + reader.close()


class Spent(EnginehouseError):
    code = "insufficient_quota"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (QueueFull("full"), 503, "overloaded_error"),
        (Spent("spent"), 429, "billing_error"),
        (InvalidRequest("wrong"), 400, "invalid_request_error"),
        (PermissionDenied("no"), 403, "permission_error"),
        (UpstreamDied("gone"), 502, "api_error"),
    ],
)
def test_errors_as_the_official_client_reads_them(error, status, kind):
    expected = {"type": "error", "error": {"type": kind, "message": error.message}}
    assert json.loads(CODEC.write_error(error, status)) == expected
    assert frames(CODEC.writer(HEAD).fail(error, status)) == [expected]


def test_the_statuses_that_differ():
    assert CODEC.statuses == {"queue_full": 529, "insufficient_quota": 402}


def test_a_reply_that_refuses():
    body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}'
    error = read_error(529, {"Retry-After": "2"}, body)
    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.retry_after) == (529, 2)
