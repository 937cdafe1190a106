"""Streams and whole answers of Anthropic's Messages, written from events."""

from collections.abc import Iterable

import msgspec

from enginehouse.dialects.anthropic.shapes import arguments_of, error_json, reason_of, usage_json
from enginehouse.dialects.base import Head
from enginehouse.dialects.framing import sse
from enginehouse.errors import EnginehouseError, UpstreamDied
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Began,
    Choice,
    Counted,
    Event,
    Finish,
    Finished,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    Timed,
    ToolCallBegan,
    ToolCallDelta,
    fold,
)
from enginehouse.types.generation import Json, RedactedThinking, Refusal, Text, Thinking, ToolCall

__all__ = ["MessagesWriter", "write_messages_answer"]


class MessagesWriter:
    """Frames out of events; blocks come one after the other, each with its start, its deltas and its stop.

    Some engines write several tool calls at once, a piece of this and a piece of that. Anthropic's clients want one
    after the other: while a call's arguments are not whole JSON yet, what belongs elsewhere waits. The head waits
    for the first words, because by then an engine that counts its prompt early has told how long it is.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._usage = Usage()
        self._started = False
        self._blocks = 0
        self._open: str | int | None = None
        """The open block: `text`, `thinking`, `refusal`, or which call it is."""
        self._arguments: list[str] = []
        self._waiting: list[Event] = []
        self._refused = False
        self._finished: Finished | None = None

    def write(self, event: Event) -> bytes:
        """The frames of one event, and of those that had to wait for it."""
        match event:
            case Began() | Timed():
                return b""
            case Counted():
                self._usage = event.usage
                return b""
            case Finished():
                self._finished = event
                return self._start() + self._drain() + self._stop()
            case _:
                return self._start() + self._told(event)

    def close(self) -> bytes:
        """Why it ended with all counts, and the end."""
        if self._finished is None:
            raise UpstreamDied("The engine's stream broke off before its end.")
        finished = self._finished
        delta = {
            "stop_reason": reason_of(finished.reason, refused=self._refused),
            "stop_sequence": finished.stop_sequence,
        }
        return _frame("message_delta", delta=delta, usage=usage_json(self._usage)) + _frame("message_stop")

    def fail(self, error: EnginehouseError, status: int) -> bytes:
        """An `error` event, and no `message_stop`."""
        return sse(msgspec.json.encode(error_json(error, status)), "error")

    def ping(self) -> bytes:
        """Anthropic's own."""
        return _frame("ping")

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        message = _message(self._head, [], self._usage)
        return _frame("message_start", message=message)

    def _told(self, event: Event) -> bytes:
        """The frames of an event, unless it has to wait."""
        mine = isinstance(event, ToolCallDelta) and event.index == self._open
        if not mine and isinstance(self._open, int) and arguments_of("".join(self._arguments) or "?") is None:
            self._waiting.append(event)
            return b""
        frames = self._frames(event)
        if self._waiting and mine and arguments_of("".join(self._arguments)) is not None:
            frames += self._again()
        return frames

    def _again(self) -> bytes:
        waiting, self._waiting = self._waiting, []
        return b"".join([self._told(event) for event in waiting])

    def _drain(self) -> bytes:
        """What still waits at the end; a call that is not whole by now will not become so."""
        frames = b""
        while self._waiting:
            frames += self._stop() + self._again()
        return frames

    def _frames(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self._words("text", {"type": "text", "text": ""}, "text_delta", "text", event.text)
            case RefusalDelta():
                self._refused = True
                return self._words("refusal", {"type": "text", "text": ""}, "text_delta", "text", event.text)
            case ThinkingDelta():
                return self._words("thinking", _THOUGHT, "thinking_delta", "thinking", event.text)
            case ThinkingSigned():
                seal = self._words("thinking", _THOUGHT, "signature_delta", "signature", event.signature)
                return seal + self._stop()
            case ThinkingRedacted():
                return self._opened("redacted", {"type": "redacted_thinking", "data": event.data}) + self._stop()
            case ToolCallBegan():
                block: Json = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
                self._arguments = []
                return self._stop() + self._opened(event.index, block)
            case ToolCallDelta():
                return self._call(event)
            case _:
                raise AssertionError("the other events make no blocks")

    def _call(self, event: ToolCallDelta) -> bytes:
        """More of the open call; what comes after the end of a closed one can be white space only."""
        if event.index != self._open or not event.arguments:
            return b""
        self._arguments.append(event.arguments)
        return self._delta("input_json_delta", "partial_json", event.arguments)

    def _words(self, kind: str, block: Json, delta: str, field: str, words: str) -> bytes:
        return self._opened(kind, block) + self._delta(delta, field, words) if words else b""

    def _opened(self, kind: str | int, block: Json) -> bytes:
        if self._open == kind:
            return b""
        closed = self._stop()
        self._open = kind
        return closed + _frame("content_block_start", index=self._blocks, content_block=block)

    def _delta(self, kind: str, field: str, piece: str) -> bytes:
        return _frame("content_block_delta", index=self._blocks, delta={"type": kind, field: piece})

    def _stop(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        self._blocks += 1
        return _frame("content_block_stop", index=self._blocks - 1)


_THOUGHT: Json = {"type": "thinking", "thinking": "", "signature": ""}


def _frame(kind: str, **fields: object) -> bytes:
    return sse(msgspec.json.encode({"type": kind, **fields}), kind)


def _message(head: Head, blocks: list[Json], usage: Usage) -> Json:
    return {
        "id": f"msg_{head.id}",
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": blocks,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_json(usage),
    }


def write_messages_answer(events: Iterable[Event], head: Head) -> bytes:
    """A whole answer."""
    answer = fold(events)
    choice = answer.choices[0] if answer.choices else Choice()
    if choice.reason is None:
        raise UpstreamDied("The engine's answer is not complete.")
    message = _message(head, _blocks(choice), answer.usage or Usage())
    message["stop_reason"] = reason_of(choice.reason, refused=choice.refusal() is not None)
    message["stop_sequence"] = choice.stop_sequence
    return msgspec.json.encode(message)


def _blocks(choice: Choice) -> list[Json]:
    return [_block(part, choice) for part in choice.parts if _says_something(part)]


def _says_something(part: Text | Thinking | RedactedThinking | Refusal | ToolCall) -> bool:
    match part:
        case Text() | Refusal():
            return bool(part.text)
        case Thinking():
            return bool(part.text or part.signature)
        case _:
            return True


def _block(part: Text | Thinking | RedactedThinking | Refusal | ToolCall, choice: Choice) -> Json:
    match part:
        case Text() | Refusal():
            return {"type": "text", "text": part.text}
        case Thinking():
            return {"type": "thinking", "thinking": part.text, "signature": part.signature or ""}
        case RedactedThinking():
            return {"type": "redacted_thinking", "data": part.data}
        case ToolCall():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part, choice)}


def _input(call: ToolCall, choice: Choice) -> Json:
    """A call's arguments; of a call that was cut off at the token limit nothing can be used."""
    arguments = arguments_of(call.arguments)
    if arguments is None and choice.reason is not Finish.LENGTH:
        raise UpstreamDied(f"The model called {call.name} with arguments that are not a JSON object.")
    return arguments or {}
