"""OpenAI's text completions: both ways, under any cut of the network, and as the official client reads them."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion

from enginehouse.dialects.base import Head
from enginehouse.dialects.ollama.generate import OllamaGenerate
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.completions import OpenAICompletions
from enginehouse.errors import InvalidRequest, UpstreamDied
from enginehouse.types import Usage
from enginehouse.types.answer import Answer, Choice, Finish, Score, events_of, fold
from enginehouse.types.generation import (
    Dialect,
    Generation,
    JsonAnswer,
    Prompt,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    Turn,
)
from tests.unit.dialects.test_openai_chat import cut, frames, unknown

CODEC = OpenAICompletions(extended=True)
HEAD = Head(id="1", model="m", created=7)

texts = st.text(min_size=1, max_size=12)
leaves = st.builds(Score, token=texts, logprob=st.floats(-9, 0))
tops = st.lists(leaves, max_size=2, unique_by=lambda score: score.token).map(tuple)
scores = st.builds(Score, token=texts, logprob=st.floats(-9, 0), top=tops)


@st.composite
def answers(draw):
    choices = []
    for _ in range(draw(st.integers(1, 3))):
        parts = draw(st.just(()) | st.tuples(st.builds(Text, text=texts)))
        held = tuple(draw(st.lists(scores, max_size=3))) if parts else ()
        reason = draw(st.sampled_from([Finish.STOP, Finish.LENGTH, Finish.CONTENT_FILTER]))
        choices.append(Choice(parts=parts, reason=reason, scores=held))
    usage = Usage(input=draw(st.integers(0, 9)), cached_input=2, output=draw(st.integers(0, 9)), reasoning=1)
    return Answer(id="cmpl-1", model="m", choices=tuple(choices), usage=usage)


def streamed(answer, *, wants_usage=True):
    writer = CODEC.writer(msgspec.structs.replace(HEAD, wants_usage=wants_usage))
    return b"".join([writer.write(event) for event in events_of(answer)]) + writer.close()


def read(chunks):
    reader = CODEC.reader()
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    return fold([*events, *reader.close()])


@given(answers())
def test_a_stream_and_a_whole_answer_say_the_same(answer):
    assert read([streamed(answer)]) == answer
    assert fold(CODEC.read_answer(CODEC.write_answer(events_of(answer), HEAD))) == answer


@given(answers())
def test_the_official_client_knows_every_field(answer):
    """Its types want a reason in every chunk; the service itself sends null until the last."""
    for frame in frames(streamed(answer)):
        for choice in frame["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        assert not unknown(Completion.model_validate(frame))
    assert not unknown(Completion.model_validate_json(CODEC.write_answer(events_of(answer), HEAD)))


WHOLE = Answer(
    id="cmpl-1",
    model="m",
    choices=(
        Choice(
            parts=(Text(text="Grüße, 世界 🤔\n\ndata: [DONE]\r\n"),),
            reason=Finish.STOP,
            scores=(Score(token="Grüße", logprob=-0.5, top=(Score(token="Hi", logprob=-1.5),)),),
        ),
        Choice(parts=(Text(text="zwei"),), reason=Finish.LENGTH),
    ),
    usage=Usage(input=3, cached_input=2, output=5, reasoning=1),
)


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_a_thousand_cuts_change_nothing(ends):
    stream = streamed(WHOLE).replace(b"\n", ends)
    for seed in range(334):
        assert read(cut(stream, seed)) == WHOLE, seed


def test_a_stream_that_breaks_off_is_never_a_success():
    for choice in WHOLE.choices:
        stream = streamed(Answer(choices=(choice,)))
        for end in range(0, stream.index(b'"finish_reason":"'), 23):
            with pytest.raises(UpstreamDied):
                read([stream[:end]])
    two = streamed(WHOLE)
    with pytest.raises(UpstreamDied):
        read([two[: two.index(b'"finish_reason":"length"')]])


def test_a_writer_does_not_end_what_has_not_finished():
    for part in (Text(text="a"), Thinking(text="a")):
        writer = CODEC.writer(HEAD)
        for event in events_of(Answer(choices=(Choice(parts=(part,)),))):
            writer.write(event)
        with pytest.raises(UpstreamDied):
            writer.close()
        assert b"[DONE]" not in writer.fail(UpstreamDied("gone"), 502)
    with pytest.raises(UpstreamDied):
        CODEC.write_answer(events_of(Answer(choices=(Choice(),))), HEAD)


def test_usage_comes_last_and_only_when_wanted():
    *chunks, last = frames(streamed(WHOLE))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 11
    assert all(chunk["usage"] is None for chunk in chunks)
    assert all("usage" not in chunk for chunk in frames(streamed(WHOLE, wants_usage=False)))


def test_tokens_know_where_they_stand():
    held = (Score(token="ab", logprob=-1), Score(token="é", logprob=-1), Score(token="c", logprob=-1))
    choice = Choice(parts=(Text(text="abéc"),), reason=Finish.STOP, scores=held)
    whole = json.loads(CODEC.write_answer(events_of(Answer(choices=(choice,))), HEAD))
    assert whole["choices"][0]["logprobs"]["text_offset"] == [0, 2, 3]
    assert whole["choices"][0]["logprobs"]["top_logprobs"] is None


def test_scores_in_chats_way_are_understood_too():
    logprobs = {"content": [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": []}]}
    choice = {"index": 0, "text": "a", "logprobs": logprobs, "finish_reason": "stop"}
    events = CODEC.read_answer(json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode())
    assert fold(events).choices[0].scores == (Score(token="a", logprob=-1, bytes=(97,)),)


def test_thoughts_have_no_place_here():
    answer = Answer(choices=(Choice(parts=(Thinking(text="hm"), Text(text="a")), reason=Finish.TOOL_CALLS),))
    (choice,) = json.loads(CODEC.write_answer(events_of(answer), HEAD))["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("a", "stop")
    assert b"hm" not in streamed(answer)


ids = st.lists(st.integers(0, 99), min_size=1, max_size=3).map(tuple)
prompts = st.builds(
    Prompt,
    texts=st.one_of(
        st.tuples(st.just("") | texts),
        st.tuples(ids),
        st.lists(texts, min_size=2, max_size=3).map(tuple),
        st.lists(ids, min_size=2, max_size=3).map(tuple),
    ),
    suffix=st.none() | texts,
    echo=st.booleans(),
)
generations = st.builds(
    Generation,
    model=texts,
    prompt=prompts,
    sampling=st.builds(
        Sampling,
        temperature=st.none() | st.floats(0, 2),
        top_k=st.none() | st.integers(1, 50),
        max_tokens=st.none() | st.integers(0, 50),
        stop=st.lists(texts, max_size=2).map(tuple),
        n=st.integers(1, 3),
        logprobs=st.none() | st.integers(0, 5),
    ),
    user=st.none() | texts,
    dialect=st.just(Dialect.OPENAI_COMPLETIONS),
    extra=st.sampled_from([{}, {"logit_bias": {"5": 1}}, {"best_of": 4}]),
).filter(lambda generation: not (generation.prompt.echo and generation.sampling.logprobs is not None))


@settings(max_examples=200)
@given(generations, st.booleans())
def test_a_request_survives_the_way_there_and_back(generation, stream):
    asked = CODEC.read_request(CODEC.write_request(generation, stream=stream))
    assert asked.generation == generation
    assert (asked.stream, asked.wants_usage) == (stream, stream)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b'{"model": "m"}', "prompt"),
        (b'{"model": "m", "prompt": null}', "prompt"),
        (b'{"model": "m", "prompt": []}', "prompt"),
        (b'{"model": "m", "prompt": [[]]}', "prompt"),
        (b'{"model": "m", "prompt": [1, "a"]}', "prompt"),
        (b'{"model": "m", "prompt": {"a": 1}}', "prompt"),
        (b'{"model": "m", "prompt": "a", "n": 0}', "n"),
        (b'{"model": "m", "prompt": "a", "n": 3, "best_of": 2}', "best_of"),
        (b'{"model": "m", "prompt": "a", "logprobs": true}', "logprobs"),
    ],
)
def test_a_mistake_is_told_with_its_field(body, param):
    with pytest.raises(InvalidRequest) as caught:
        CODEC.read_request(body)
    assert caught.value.param == param


SAID = Generation(model="m", prompt=Prompt(texts=("a",)), sampling=Sampling(top_k=3))
TURNS = (Turn(role=Role.USER, parts=(Text(text="x"),)),)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None, "turns": TURNS}, "messages"),
        ({"turns": TURNS}, "messages"),
        ({"tools": (Tool(name="f"),)}, "tools"),
        ({"answer": JsonAnswer()}, "response_format"),
        ({"prompt": Prompt(texts=("a",), echo=True), "sampling": Sampling(logprobs=1)}, "logprobs"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_field(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        CODEC.write_request(msgspec.structs.replace(SAID, **fields), stream=False)
    assert caught.value.param == param


def test_words_of_llama_cpp_go_to_servers_that_know_them():
    assert json.loads(CODEC.write_request(SAID, stream=False)) == {"model": "m", "prompt": "a", "top_k": 3}
    assert json.loads(OpenAICompletions().write_request(SAID, stream=False)) == {"model": "m", "prompt": "a"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"echo": True}, "echo"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"best_of": 2}, "best_of"),
    ],
)
@pytest.mark.parametrize("codec", [OpenAIChat(), OllamaGenerate()])
def test_elsewhere_what_would_change_the_answer_is_refused(codec, fields, param):
    asked = CODEC.read_request(json.dumps({"model": "m", "prompt": "a", **fields}).encode())
    with pytest.raises(InvalidRequest) as caught:
        codec.write_request(asked.generation, stream=False)
    assert caught.value.param == param


def test_a_prompt_is_a_users_turn_where_there_are_only_conversations():
    asked = CODEC.read_request(b'{"model": "m", "prompt": "a", "n": 1, "best_of": 1}')
    assert json.loads(OpenAIChat().write_request(asked.generation, stream=False)) == {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}],
    }
