"""A whole answer is the fold of its stream."""

import json

import pytest

from enginehouse.engines.llama_server.fold import Fold


def folded(*chunks):
    fold = Fold()
    for chunk in chunks:
        fold.add(json.loads(json.dumps(chunk)))
    return json.loads(fold.body())


def chat(delta, **choice):
    return {"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, **choice}]}


def test_text_is_joined_and_the_object_is_a_completion():
    body = folded(
        chat({"role": "assistant", "content": None}),
        chat({"content": "Hel"}),
        chat({"content": "lo"}, finish_reason=None),
        chat({}, finish_reason="stop"),
        {"choices": [], "usage": {"total_tokens": 3}},
    )
    assert body["object"] == "chat.completion"
    assert body["id"] == "x"
    assert body["usage"] == {"total_tokens": 3}
    assert body["choices"] == [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}
    ]


def test_parallel_tool_calls_are_put_together_by_index():
    body = folded(
        chat({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}]}),
        chat({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}]}),
        chat({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        chat({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}, finish_reason="tool_calls"),
    )
    calls = body["choices"][0]["message"]["tool_calls"]
    assert calls == [
        {"type": "function", "function": {"name": "f", "arguments": '{"x":1}'}, "id": "a"},
        {"type": "function", "function": {"name": "g", "arguments": "{}"}, "id": "b"},
    ]
    assert body["choices"][0]["message"]["content"] is None


def test_several_choices_stay_apart_and_in_order():
    body = folded(
        {"choices": [{"index": 1, "delta": {"content": "b"}}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}}]},
        {"choices": [{"index": 1, "delta": {"content": "B"}, "finish_reason": "stop"}]},
    )
    assert [choice["message"]["content"] for choice in body["choices"]] == ["a", "bB"]


def test_logprobs_are_appended():
    body = folded(
        chat({"content": "a"}, logprobs={"content": [{"token": "a"}]}),
        chat({"content": "b"}, logprobs={"content": [{"token": "b"}]}),
    )
    assert body["choices"][0]["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}


def test_reasoning_is_kept_apart():
    body = folded(chat({"reasoning_content": "hm"}), chat({"reasoning_content": "m", "content": "yes"}))
    message = body["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hmm", "yes")


@pytest.mark.parametrize("pieces", [["Once"], ["On", "ce"], ["", "Once", ""]])
def test_text_completions_fold_too(pieces):
    chunks = [{"object": "text_completion", "choices": [{"index": 0, "text": piece}]} for piece in pieces]
    body = folded(*chunks, {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
    assert body["choices"] == [{"index": 0, "finish_reason": "length", "text": "Once"}]
    assert body["object"] == "text_completion"
