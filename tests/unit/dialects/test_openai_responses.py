"""OpenAI's Responses, answers: both ways, under any cut of the network, and as the official client reads them."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import Omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseErrorEvent, ResponseStreamEvent
from pydantic import TypeAdapter

from enginehouse.dialects.base import Head
from enginehouse.dialects.framing import ServerSentEvents
from enginehouse.dialects.openai.responses import OpenAIResponses
from enginehouse.errors import ContextLengthExceeded, InvalidRequest, QueueFull, UpstreamDied, UpstreamRefused
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Answer,
    Began,
    Choice,
    Counted,
    Finish,
    Finished,
    Score,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ToolCallBegan,
    ToolCallDelta,
    events_of,
    fold,
)
from enginehouse.types.generation import RedactedThinking, Refusal, Text, Thinking, ToolCall
from tests.unit.dialects.test_openai_chat import cut, unknown

CODEC = OpenAIResponses()
EVENT = TypeAdapter(ResponseStreamEvent)
ASKED = {
    "model": "m",
    "instructions": "be brief",
    "input": "hi",
    "temperature": 0.5,
    "max_output_tokens": 99,
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "metadata": {"a": "b"},
    "user": "ann",
}
HEAD = Head(id="1", model="m", created=7, generation=CODEC.read_request(json.dumps(ASKED).encode()).generation)

texts = st.text(min_size=1, max_size=12)
scores = st.builds(Score, token=texts, logprob=st.floats(-9, 0), bytes=st.tuples(st.integers(0, 255)))
thoughts = st.builds(Thinking, text=texts, signature=st.none() | texts)
calls = st.builds(ToolCall, id=st.uuids().map(str), name=texts, arguments=st.sampled_from(["", "{}", '{"a":"ü"}']))


@st.composite
def answers(draw):
    thought = draw(st.lists(thoughts, max_size=1))
    said = draw(st.lists(st.builds(Text, text=texts) | st.builds(Refusal, text=texts), max_size=1))
    called = draw(st.lists(calls, max_size=3))
    ends = (Finish.TOOL_CALLS,) if called else (Finish.STOP, Finish.LENGTH, Finish.CONTENT_FILTER)
    held = tuple(draw(st.lists(scores, max_size=2))) if said and isinstance(said[0], Text) else ()
    usage = Usage(
        input=draw(st.integers(0, 9)), cached_input=2, cache_write=1, output=draw(st.integers(0, 9)), reasoning=1
    )
    choice = Choice(parts=(*thought, *said, *called), reason=draw(st.sampled_from(ends)), scores=held)
    return Answer(id="resp_1", model="m", choices=(choice,), usage=usage)


def written(events, head=HEAD):
    writer = CODEC.writer(head)
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
    assert [frame["sequence_number"] for frame in parsed] == list(range(len(parsed)))
    return parsed


def without_bytes(answer):
    """In the deltas of a stream scores do not tell the bytes of their tokens."""
    (choice,) = answer.choices
    held = tuple(msgspec.structs.replace(score, bytes=None) for score in choice.scores)
    return msgspec.structs.replace(answer, choices=(msgspec.structs.replace(choice, scores=held),))


@settings(deadline=None)
@given(answers())
def test_a_stream_and_a_whole_answer_say_the_same(answer):
    assert read([streamed(answer)]) == without_bytes(answer)
    assert fold(CODEC.read_answer(CODEC.write_answer(events_of(answer), HEAD))) == answer
    assert frames(streamed(answer))[-1]["response"] == json.loads(CODEC.write_answer(events_of(answer), HEAD))


@settings(deadline=None)
@given(answers())
def test_the_official_client_knows_every_field(answer):
    for frame in frames(streamed(answer)):
        assert not unknown(EVENT.validate_python(frame, extra="allow")), frame["type"]
    whole = Response.model_validate_json(CODEC.write_answer(events_of(answer), HEAD))
    assert not unknown(whole)
    assert whole.output_text == answer.choices[0].text()


@settings(deadline=None)
@given(answers())
def test_the_official_client_makes_the_whole_answer_of_the_stream(answer):
    """Its own accumulator refuses what does not fit together: items, places, ids."""
    state = ResponseStreamState(input_tools=Omit(), text_format=Omit())
    told = [
        event for frame in frames(streamed(answer)) for event in state.handle_event(EVENT.validate_python(frame))
    ]
    last = {"text": "", "arguments": {}}
    for event in told:
        if event.type == "response.output_text.delta":
            last["text"] = event.snapshot
        elif event.type == "response.function_call_arguments.delta":
            last["arguments"][event.output_index] = event.snapshot
    whole = Response.model_validate_json(CODEC.write_answer(events_of(answer), HEAD))
    assert last["text"] == whole.output_text
    asked = {place: item.arguments for place, item in enumerate(whole.output) if item.type == "function_call"}
    assert last["arguments"] == {place: arguments for place, arguments in asked.items() if arguments}
    assert told[-1].type == ("response.completed" if whole.status == "completed" else "response.incomplete")


@settings(deadline=None)
@given(answers())
def test_what_begins_is_added_first_and_done_last(answer):
    open_items, open_parts, done = set(), set(), []
    for frame in frames(streamed(answer)):
        place = frame.get("output_index")
        match frame["type"].removeprefix("response."):
            case "output_item.added":
                assert place == len(open_items) + len(done)
                open_items.add(place)
            case "output_item.done":
                assert not {part for part in open_parts if part[0] == place}
                open_items.remove(place)
                done.append(frame["item"])
            case "content_part.added":
                assert place in open_items
                open_parts.add((place, frame["content_index"]))
            case "content_part.done":
                open_parts.remove((place, frame["content_index"]))
            case "completed" | "incomplete":
                assert not open_items
                assert sorted(done, key=json.dumps) == sorted(frame["response"]["output"], key=json.dumps)
            case _ if "content_index" in frame:
                assert (place, frame["content_index"]) in open_parts


WHOLE = Answer(
    id="resp_1",
    model="m",
    choices=(
        Choice(
            parts=(
                Thinking(text="hm … 🤔", signature="seal"),
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
    stream = (b": hello\n\n" + streamed(WHOLE)).replace(b"\n", ends)
    for seed in range(334):
        assert read(cut(stream, seed)) == WHOLE, seed


def test_a_stream_that_breaks_off_is_never_a_success():
    stream = streamed(WHOLE)
    for end in range(0, stream.rindex(b"\n\n") + 1, 97):
        with pytest.raises(UpstreamDied):
            read([stream[:end]])
    with pytest.raises(UpstreamDied):
        read([stream[: stream.index(b"event: response.completed")], b"data: [DONE]\n\n"])


def test_what_follows_the_end_is_not_looked_at():
    assert read([streamed(WHOLE), b"data: [DONE]\n\ndata: {oops\n\n"]) == WHOLE


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ({"type": "error", "code": "server_error", "message": "no more", "param": None}, UpstreamRefused),
        ({"type": "error", "error": {"code": "rate_limit_exceeded", "message": "no more"}}, UpstreamRefused),
        (
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "no more"}}},
            UpstreamRefused,
        ),
        ({"type": "error", "code": "context_length_exceeded", "message": "no more"}, ContextLengthExceeded),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "no more"}}, InvalidRequest),
    ],
)
def test_errors_inside_a_stream_are_raised(frame, kind):
    with pytest.raises(kind, match="no more"):
        read([b"data: " + json.dumps(frame).encode() + b"\n\n"])


@pytest.mark.parametrize(
    "stream",
    [
        b"data: {oops\n\n",
        b'data: {"type": 7}\n\n',
        b'data: {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{"}\n\n',
        b'data: {"type": "response.output_item.added", "item": {"type": "function_call", "call_id": "c"}}\n\n',
    ],
)
def test_what_is_not_a_stream_of_responses_is_refused(stream):
    with pytest.raises(UpstreamDied):
        read([stream])


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"status": "failed", "error": {"code": "server_error", "message": "no"}}, UpstreamRefused),
        ({"status": "in_progress"}, UpstreamDied),
        ({"status": "queued"}, UpstreamDied),
        ({"status": "cancelled"}, UpstreamDied),
        ({}, UpstreamDied),
    ],
)
def test_an_answer_that_is_none_is_refused(fields, kind):
    with pytest.raises(kind):
        CODEC.read_answer(json.dumps({"id": "r", "model": "m", "output": [], **fields}).encode())


def test_a_writer_does_not_end_what_has_not_finished():
    writer = CODEC.writer(HEAD)
    stream = b"".join([writer.write(event) for event in events_of(WHOLE)[:4]])
    with pytest.raises(UpstreamDied):
        writer.close()
    error, failed = frames(stream + writer.fail(QueueFull("busy"), 429))[-2:]
    assert ResponseErrorEvent.model_validate(error).message == "busy"
    assert error["error"]["code"] == error["code"] == "queue_full"
    assert not unknown(EVENT.validate_python(failed))
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "busy"}
    assert [item["status"] for item in failed["response"]["output"]] == ["completed", "incomplete"]
    with pytest.raises(UpstreamRefused, match="busy"):
        read([stream + writer.fail(QueueFull("busy"), 429)])


def test_what_fails_before_it_began_is_an_error_alone():
    (error,) = frames(CODEC.writer(HEAD).fail(UpstreamDied("gone"), 502))
    assert error["type"] == "error"
    with pytest.raises(UpstreamDied):
        CODEC.write_answer(events_of(Answer()), HEAD)


def test_a_response_repeats_what_was_asked():
    whole = Response.model_validate_json(CODEC.write_answer(events_of(WHOLE), HEAD)).to_dict()
    assert {name: whole[name] for name in ASKED if name != "input"} == {
        name: value for name, value in ASKED.items() if name != "input"
    }
    bare = Response.model_validate_json(CODEC.write_answer(events_of(WHOLE), Head(id="1", model="m", created=7)))
    assert (bare.tools, bare.tool_choice, bare.parallel_tool_calls) == ([], "auto", True)


def test_counts_are_told_with_their_shares():
    usage = Response.model_validate_json(CODEC.write_answer(events_of(WHOLE), HEAD)).usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (5, 6, 11)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (2, 1)


def test_calls_that_come_together_keep_apart():
    stream = written(
        [
            Began(id="r", model="m"),
            ToolCallBegan(index=0, id="a", name="f"),
            ToolCallDelta(index=0, arguments='{"x"'),
            ToolCallBegan(index=1, id="b", name="g"),
            ToolCallDelta(index=1, arguments="{"),
            ToolCallDelta(index=0, arguments=":1}"),
            TextDelta(text="words between"),
            ToolCallDelta(index=1, arguments="}"),
            Finished(reason=Finish.TOOL_CALLS),
        ]
    )
    answer = read([stream])
    assert [(call.id, call.arguments) for call in answer.choices[0].tool_calls()] == [("a", '{"x":1}'), ("b", "{}")]
    state = ResponseStreamState(input_tools=Omit(), text_format=Omit())
    for frame in frames(stream):
        state.handle_event(EVENT.validate_python(frame))
    assert [item["type"] for item in frames(stream)[-1]["response"]["output"]] == [
        "function_call",
        "function_call",
        "message",
    ]


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        (Finish.STOP, "completed", None),
        (Finish.STOP_SEQUENCE, "completed", None),
        (Finish.LENGTH, "incomplete", {"reason": "max_output_tokens"}),
        (Finish.CONTENT_FILTER, "incomplete", {"reason": "content_filter"}),
    ],
)
def test_why_it_ended(reason, status, details):
    *_, last = frames(written([TextDelta(text="a"), Finished(reason=reason)]))
    assert (last["type"], last["response"]["status"]) == (f"response.{status}", status)
    assert last["response"]["incomplete_details"] == details
    assert last["response"]["output"][0]["status"] == status


def test_there_is_one_answer():
    answer = Answer(choices=(*WHOLE.choices, Choice(parts=(Text(text="other"),), reason=Finish.STOP)))
    assert "other" not in streamed(answer).decode()


def test_thoughts_that_only_their_maker_can_read_are_kept():
    stream = written([ThinkingDelta(text="hm"), ThinkingRedacted(data="x"), Finished(reason=Finish.STOP)])
    first, second = frames(stream)[-1]["response"]["output"]
    assert (first["content"], second["content"]) == ([{"type": "reasoning_text", "text": "hm"}], [])
    assert second["encrypted_content"] == "x"
    assert read([stream]).choices[0].parts == (Thinking(text="hm"), RedactedThinking(data="x"))


CALL = {"type": "function_call", "call_id": "c", "name": "f"}
SUMMED = [
    {"type": "response.created", "response": {"id": "r", "model": "m", "status": "in_progress"}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "summary": []}},
    {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "one"},
    {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 1},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 1, "delta": "two"},
    {"type": "response.output_item.done", "item": {"type": "reasoning", "encrypted_content": "s"}},
    {"type": "response.web_search_call.searching", "output_index": 1},
    {"type": "response.output_item.added", "output_index": 2, "item": CALL},
    {"type": "response.output_item.done", "output_index": 2, "item": CALL | {"arguments": "{}"}},
    {"type": "response.completed", "response": {"status": "completed", "usage": {"input_tokens": 1}}},
]  # fmt: skip


def test_summaries_of_thoughts_and_calls_in_one_piece_are_understood():
    answer = read([b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in SUMMED])
    assert answer.choices[0].parts == (
        Thinking(text="one\n\ntwo", signature="s"),
        ToolCall(id="c", name="f", arguments="{}"),
    )
    assert answer.choices[0].reason is Finish.TOOL_CALLS
    assert answer.usage == Usage(input=1)


def test_a_ping_says_nothing_and_has_no_number():
    writer = CODEC.writer(HEAD)
    assert ServerSentEvents().feed(writer.ping()) == []
    assert frames(writer.write(Counted(usage=Usage())))[0]["sequence_number"] == 0
