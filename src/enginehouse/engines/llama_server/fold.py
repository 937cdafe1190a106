"""A whole answer is the fold of its stream: chat and text completion chunks in, one body out."""

from typing import Any, cast

import msgspec

__all__ = ["Fold"]

Json = dict[str, Any]

_CONCATENATED = ("content", "reasoning_content", "refusal", "text")


class Fold:
    """Collects the chunks of one OpenAI-dialect stream; `body()` is what an unstreamed call would have given."""

    def __init__(self) -> None:
        self._head: Json = {}
        self._choices: dict[int, Json] = {}

    def add(self, chunk: Json) -> None:
        """Take the next chunk."""
        for choice in chunk.pop("choices", []):
            self._add_choice(choice)
        self._head |= chunk

    def body(self) -> bytes:
        """The answer as JSON."""
        head = dict(self._head)
        if head.get("object") == "chat.completion.chunk":
            head["object"] = "chat.completion"
        choices = [self._choices[index] for index in sorted(self._choices)]
        return msgspec.json.encode({"choices": choices, **head})

    def _add_choice(self, choice: Json) -> None:
        index: int = choice.get("index", 0)
        whole = self._choices.setdefault(index, {"index": index, "finish_reason": None})
        if "delta" in choice:
            message = whole.setdefault("message", {"role": "assistant", "content": None})
            _add_delta(message, choice.pop("delta") or {})
        if "text" in choice:
            _concatenate(whole, "text", choice.pop("text"))
        _add_logprobs(whole, choice.pop("logprobs", None))
        whole |= {key: value for key, value in choice.items() if value is not None}


def _add_delta(message: Json, delta: Json) -> None:
    for call in delta.pop("tool_calls", None) or ():
        _add_tool_call(message.setdefault("tool_calls", []), call)
    for key, value in delta.items():
        if key in _CONCATENATED:
            _concatenate(message, key, value)
        elif value is not None:
            message[key] = value


def _add_tool_call(calls: list[Json], delta: Json) -> None:
    index: int = delta.pop("index", len(calls))
    while len(calls) <= index:
        calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
    function: Json = delta.pop("function", None) or {}
    for key in ("name", "arguments"):
        _concatenate(calls[index]["function"], key, function.get(key))
    calls[index] |= {key: value for key, value in delta.items() if value is not None}


def _concatenate(target: Json, key: str, piece: str | None) -> None:
    if piece is not None:
        target[key] = (target.get(key) or "") + piece


def _add_logprobs(whole: Json, logprobs: Json | None) -> None:
    if not logprobs:
        return
    collected: Json = whole.setdefault("logprobs", {})
    for key, values in logprobs.items():
        if isinstance(values, list):
            cast("list[Any]", collected.setdefault(key, [])).extend(cast("list[Any]", values))
        else:
            collected[key] = values
