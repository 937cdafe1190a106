"""What is read as plain means the same as what is read as everything else is."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.api.dialect import ChatBody, CompletionBody
from enginehouse.core.cache import rules
from enginehouse.core.cache.answers import joined
from enginehouse.core.cache.questions import Written
from enginehouse.core.gateway.meter import Meter, guessed_tokens
from enginehouse.core.ledger.digests import Digests, canonical, canonical_plain
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.completions import OpenAICompletions
from enginehouse.dialects.openai.plain import read_plain_answer, read_plain_chat, read_plain_completion
from enginehouse.errors import EnginehouseError
from enginehouse.types import Principal
from enginehouse.types.answer import fold
from enginehouse.types.keyed import brief

WAYS = {
    "chat": (read_plain_chat, OpenAIChat(), ChatBody, "openai.chat"),
    "completion": (read_plain_completion, OpenAICompletions(), CompletionBody, "openai.completions"),
}

words = st.text(max_size=9) | st.sampled_from(["What is it?", "ünï", "\U0001f600", '"\\\n'])
numbers = st.sampled_from([0, -0.0, 1, 1.0, 0.5, 0.25, 1e-7] * 6 + [2, 2.0, 2.5, -1, 10**30]) | st.floats(0, 1)
counts = st.sampled_from([0, 1, 2, 5, 7, 2**70] * 6 + [-1, 1.0, True])
odd = st.sampled_from([None, True, "x", 7, 1.5, [], {}, ["a"], [1]])


def mostly(usual):
    return st.integers(0, 39).flatmap(lambda die: odd if die == 0 else st.none() if die < 4 else usual)


messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant"] * 9 + ["tool", "x"]), "content": words}
)
nasty_messages = st.sampled_from(
    [
        {"role": "user", "content": "x", "name": "ann"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user"},
        "x",
    ]
)
common = {
    "temperature": mostly(numbers),
    "top_p": mostly(numbers),
    "presence_penalty": mostly(numbers),
    "frequency_penalty": mostly(numbers),
    "max_tokens": mostly(counts),
    "n": mostly(st.sampled_from([1] * 20 + [1.0, 2, True])),
    "seed": mostly(counts),
    "stop": mostly(words | st.lists(words, max_size=3)),
    "user": mostly(words),
    "stream": mostly(st.booleans()),
    "stream_options": mostly(
        st.sampled_from(
            [{}, {"include_usage": True}, {"include_usage": None}] * 6 + [{"include_usage": 1}, {"a": 1}]
        )
    ),
}
rare = {
    "metadata": st.just({"user_id": "x"}),
    "session_id": st.just("s"),
    "tools": st.just([]),
    "top_k": st.just(3),
    "suffix": st.just(None),
}
chats = st.fixed_dictionaries(
    {
        "model": mostly(words),
        "messages": st.lists(st.one_of(*[messages] * 19, nasty_messages), min_size=1, max_size=4),
    },
    optional={**common, "max_completion_tokens": mostly(counts)},
)
completions = st.fixed_dictionaries(
    {"model": mostly(words), "prompt": st.one_of(*[words] * 5, odd)}, optional={**common, "suffix": st.none()}
)


@st.composite
def bodies(draw, fields):
    """Fields in any order, written with more or less space, some of them twice, and sometimes something rare."""
    pairs = list(draw(fields).items())
    if draw(st.integers(0, 5)) == 0:
        pairs += draw(st.fixed_dictionaries({}, optional=rare)).items()
    if draw(st.integers(0, 5)) == 0:
        pairs += [pair for pair in draw(fields).items() if draw(st.booleans())]
    pairs = draw(st.permutations(pairs))
    ascii_only, gap = draw(st.booleans()), draw(st.sampled_from(["", " ", "\n\t"]))
    told = [f"{json.dumps(name)}{gap}:{json.dumps(value, ensure_ascii=ascii_only)}" for name, value in pairs]
    return ("{" + f",{gap}".join(told) + "}").encode("utf-8", "replace")


def same(way, body):
    """Whether it is plain; then all that is said of it is what the general way says."""
    read, codec, shape, family = WAYS[way]
    plain = read(body)
    if plain is None:
        return False
    peeked = msgspec.json.decode(body, type=shape)
    asked = codec.read_request(body)
    generation = asked.generation
    written = Written(family, body, lambda: generation)
    assert plain.canonical == written.canonical(shared=False)
    assert canonical_plain(body, plain.anonymous) == canonical(body)
    assert (plain.brief, plain.anonymous_brief) == (brief(plain.canonical), brief(plain.anonymous))
    assert plain.words == written.words()
    assert plain.prompt_tokens == guessed_tokens(generation)
    assert plain.max_tokens == generation.sampling.max_tokens
    assert plain.temperature == generation.sampling.temperature
    assert plain.model == peeked.model == generation.model
    assert plain.stream == bool(peeked.stream) == asked.stream
    assert plain.wants_usage == (not asked.stream or asked.wants_usage)
    assert generation.sampling.n == 1
    assert rules.never(generation) is None
    return True


@settings(max_examples=600, deadline=None)
@given(bodies(chats))
def test_a_plain_chat_is_understood_as_every_chat_is(body):
    same("chat", body)


@settings(max_examples=300, deadline=None)
@given(bodies(completions))
def test_a_plain_completion_is_understood_as_every_completion_is(body):
    same("completion", body)


@settings(max_examples=300, deadline=None)
@given(bodies(chats), st.data())
def test_a_broken_body_is_not_plain_or_means_the_same(body, data):
    place = data.draw(st.integers(0, len(body) - 1))
    byte = data.draw(st.sampled_from(list(b'\xff\x00\xed{}[]",:\\1au')))
    same("chat", body[:place] + bytes([byte]) + body[place + 1 :])


USUAL = {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "ü?"}]}


def written(value):
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 0},
        {"temperature": 0.0},
        {"temperature": 1e-300},
        {"temperature": None, "n": 1, "stop": ["a", ""]},
        {"n": None, "stream": True, "stream_options": {"include_usage": True}},
        {"max_tokens": 5, "max_completion_tokens": None},
        {"max_tokens": 5, "max_completion_tokens": 7, "user": "ann"},
        {"user": None, "seed": -(10**25), "top_p": 1, "presence_penalty": -2, "frequency_penalty": 2},
        {"messages": [{"content": "", "role": "assistant"}]},
    ],
    ids=str,
)
def test_these_chats_are_plain(more):
    assert same("chat", written(USUAL | more))


def test_a_plain_completion_is_plain():
    assert same("completion", written({"prompt": "Once", "model": "m", "max_tokens": 3, "user": "u", "stop": "\n"}))


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"n": 1.0},
        {"max_tokens": 5.0},
        {"max_tokens": -1},
        {"temperature": 2.5},
        {"temperature": 3},
        {"temperature": True},
        {"seed": 1.0},
        {"tools": []},
        {"metadata": {}},
        {"response_format": {"type": "text"}},
        {"logprobs": False},
        {"stream_options": {"include_usage": True, "x": 1}},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
        {"messages": [{"role": "user", "content": "x", "name": "ann"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        {"messages": [{"role": "assistant", "content": None}]},
        {"model": None},
    ],
    ids=str,
)
def test_these_chats_are_not(more):
    assert read_plain_chat(written(USUAL | more)) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"nothing",
        b'{"messages":[{"role":"user","content":"x"}]}',
        b"[" * 100_000,
        b'{"model":"\xff"}',
    ],
    ids=range(7),
)
def test_what_is_no_request_is_not_plain(body):
    assert read_plain_chat(body) is None
    assert read_plain_completion(body) is None


def test_who_asks_for_whom_is_left_out_of_the_ledgers_form_alone():
    plain = read_plain_chat(written(USUAL | {"user": "ann"}))
    assert b"ann" in plain.canonical
    assert b"ann" not in plain.anonymous
    nobody = read_plain_chat(written(USUAL))
    assert nobody.canonical is nobody.anonymous
    assert nobody.canonical == plain.anonymous


@pytest.mark.parametrize("user", [None, "ann"])
def test_a_long_chat_is_told_by_its_digest(user):
    long = written(
        USUAL | {"messages": [{"role": "user", "content": "x" * 20_000}]} | ({"user": user} if user else {})
    )
    assert same("chat", long)
    plain = read_plain_chat(long)
    assert len(plain.brief) == len(plain.anonymous_brief) < 64
    assert (plain.brief == plain.anonymous_brief) is (user is None)
    digests, ann = Digests(b"secret", enabled=True), Principal(user="ann")
    told = digests.of_canonical(ann, canonical_plain(long, plain.anonymous_brief))
    assert told == digests.of(ann, lambda: canonical(long)) == digests.of_canonical(ann, plain.anonymous) != ""


def test_of_a_long_chat_the_ledger_has_the_body_as_it_is():
    long = written(USUAL | {"messages": [{"role": "user", "content": "x" * 70_000}], "user": "ann"})
    assert same("chat", long)
    pointing = written(USUAL | {"messages": [{"role": "user", "content": "session_id" * 7_000}]})
    assert same("chat", pointing)
    assert canonical_plain(pointing, read_plain_chat(pointing).anonymous) == b""


details = st.fixed_dictionaries(
    {}, optional={name: counts | st.none() for name in ("cached_tokens", "cache_write_tokens", "reasoning_tokens")}
)
usages = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": st.integers(0, 99),
        "completion_tokens": st.integers(0, 99),
        "total_tokens": st.integers(0, 99),
        "prompt_tokens_details": details | st.none(),
        "completion_tokens_details": details | st.none(),
    },
)
said = st.fixed_dictionaries(
    {"content": st.one_of(*[words] * 6, odd)},
    optional={
        "role": st.just("assistant"),
        "refusal": st.sampled_from([None, None, None, None, None, "", "No."]),
        "reasoning_content": st.sampled_from([None, None, None, None, None, "", "Hm."]),
        "reasoning": st.sampled_from([None, None, None, None, "Hm."]),
        "tool_calls": st.sampled_from([None, [], [], [], [], [{"function": {"name": "f"}}]]),
        "annotations": st.just([]),
        "function_call": st.just(None),
    },
)
reasons = st.sampled_from(
    ["stop"] * 5 + ["length", "tool_calls", "content_filter", "function_call", "eos", "", None, 1]
)
answered = st.fixed_dictionaries(
    {"finish_reason": reasons},
    optional={
        "index": st.sampled_from([0] * 8 + [1, 0.0]),
        "message": st.one_of(*[said] * 5, odd),
        "text": st.one_of(*[words] * 3, st.none()),
        "delta": st.sampled_from([None, None, None, {"content": "d"}]),
        "stop_reason": st.sampled_from([None, None, 7, "END", 1.5, 2**80]),
        "logprobs": st.sampled_from([None, None, None, {}, {"content": []}]),
    },
)
wholes = st.fixed_dictionaries(
    {"choices": st.one_of(*[st.lists(answered, min_size=1, max_size=1)] * 6, st.lists(answered, max_size=3))},
    optional={
        "id": mostly(words),
        "model": mostly(words),
        "object": words,
        "created": st.integers(0, 9),
        "system_fingerprint": st.none(),
        "service_tier": words,
        "usage": mostly(usages),
        "error": st.sampled_from([None, None, "", {"message": "x"}]),
        "timings": st.just({"prompt_ms": 1.5}),
    },
)


def told_the_same(body, codec):
    """Whether it is plain; then it is the answer that the general way reads, and took as much."""
    plain = read_plain_answer(body)
    if plain is None:
        return False
    events = codec.read_answer(body)
    meter = Meter()
    meter.note_all(events)
    meter.complete = True
    general = fold(joined(events))
    assert plain.answer() == general
    assert repr(plain.answer()) == repr(general)
    assert plain.usage == general.usage
    assert plain.taken(11) == meter.usage(lambda: 11)
    assert plain.text == general.choices[0].text()
    return True


@settings(max_examples=800, deadline=None)
@given(wholes)
def test_a_plain_answer_is_read_as_every_answer_is(whole):
    told_the_same(written(whole), OpenAIChat())


ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "system_fingerprint": "fp",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Yes.", "refusal": None, "tool_calls": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}


def test_these_answers_are_plain():
    assert told_the_same(written(ANSWER), OpenAIChat())
    assert told_the_same(written(ANSWER | {"usage": None}), OpenAIChat())
    text = {"choices": [{"index": 0, "text": " upon", "logprobs": None, "finish_reason": "length"}]}
    assert told_the_same(written(ANSWER | text), OpenAICompletions())
    assert told_the_same(written({"choices": [{"finish_reason": "stop"}]}), OpenAIChat())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        written(ANSWER | {"choices": []}),
        written(ANSWER | {"choices": ANSWER["choices"] * 2}),
        written(ANSWER | {"error": {"message": "x"}}),
        written(ANSWER | {"choices": [{"message": {"content": "x"}}]}),
        written(ANSWER | {"choices": [{"message": {"content": "x"}, "finish_reason": ""}]}),
        written(ANSWER)[:-5],
        b'{"choices":' * 30_000,
    ],
    ids=range(10),
)
def test_what_is_not_plain_is_left_to_the_general_reader(body):
    assert read_plain_answer(body) is None


def test_what_cannot_be_read_is_no_plain_answer_either():
    broken = written(ANSWER | {"choices": [{"message": {"content": "x"}, "finish_reason": None}]})
    assert read_plain_answer(broken) is None
    with pytest.raises(EnginehouseError):
        OpenAIChat().read_answer(broken)
