"""Lines and whole answers as Ollama's clients expect them, out of events."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from enginehouse.dialects.base import Head, Residence
from enginehouse.dialects.ollama.calls import arguments_of, call_json
from enginehouse.dialects.shapes import compact
from enginehouse.errors import EnginehouseError, UpstreamDied
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Answer,
    Choice,
    Counted,
    Event,
    Finish,
    Finished,
    RefusalDelta,
    Score,
    TextDelta,
    ThinkingDelta,
    Timed,
    ToolCallBegan,
    ToolCallDelta,
    fold,
)
from enginehouse.types.generation import Json, ToolCall

__all__ = ["OllamaWriter", "Wording", "in_message", "in_response", "write_ollama_answer", "write_residence"]

Wording: TypeAlias = Callable[[Json], Json]
"""Where an endpoint puts what the model says: `content`, and `thinking` and `tool_calls` where there are any."""

_NANO = 1_000_000_000
_LINE_ENDS = tuple((end.encode(), b"\\u%04x" % ord(end)) for end in "\u0085\u2028\u2029")
"""What ends a line in Unicode, and may stand in a JSON string as it is."""


def in_message(said: Json) -> Json:
    """`/api/chat` has a message."""
    return {"message": {"role": "assistant"} | said}


def in_response(said: Json) -> Json:
    """`/api/generate` has it at the top, and calls the words `response`."""
    return {"response": said["content"]} | {name: said[name] for name in said if name != "content"}


class OllamaWriter:
    """Lines out of events. Tool calls are written whole, when the choice is finished.

    Raises:
        UpstreamDied: from `write`, when a call's arguments are not a JSON object; this dialect has no other.
    """

    def __init__(self, head: Head, wording: Wording) -> None:
        self._base = _base(head)
        self._wording = wording
        self._calls: dict[int, tuple[ToolCallBegan, list[str]]] = {}
        self._finished: Finished | None = None
        self._usage: Usage | None = None
        self._timed: Timed | None = None

    def write(self, event: Event) -> bytes:
        """The line of one event."""
        match event:
            case TextDelta():
                return self._line({"content": event.text}, event.scores)
            case RefusalDelta():
                return self._line({"content": event.text})
            case ThinkingDelta():
                return self._line({"content": "", "thinking": event.text})
            case Finished():
                self._finished = event
                return self._whole_calls()
            case _:
                self._note(event)
                return b""

    def _note(self, event: Event) -> None:
        match event:
            case ToolCallBegan():
                self._calls[event.index] = (event, [])
            case ToolCallDelta():
                self._calls[event.index][1].append(event.arguments)
            case Counted():
                self._usage = event.usage
            case Timed():
                self._timed = event
            case _:
                return

    def close(self) -> bytes:
        """The line that says `done`."""
        if self._finished is None:
            raise UpstreamDied("The engine's stream broke off before its end.")
        end = _end(self._finished.reason, self._usage, self._timed)
        return _line(self._base | self._wording({"content": ""}) | end)

    def fail(self, error: EnginehouseError, status: int) -> bytes:  # noqa: ARG002 - no place for it
        """An error line, and no line that says `done`."""
        return _line({"error": error.message})

    def ping(self) -> bytes:
        """A line without words: clients parse every line, so that nothing shorter will do."""
        return self._line({"content": ""})

    def _line(self, said: Json, scores: tuple[Score, ...] = ()) -> bytes:
        return _line(self._base | self._wording(said) | {"done": False} | _scores_json(scores))

    def _whole_calls(self) -> bytes:
        calls = [
            ToolCall(id=began.id, name=began.name, arguments="".join(pieces))
            for _, (began, pieces) in sorted(self._calls.items())
        ]
        return self._line({"content": "", "tool_calls": _calls_json(calls)}) if calls else b""


def write_ollama_answer(events: Iterable[Event], head: Head, wording: Wording) -> bytes:
    """A whole answer.

    Raises:
        UpstreamDied: it has not finished, or a call's arguments are not a JSON object.
    """
    answer = fold(events)
    choice = _only_choice(answer)
    if choice.reason is None:
        raise UpstreamDied("The engine's answer is not complete.")
    said: Json = {"content": choice.text() + (choice.refusal() or "")}
    if thoughts := choice.thinking():
        said["thinking"] = thoughts
    if calls := choice.tool_calls():
        said["tool_calls"] = _calls_json(calls)
    end = _end(choice.reason, answer.usage, answer.timed)
    return msgspec.json.encode(_base(head) | wording(said) | end | _scores_json(choice.scores))


def write_residence(residence: Residence, head: Head, wording: Wording) -> bytes:
    """The answer to an empty request, once the model is loaded or on its way out of memory."""
    said = wording({"content": ""})
    return msgspec.json.encode(_base(head) | said | {"done": True, "done_reason": residence.value})


def _only_choice(answer: Answer) -> Choice:
    return answer.choices[0] if answer.choices else Choice()


def _base(head: Head) -> Json:
    moment = datetime.fromtimestamp(head.created, UTC).isoformat(timespec="microseconds")
    return {"model": head.model, "created_at": moment.replace("+00:00", "Z")}


def _line(fields: Json) -> bytes:
    """One line, for those too who know more line ends than JSON does: the official client splits at all of them."""
    line = msgspec.json.encode(fields)
    for end, escaped in _LINE_ENDS:
        line = line.replace(end, escaped)
    return line + b"\n"


def _end(reason: Finish, usage: Usage | None, timed: Timed | None) -> Json:
    """Why, how much and how long; what is not known is left out."""
    told = reason.value if reason in {Finish.LENGTH, Finish.CONTENT_FILTER} else "stop"
    return {"done": True, "done_reason": told} | _durations(timed) | _counts(usage)


def _durations(timed: Timed | None) -> Json:
    if timed is None:
        return {}
    return {
        "total_duration": _nanoseconds(timed.load + timed.prompt + timed.output),
        "load_duration": _nanoseconds(timed.load),
        "prompt_eval_duration": _nanoseconds(timed.prompt),
        "eval_duration": _nanoseconds(timed.output),
    }


def _counts(usage: Usage | None) -> Json:
    if usage is None:
        return {}
    prompt = usage.input + usage.cached_input + usage.cache_write
    return {"prompt_eval_count": prompt, "eval_count": usage.output + usage.reasoning}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _NANO)


def _calls_json(calls: Iterable[ToolCall]) -> list[Json]:
    written: list[Json] = []
    for index, call in enumerate(calls):
        arguments = arguments_of(call.arguments)
        if arguments is None:
            raise UpstreamDied(f"The arguments of the engine's call of {call.name!r} are not a JSON object.")
        written.append(call_json(call.id, call.name, arguments, index))
    return written


def _scores_json(scores: tuple[Score, ...]) -> Json:
    return {"logprobs": [_score(score) for score in scores]} if scores else {}


def _score(score: Score) -> Json:
    held = None if score.bytes is None else list(score.bytes)
    top = [_score(other) for other in score.top] or None
    return compact({"token": score.token, "logprob": score.logprob, "bytes": held, "top_logprobs": top})
