"""Ollama's chat and generate: both ways, under any cut of the network, and as the official client reads them."""

import json
import math
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ollama import ChatResponse, GenerateResponse, Message
from ollama._types import ChatRequest, GenerateRequest
from ollama._types import Image as TheirImage

from enginehouse.dialects.base import Head, Residence
from enginehouse.dialects.errors import read_error
from enginehouse.dialects.ollama.chat import OllamaChat
from enginehouse.dialects.ollama.generate import OllamaGenerate
from enginehouse.dialects.ollama.settings import keep_alive
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.errors import ContextLengthExceeded, InvalidRequest, UpstreamDied, UpstreamRefused
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Answer,
    Choice,
    Counted,
    Finish,
    Finished,
    RefusalDelta,
    Score,
    Timed,
    ToolCallBegan,
    ToolCallDelta,
    events_of,
    fold,
)
from enginehouse.types.generation import (
    Choosing,
    Dialect,
    Foreign,
    Generation,
    Image,
    JsonAnswer,
    Prompt,
    Reasoning,
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

CHAT, GENERATE = OllamaChat(), OllamaGenerate()
BOTH = pytest.mark.parametrize("codec", [CHAT, GENERATE], ids=["chat", "generate"])
HEAD = Head(id="1", model="m", created=7.25)
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def compact(value):
    return msgspec.json.encode(value).decode()


texts = openai.texts
nanoseconds = st.integers(0, 10**12).map(lambda count: count / 10**9)
arguments = st.dictionaries(texts, texts | st.integers(-9, 9), max_size=2)
calls = st.builds(ToolCall, id=texts, name=texts, arguments=arguments.map(compact))
choices = st.builds(
    lambda thoughts, words, called, reason, scores: Choice(
        parts=(*thoughts, *words, *called),
        reason=Finish.TOOL_CALLS if called else reason,
        scores=tuple(scores) if words else (),
    ),
    st.lists(st.builds(Thinking, text=texts), max_size=1),
    st.lists(st.builds(Text, text=texts), max_size=1),
    st.lists(calls, max_size=2),
    st.sampled_from([Finish.STOP, Finish.LENGTH, Finish.CONTENT_FILTER]),
    st.lists(openai.scores, max_size=2),
)
answers = st.builds(
    Answer,
    id=st.just(""),
    model=st.just("m"),
    choices=st.tuples(choices),
    usage=st.none() | st.builds(Usage, input=st.integers(0, 9), output=st.integers(0, 9)),
    timed=st.none() | st.builds(Timed, load=nanoseconds, prompt=nanoseconds, output=nanoseconds),
)


def streamed(codec, answer):
    writer = codec.writer(HEAD)
    return b"".join([writer.write(event) for event in events_of(answer)]) + writer.close()


def read(codec, chunks):
    reader = codec.reader()
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    return fold([*events, *reader.close()])


def whole(codec, answer):
    return codec.write_answer(events_of(answer), HEAD)


def valid(codec, line):
    """The official client knows the line, and every field in it but those that it has not learnt yet."""
    kind = ChatResponse if codec is CHAT else GenerateResponse
    fields = json.loads(line)
    model = kind.model_validate(fields)
    assert set(fields) - set(kind.model_fields) <= {"tool_calls"}
    if codec is CHAT:
        assert set(fields["message"]) <= set(Message.model_fields)
    return model


@BOTH
@given(answer=answers)
def test_a_stream_and_a_whole_answer_say_the_same(codec, answer):
    assert read(codec, [streamed(codec, answer)]) == answer
    assert fold(codec.read_answer(whole(codec, answer))) == answer


@BOTH
@given(answer=answers)
def test_the_official_client_reads_every_line(codec, answer):
    *lines, last = [valid(codec, line) for line in streamed(codec, answer).splitlines()]
    assert not any(line.done for line in lines)
    assert last.done
    full = valid(codec, whole(codec, answer))
    said = [line.message.content for line in lines] if codec is CHAT else [line.response for line in lines]
    assert "".join(said) == (full.message.content if codec is CHAT else full.response)
    assert last.model_dump(include={"done_reason", "eval_count", "total_duration"}) == full.model_dump(
        include={"done_reason", "eval_count", "total_duration"}
    )


WHOLE = Answer(
    model="m",
    choices=(
        Choice(
            parts=(
                Thinking(text="hm … 🤔"),
                Text(text='Grüße, 世界\n{"done":true}\r\n'),
                ToolCall(id="c1", name="f", arguments='{"x":"é\\n"}'),
                ToolCall(id="c2", name="g", arguments="{}"),
            ),
            reason=Finish.TOOL_CALLS,
            scores=(Score(token="G", logprob=-0.5, top=(Score(token="H", logprob=-1.5),)),),
        ),
    ),
    usage=Usage(input=3, output=5),
    timed=Timed(load=1.5, prompt=0.25, output=2.0),
)


@BOTH
def test_a_thousand_cuts_change_nothing(codec):
    stream = streamed(codec, WHOLE)
    for seed in range(500):
        assert read(codec, openai.cut(stream, seed)) == WHOLE, seed
    for seed in range(500):
        assert read(codec, openai.cut(stream.replace(b"\n", b"\r\n\r\n").rstrip(), seed)) == WHOLE, seed


@BOTH
def test_a_stream_that_breaks_off_is_never_a_success(codec):
    stream = streamed(codec, WHOLE)
    for end in range(len(stream) - 1):
        with pytest.raises(UpstreamDied):
            read(codec, [stream[:end]])
    with pytest.raises(UpstreamDied):
        codec.read_answer(stream.splitlines()[0])


@BOTH
def test_what_follows_the_end_is_not_looked_at(codec):
    assert read(codec, [streamed(codec, WHOLE) + b'{"error": "late"}\n<html>']) == WHOLE


def test_the_last_line_tells_nanoseconds_and_tokens():
    last = json.loads(streamed(CHAT, WHOLE).splitlines()[-1])
    assert last == {
        "model": "m",
        "created_at": "1970-01-01T00:00:07.250000Z",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "total_duration": 3_750_000_000,
        "load_duration": 1_500_000_000,
        "prompt_eval_duration": 250_000_000,
        "eval_duration": 2_000_000_000,
        "prompt_eval_count": 3,
        "eval_count": 5,
    }


def test_tokens_from_a_cache_and_thoughts_are_counted_with_the_others():
    writer = CHAT.writer(HEAD)
    writer.write(Finished(reason=Finish.STOP_SEQUENCE))
    writer.write(Counted(usage=Usage(input=1, cached_input=2, cache_write=4, output=8, reasoning=16)))
    last = json.loads(writer.close())
    assert (last["prompt_eval_count"], last["eval_count"], last["done_reason"]) == (7, 24, "stop")


def test_calls_in_pieces_leave_whole_and_in_order():
    writer = CHAT.writer(HEAD)
    assert writer.write(ToolCallBegan(index=0, id="a", name="f")) == b""
    assert writer.write(ToolCallBegan(index=1, id="b", name="g")) == b""
    for index, piece in [(1, '{"y"'), (0, '{"x": '), (1, ": 2}"), (0, "1}")]:
        assert writer.write(ToolCallDelta(index=index, arguments=piece)) == b""
    line = json.loads(writer.write(Finished(reason=Finish.TOOL_CALLS)))
    assert line["message"]["tool_calls"] == [
        {"id": "a", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}},
        {"id": "b", "function": {"index": 1, "name": "g", "arguments": {"y": 2}}},
    ]


@pytest.mark.parametrize("held", ["[]", '{"x": ', "1", '"\\ud800"'])
def test_arguments_that_are_no_object_are_the_engines_fault(held):
    call = Answer(choices=(Choice(parts=(ToolCall(id="a", name="f", arguments=held),), reason=Finish.STOP),))
    with pytest.raises(UpstreamDied):
        streamed(CHAT, call)
    with pytest.raises(UpstreamDied):
        whole(CHAT, call)


def test_calls_without_ids_get_the_same_one_in_stream_whole_and_history():
    said = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}
    body = json.dumps({"model": "m", "message": said, "done": True, "done_reason": "stop"}).encode()
    streams = read(CHAT, [body.replace(b"true", b"false") + b'\n{"model": "m", "done": true}\n'])
    answer = fold(CHAT.read_answer(body))
    (call,) = answer.choices[0].tool_calls()
    assert call.id.startswith("call_")
    assert streams.choices[0].tool_calls() == (call,)
    assert streams.choices[0].reason is answer.choices[0].reason is Finish.TOOL_CALLS
    messages = [said, {"role": "tool", "tool_name": "f", "content": "9"}]
    asked = CHAT.read_request(json.dumps({"model": "m", "messages": messages}).encode())
    assert asked.generation.turns[0].parts == (call,)
    assert asked.generation.turns[1].parts[0].call_id == call.id


def test_scores_of_thoughts_wait_for_the_words():
    score = {"token": "a", "logprob": -1.0}
    lines = [
        {"message": {"content": "", "thinking": "hm"}, "logprobs": [score]},
        {"message": {"content": "", "thinking": "m"}, "logprobs": [score]},
        {"message": {"content": "ok"}, "logprobs": [score]},
        {"message": {"content": ""}, "logprobs": [score], "done": True},
    ]
    (choice,) = read(CHAT, [json.dumps(line).encode() + b"\n" for line in lines]).choices
    assert choice.parts == (Thinking(text="hmm"), Text(text="ok"))
    assert len(choice.scores) == 4


@BOTH
@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"error": "model runner has stopped"}\n', UpstreamRefused),
        (b'{"error": "input length exceeds the context length", "status": 400}\n', ContextLengthExceeded),
        (b"{oops\n", UpstreamDied),
        (b"[]\n", UpstreamDied),
        (b"<html>\n", UpstreamDied),
        (b'{"message": "hi", "done": 7}\n', UpstreamDied),
        (b'{"response": "\xff"}\n', UpstreamDied),
    ],
)
def test_errors_inside_a_stream_are_raised(codec, line, kind):
    first, *_ = streamed(codec, WHOLE).splitlines(keepends=True)
    with pytest.raises(kind):
        read(codec, [first + line])
    with pytest.raises(kind):
        codec.read_answer(line)


@BOTH
def test_a_writer_does_not_end_what_has_not_finished(codec):
    writer = codec.writer(HEAD)
    for event in events_of(WHOLE)[:3]:
        writer.write(event)
    with pytest.raises(UpstreamDied):
        writer.close()
    with pytest.raises(UpstreamDied):
        codec.write_answer(events_of(WHOLE)[:3], HEAD)
    assert json.loads(writer.fail(UpstreamDied("gone"), 502)) == {"error": "gone"}
    assert json.loads(codec.write_error(InvalidRequest("no", param="x"), 400)) == {"error": "no"}


@BOTH
def test_a_ping_is_a_line_without_words(codec):
    writer = codec.writer(HEAD)
    line = valid(codec, writer.ping())
    assert (line.message.content if codec is CHAT else line.response) == ""
    stream = writer.ping() + streamed(codec, WHOLE)
    assert read(codec, [stream]).choices == WHOLE.choices


def test_words_for_not_answering_are_words():
    writer = CHAT.writer(HEAD)
    assert json.loads(writer.write(RefusalDelta(text="no")))["message"]["content"] == "no"
    events = [RefusalDelta(text="no"), Finished(reason=Finish.STOP)]
    assert json.loads(CHAT.write_answer(events, HEAD))["message"]["content"] == "no"


# Requests ------------------------------------------------------------------------------------------------

image = Image(data=PNG, media_type="image/png")
words = st.builds(Text, text=texts)
turns = st.one_of(
    st.builds(Turn, role=st.just(Role.SYSTEM), parts=st.tuples(words)),
    st.builds(Turn, role=st.just(Role.USER), parts=st.tuples(words, st.just(image)) | st.tuples(st.just(image))),
    st.builds(Turn, role=st.just(Role.USER), parts=st.tuples(words), extra=st.just({"new": 1})),
    st.builds(Turn, role=st.just(Role.ASSISTANT), parts=st.tuples(st.builds(Thinking, text=texts), words, calls)),
)
results = st.builds(
    lambda parts: Turn(role=Role.TOOL, parts=tuple(parts)),
    st.lists(st.builds(ToolResult, call_id=texts, parts=st.tuples(words)), min_size=1, max_size=2),
)
samplings = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 50),
    min_p=st.none() | st.floats(0, 1),
    max_tokens=st.none() | st.integers(0, 50),
    stop=st.lists(texts, max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 9),
    presence_penalty=st.none() | st.floats(-2, 2),
    frequency_penalty=st.none() | st.floats(-2, 2),
    repeat_penalty=st.none() | st.floats(0, 2),
    logprobs=st.none() | st.integers(0, 20),
)
common = {
    "model": texts,
    "answer": st.sampled_from([None, JsonAnswer(), JsonAnswer(schema=SCHEMA)]),
    "reasoning": st.sampled_from([Reasoning(), Reasoning(enabled=False), Reasoning(effort="max")]),
    "sampling": samplings,
    "extra": st.sampled_from(
        [{}, {"keep_alive": "5m", "options": {"num_ctx": 4096, "mirostat": 2}}, {"truncate": True}]
    ),
}
chats = st.builds(
    Generation,
    turns=st.tuples(turns, turns) | st.tuples(turns, results) | st.just(()),
    tools=st.sampled_from([(), (Tool(name="f", description="d", parameters=SCHEMA, strict=True),)]),
    dialect=st.just(Dialect.OLLAMA_CHAT),
    **common,
)
user = st.builds(Turn, role=st.just(Role.USER), parts=st.tuples(words) | st.tuples(words, st.just(image)))
system = st.builds(Turn, role=st.just(Role.SYSTEM), parts=st.tuples(words))
templated = st.builds(
    Generation,
    turns=st.tuples(user) | st.tuples(system, user) | st.just(()),
    dialect=st.just(Dialect.OLLAMA_GENERATE),
    **common,
)
raw = st.builds(
    Generation,
    prompt=st.builds(Prompt, texts=st.tuples(texts), suffix=st.none() | texts),
    dialect=st.just(Dialect.OLLAMA_GENERATE),
    **common,
)


def named(generation):
    """With the tools that answered, where the calls before them say."""
    names = {p.id: p.name for turn in generation.turns for p in turn.parts if isinstance(p, ToolCall)}
    done = []
    for turn in generation.turns:
        parts = [
            msgspec.structs.replace(p, name=names.get(p.call_id, "")) if isinstance(p, ToolResult) else p
            for p in turn.parts
        ]
        done.append(msgspec.structs.replace(turn, parts=tuple(parts)))
    return msgspec.structs.replace(generation, turns=tuple(done))


@settings(max_examples=200)
@given(chats, st.booleans())
def test_a_chat_request_survives_the_way_there_and_back(generation, stream):
    written = CHAT.write_request(generation, stream=stream)
    asked = CHAT.read_request(written)
    assert asked.generation == named(generation)
    assert asked.stream is stream
    assert asked.residence is (None if generation.turns else Residence.LOAD)


@settings(max_examples=200)
@given(templated | raw, st.booleans())
def test_a_generate_request_survives_the_way_there_and_back(generation, stream):
    asked = GENERATE.read_request(GENERATE.write_request(generation, stream=stream))
    assert asked.generation == generation
    assert asked.stream is stream
    assert (asked.residence is None) is bool(generation.turns or generation.prompt)


@given(chats)
def test_the_official_clients_types_hold_our_chat_requests(generation):
    ChatRequest.model_validate_json(CHAT.write_request(generation, stream=True))


@given(templated | raw)
def test_the_official_clients_types_hold_our_generate_requests(generation):
    fields = json.loads(GENERATE.write_request(generation, stream=True))
    fields["images"] = [TheirImage(value=data) for data in fields.get("images", [])]
    GenerateRequest.model_validate(fields)


def test_the_official_clients_own_request_is_understood():
    body = ChatRequest(
        model="m",
        messages=[
            Message(role="user", content="hi", images=[TheirImage(value=PNG)]),
            Message(
                role="assistant",
                tool_calls=[
                    {"function": {"name": "f", "arguments": {"x": 1}}},
                    {"function": {"name": "g", "arguments": {}}},
                ],
            ),
            Message(role="tool", content="2", tool_name="g"),
            Message(role="tool", content="1", tool_name="f"),
        ],
        options={"num_predict": 5, "num_ctx": 99, "stop": ["x"]},
        think="low",
        format=SCHEMA,
        keep_alive="10m",
    ).model_dump_json(exclude_none=True)
    asked = CHAT.read_request(body.encode())
    hello, called, answered = asked.generation.turns
    first, second = called.parts
    assert asked.stream
    assert hello.parts == (Text(text="hi"), image)
    assert [result.call_id for result in answered.parts] == [second.id, first.id]
    assert first.id != second.id
    assert asked.generation.sampling == Sampling(max_tokens=5, stop=("x",))
    assert asked.generation.extra == {"keep_alive": "10m", "options": {"num_ctx": 99}}
    assert asked.generation.reasoning == Reasoning(effort="low")
    assert asked.generation.answer == JsonAnswer(schema=SCHEMA)


@BOTH
@pytest.mark.parametrize(
    ("alive", "residence"),
    [
        (None, Residence.LOAD),
        ("5m", Residence.LOAD),
        (-1, Residence.LOAD),
        (0, Residence.UNLOAD),
        ("0s", Residence.UNLOAD),
    ],
)
def test_an_empty_request_loads_or_unloads(codec, alive, residence):
    asked = codec.read_request(json.dumps({"model": "m", "keep_alive": alive}).encode())
    assert asked.residence is residence
    assert asked.generation.model == "m"
    assert (asked.generation.turns, asked.generation.prompt) == ((), None)
    answer = valid(codec, codec.write_residence(residence, HEAD))
    assert (answer.done, answer.done_reason) == (True, residence.value)
    assert codec.read_request(codec.write_request(asked.generation, stream=False)).residence is residence


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), (30, 30.0), (-1, math.inf), ("-1m", math.inf), ("1h30m", 5400.0), ("1.5s", 1.5), ("90", 90.0)],
)
def test_keep_alive_in_seconds(value, seconds):
    assert keep_alive({"keep_alive": value}) == seconds


def test_two_calls_that_are_alike_are_answered_in_their_order():
    call = {"function": {"name": "f", "arguments": {}}}
    said = {"role": "assistant", "tool_calls": [call, call]}
    results = [{"role": "tool", "tool_name": "f", "content": text} for text in "abc"]
    called, answered = CHAT.read_request(question(messages=[said, *results])).generation.turns
    first, second = [part.id for part in called.parts]
    assert first != second
    assert [result.call_id for result in answered.parts] == [first, second, "call_f"]


def test_a_result_names_the_tool_that_its_id_was_given_to():
    call = Turn(role=Role.ASSISTANT, parts=(ToolCall(id="c", name="f", arguments="{}"),))
    result = Turn(role=Role.TOOL, parts=(ToolResult(call_id="c", parts=(Text(text="9"),)),))
    asked = Generation(model="m", turns=(call, result), dialect=Dialect.OPENAI_CHAT)
    assert json.loads(CHAT.write_request(asked, stream=True))["messages"][1] == {
        "role": "tool",
        "content": "9",
        "tool_call_id": "c",
        "tool_name": "f",
    }


def test_an_endless_answer_is_kept_as_it_was_asked_for():
    asked = CHAT.read_request(question(options={"num_predict": -1})).generation
    assert asked.sampling.max_tokens is None
    assert json.loads(CHAT.write_request(asked, stream=True))["options"] == {"num_predict": -1}


def question(**fields):
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]} | fields).encode()


def message(**fields):
    return json.dumps({"model": "m", "messages": [fields]}).encode()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b'{"messages": []}', "model"),
        (b'{"model": "", "messages": []}', "model"),
        (question(options={"temperature": "hot"}), "options.temperature"),
        (question(options={"stop": [1]}), "options.stop[0]"),
        (question(options=[]), "options"),
        (question(format="xml"), "format"),
        (question(think="hard"), "think"),
        (question(keep_alive="soon"), "keep_alive"),
        (question(keep_alive=True), "keep_alive"),
        (question(top_logprobs=21), "top_logprobs"),
        (question(tools=[{}]), "tools.0.function"),
        (message(content="x"), "messages.0.role"),
        (message(role="king"), "messages.0.role"),
        (message(role="user", images=["http://x.test"]), "messages.0.images.0"),
        (
            message(role="assistant", tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]),
            "messages.0.tool_calls.0.function.arguments",
        ),
    ],
)
def test_a_mistake_is_told_with_its_field(body, param):
    with pytest.raises(InvalidRequest) as caught:
        CHAT.read_request(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"raw": True, "system": "s"}, "system"),
        ({"raw": True, "context": [1]}, "context"),
        ({"raw": True, "template": "t"}, "template"),
        ({"raw": True, "suffix": "t"}, "suffix"),
        ({"raw": True, "images": [PNG]}, "images"),
        ({"suffix": "s", "images": [PNG]}, "images"),
        ({"images": ["?"]}, "images.0"),
        ({"prompt": 1}, "prompt"),
    ],
)
def test_a_mistake_of_generate_is_told_with_its_field(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        GENERATE.read_request(json.dumps({"model": "m", "prompt": "x", **fields}).encode())
    assert caught.value.param == param


HELLO = Turn(role=Role.USER, parts=(Text(text="x"),))
TOOL = Tool(name="f")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"turns": (Turn(role=Role.USER, parts=(Image(url="https://x.test/i.png"),)),)}, "messages.0.images"),
        (
            {
                "turns": (
                    Turn(role=Role.USER, parts=(Foreign(dialect=Dialect.OPENAI_CHAT, kind="file", value={}),)),
                )
            },
            "messages.0",
        ),
        (
            {"turns": (HELLO, Turn(role=Role.ASSISTANT, parts=(ToolCall(id="c", name="f", arguments="["),)))},
            "messages.1.tool_calls.0.function.arguments",
        ),
        ({"tools": (TOOL,), "tool_choice": ToolChoice(mode=Choosing.REQUIRED)}, "tool_choice"),
        ({"tools": (TOOL,), "tool_choice": ToolChoice(mode=Choosing.NAMED, name="f")}, "tool_choice"),
        ({"tools": (TOOL,), "tool_choice": ToolChoice(parallel=False)}, "parallel_tool_calls"),
        ({"tools": (Foreign(dialect=Dialect.ANTHROPIC_MESSAGES, kind="bash", value={}),)}, "tools.0"),
        ({"sampling": Sampling(n=2)}, "n"),
        ({"turns": (), "prompt": Prompt(texts=("a",), suffix="b")}, "suffix"),
        ({"turns": (), "prompt": Prompt(texts=("a", "b"))}, "prompt"),
        ({"dialect": Dialect.OPENAI_RESPONSES, "extra": {"previous_response_id": "r"}}, "previous_response_id"),
        ({"dialect": Dialect.OLLAMA_GENERATE, "extra": {"context": [1]}}, "context"),
    ],
)
def test_what_chat_cannot_say_is_refused_with_its_field(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        CHAT.write_request(Generation(**({"model": "m", "turns": (HELLO,)} | fields)), stream=True)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"turns": (HELLO, HELLO)}, "messages"),
        ({"turns": (Turn(role=Role.SYSTEM, parts=(Text(text="x"),)),)}, "messages"),
        ({"turns": (Turn(role=Role.USER, parts=(Text(text=""),)),)}, "messages.0"),
        ({"turns": (HELLO,), "tools": (TOOL,)}, "tools"),
        ({"turns": (HELLO,), "prompt": Prompt(texts=("x",))}, "messages"),
        ({"prompt": Prompt(texts=((1, 2),))}, "prompt"),
        ({"prompt": Prompt(texts=("x",), echo=True)}, "echo"),
        ({"turns": (HELLO,), "sampling": Sampling(n=2)}, "n"),
    ],
)
def test_what_generate_cannot_say_is_refused_with_its_field(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        GENERATE.write_request(Generation(model="m", **fields), stream=True)
    assert caught.value.param == param


def test_no_tools_may_be_called_where_none_are_given():
    asked = Generation(model="m", turns=(HELLO,), tools=(TOOL,), tool_choice=ToolChoice(mode=Choosing.NONE))
    assert "tools" not in json.loads(CHAT.write_request(asked, stream=True))


def test_an_effort_of_another_dialect_becomes_a_level_that_is_known():
    for reasoning, think in [
        (Reasoning(effort="xhigh"), "high"),
        (Reasoning(effort="none"), False),
        (Reasoning(effort="low"), "low"),
        (Reasoning(budget=2048), True),
        (Reasoning(enabled=False, budget=2048), False),
    ]:
        asked = Generation(model="m", turns=(HELLO,), reasoning=reasoning, dialect=Dialect.OPENAI_CHAT)
        assert json.loads(CHAT.write_request(asked, stream=True))["think"] == think


# Between dialects ----------------------------------------------------------------------------------------


@given(openai.answers())
def test_an_openai_answer_reads_the_same_through_ollama(answer):
    """What both can say: one choice, and tokens in two columns."""
    one = Answer(model="m", choices=answer.choices[:1])
    (through,) = read(CHAT, [streamed(CHAT, one)]).choices
    (direct,) = one.choices
    assert (through.text(), through.thinking(), through.reason) == (direct.text(), direct.thinking(), direct.reason)
    assert through.scores == direct.scores
    assert [(c.id, c.name, json.loads(c.arguments)) for c in through.tool_calls()] == [
        (c.id, c.name, json.loads(c.arguments)) for c in direct.tool_calls()
    ]


@given(answers)
def test_an_ollama_answer_reads_the_same_through_openai(answer):
    there = OpenAIChat(extended=True)
    writer = there.writer(HEAD)
    stream = b"".join([writer.write(e) for e in CHAT.read_answer(whole(CHAT, answer))]) + writer.close()
    reader = there.reader()
    through = fold([*reader.feed(stream), *reader.close()])
    assert through.choices == answer.choices
    assert through.usage == (answer.usage or Usage())


@given(chats.filter(lambda generation: generation.turns))
def test_an_ollama_request_reads_the_same_through_openai(generation):
    """What both can say; the names of results are told again by the calls before them."""
    plain = msgspec.structs.replace(generation, extra={}, reasoning=Reasoning())
    through = OpenAIChat(extended=True).read_request(OpenAIChat(extended=True).write_request(plain, stream=True))
    back = CHAT.read_request(CHAT.write_request(through.generation, stream=True)).generation
    bare = [msgspec.structs.replace(turn, extra={}) for turn in named(plain).turns]
    assert back == msgspec.structs.replace(plain, turns=tuple(bare))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": "\\"m\\" does not support tools"}', InvalidRequest),
        (404, b'{"error": "model \'m\' not found"}', UpstreamRefused),
        (500, b'{"error": "the input length exceeds the context length"}', ContextLengthExceeded),
        (503, b'{"error": "server busy, please try again.  maximum pending requests exceeded"}', UpstreamRefused),
    ],
)
def test_errors_of_ollama_in_our_words(status, body, kind):
    assert type(read_error(status, {}, body)) is kind


def test_random_lines_never_escape_our_errors():
    rng = random.Random(7)
    stream = streamed(CHAT, WHOLE)
    for _ in range(300):
        broken = bytearray(stream)
        for _ in range(3):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            read(CHAT, [bytes(broken)])
        except (UpstreamDied, UpstreamRefused, InvalidRequest):
            continue
