"""Streams and whole answers of OpenAI's chat completions, both ways; its reader reads text completions too."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from enginehouse.dialects.base import Head
from enginehouse.dialects.errors import reported
from enginehouse.dialects.framing import Sent, ServerSentEvents
from enginehouse.dialects.openai.chunks import DONE, ChunkWriter
from enginehouse.dialects.openai.repeating import Pattern, Repeating, Words, one_by_one
from enginehouse.dialects.openai.shapes import (
    Call,
    Chunk,
    ChunkChoice,
    Delta,
    Scores,
    finish_of,
    reason_of,
    scores_json,
    usage_json,
)
from enginehouse.dialects.shapes import from_engine
from enginehouse.errors import UpstreamDied
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Began,
    Choice,
    Counted,
    Event,
    Finished,
    RefusalDelta,
    Score,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    Timed,
    ToolCallBegan,
    ToolCallDelta,
    fold,
)
from enginehouse.types.generation import Json

__all__ = ["ChatReader", "ChatWriter", "read_chat_answer", "write_chat_answer"]

_END = b"\n\n"
"""Of a frame, as nearly every engine writes it."""
_LESSONS = 4
"""Frames in a row that are looked at for a pattern in vain before a stream is taken for one without."""


class _State:
    """What has been seen of one choice."""

    __slots__ = ("calls", "finished")

    def __init__(self) -> None:
        self.calls: set[int] = set()
        self.finished = False


class _Telling:
    """Events out of chunks and whole messages, which differ in little."""

    __slots__ = ("began", "choices")

    def __init__(self) -> None:
        self.began = False
        self.choices: dict[int, _State] = {}

    def chunk(self, chunk: Chunk) -> list[Event]:
        events: list[Event] = []
        if not self.began and (chunk.choices or chunk.id):
            self.began = True
            events.append(Began(id=chunk.id, model=chunk.model))
        for choice in chunk.choices:
            self._choice(choice, events)
        if chunk.usage is not None:
            events.append(Counted(usage=chunk.usage.usage()))
        return events

    def complete(self) -> bool:
        return bool(self.choices) and all(state.finished for state in self.choices.values())

    def _choice(self, choice: ChunkChoice, events: list[Event]) -> None:
        state = self.choices.get(choice.index) or self.choices.setdefault(choice.index, _State())
        self._delta(choice.delta or choice.message or Delta(), choice, state, events)
        if choice.finish_reason:
            state.finished = True
            matched = choice.stop_reason if isinstance(choice.stop_reason, str) else None
            reason = finish_of(choice.finish_reason, called=bool(state.calls))
            events.append(Finished(reason=reason, choice=choice.index, stop_sequence=matched))

    def _delta(self, delta: Delta, choice: ChunkChoice, state: _State, events: list[Event]) -> None:
        index = choice.index
        if thought := delta.reasoning_content or delta.reasoning:
            events.append(ThinkingDelta(text=thought, choice=index))
        scores = _scores(choice.logprobs) if choice.logprobs else ()
        if (text := delta.content or choice.text or "") or scores:
            events.append(TextDelta(text=text, choice=index, scores=scores))
        if delta.refusal:
            events.append(RefusalDelta(text=delta.refusal, choice=index))
        if delta.tool_calls:
            for place, call in enumerate(delta.tool_calls):
                events += _call(call, call.index if call.index is not None else place, index, state)


def _call(call: Call, place: int, choice: int, state: _State) -> list[Event]:
    events: list[Event] = []
    if place not in state.calls:
        name = call.function.name if call.function else None
        if not name:
            raise UpstreamDied("The engine began a tool call without a name.")
        state.calls.add(place)
        events.append(ToolCallBegan(index=place, id=call.id or f"call_{place}", name=name, choice=choice))
    if call.function and call.function.arguments:
        events.append(ToolCallDelta(index=place, arguments=call.function.arguments, choice=choice))
    return events


def _scores(logprobs: Any) -> tuple[Score, ...]:
    try:
        return msgspec.convert(logprobs, Scores).scores()
    except msgspec.ValidationError:
        raise UpstreamDied("The engine sent log probabilities that cannot be read.") from None


class ChatReader(Repeating):
    """Events out of a stream of chunks. Complete when every choice has told why it ended."""

    __slots__ = ("_frames", "_lessons", "_pattern", "_telling", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._frames = ServerSentEvents()
        self._telling = _Telling()
        self._pattern: Pattern | None = None
        self._lessons = _LESSONS

    @property
    def pattern(self) -> Pattern | None:
        """As `Repeating` says."""
        return None if self.ended or self._frames.open else self._pattern

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are complete with this chunk."""
        return one_by_one(self.feed_in_runs(chunk))

    def feed_in_runs(self, chunk: bytes) -> Sequence[Event | Words]:
        """As `Repeating` says."""
        told: list[Event | Words] = []
        rest = chunk
        for _ in range(_LESSONS):
            pattern = self.pattern
            if pattern is not None:
                words, rest = pattern.run(rest)
                if words is not None:
                    told.append(words)
            first, end, more = rest.partition(_END)
            if not more:
                break
            told += self._fed(first + end)
            rest = more
        if rest:
            told += self._fed(rest)
        return told

    def _fed(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        for frame in self._frames.feed(chunk):
            if self.ended:
                break
            events += self._read(frame)
        return events

    def _read(self, frame: Sent) -> list[Event]:
        told = self._frame(frame)
        self._learn(frame, told)
        return told

    def _learn(self, frame: Sent, told: list[Event]) -> None:
        """Words are likely to be followed by words in the same frame, until that has not come true for a while."""
        if self._pattern is not None and self._pattern.met:
            self._pattern.met, self._lessons = False, _LESSONS
        if len(told) != 1 or not self._lessons:
            return
        event = told[0]
        if type(event) is TextDelta:
            self._lessons -= 1
            self._pattern = Pattern.of(frame.data, event.choice, _alone)

    def close(self) -> list[Event]:
        """Nothing more; some servers leave out `[DONE]`, which loses nothing."""
        if not self._telling.complete():
            raise UpstreamDied("The engine's stream broke off before its end.")
        return []

    def _frame(self, frame: Sent) -> list[Event]:
        if frame.data == DONE:
            self.ended = True
            return self.close()
        if frame.name == b"error":
            raise reported(frame.data)
        chunk = from_engine(frame.data, Chunk)
        if chunk.error:
            raise reported(frame.data)
        return self._telling.chunk(chunk)


def _alone(data: bytes) -> list[Event]:
    """The events of a frame in the midst of a stream, whatever came before it; none of one that cannot be read."""
    telling = _Telling()
    telling.began = True
    try:
        chunk = from_engine(data, Chunk)
        return [] if chunk.error else telling.chunk(chunk)
    except UpstreamDied:
        return []


def read_chat_answer(body: bytes) -> list[Event]:
    """The events of a whole answer."""
    answer = from_engine(body, Chunk)
    if answer.error:
        raise reported(body)
    telling = _Telling()
    events = telling.chunk(answer)
    if not telling.complete():
        raise UpstreamDied("The engine's answer is not complete.")
    return events


class ChatWriter(ChunkWriter):
    """Chunks out of events. Thoughts are `reasoning_content`, the word of llama.cpp, vLLM and DeepSeek."""

    def __init__(self, head: Head) -> None:
        super().__init__(head, id=f"chatcmpl-{head.id}", kind="chat.completion.chunk")

    def write(self, event: Event) -> bytes:
        """The chunk of one event, before it the chunk that opens its choice."""
        match event:
            case Began() | Timed() | ThinkingSigned() | ThinkingRedacted():
                return b""
            case Counted():
                return self._counted(event)
            case Finished():
                opened = self._opening(event.choice)
                self._open[event.choice] = False
                return opened + self._delta(event.choice, {}, reason=reason_of(event.reason))
            case TextDelta():
                scores = scores_json(event.scores)
                return self._opening(event.choice) + self._delta(
                    event.choice, {"content": event.text}, scores=scores
                )
            case _:
                return self._opening(event.choice) + self._delta(event.choice, _delta(event))

    def _opening(self, choice: int) -> bytes:
        if choice in self._open:
            return b""
        self._open[choice] = True
        return self._delta(choice, {"role": "assistant", "content": ""})

    def _delta(self, index: int, delta: Json, *, reason: str | None = None, scores: Json | None = None) -> bytes:
        return self._chunk({"index": index, "delta": delta, "logprobs": scores, "finish_reason": reason})


def _delta(event: ThinkingDelta | RefusalDelta | ToolCallBegan | ToolCallDelta) -> Json:
    match event:
        case ThinkingDelta():
            return {"reasoning_content": event.text}
        case RefusalDelta():
            return {"refusal": event.text}
        case ToolCallBegan():
            function = {"name": event.name, "arguments": ""}
            return {
                "tool_calls": [{"index": event.index, "id": event.id, "type": "function", "function": function}]
            }
        case ToolCallDelta():
            return {"tool_calls": [{"index": event.index, "function": {"arguments": event.arguments}}]}


def write_chat_answer(events: Iterable[Event], head: Head) -> bytes:
    """A whole answer."""
    answer = fold(events)
    if not answer.choices:
        raise UpstreamDied("The engine's answer is not complete.")
    return msgspec.json.encode(
        {
            "id": f"chatcmpl-{head.id}",
            "object": "chat.completion",
            "created": int(head.created),
            "model": head.model,
            "choices": [_choice_json(choice, index) for index, choice in enumerate(answer.choices)],
            "usage": usage_json(answer.usage or Usage()),
        }
    )


def _choice_json(choice: Choice, index: int) -> Json:
    if choice.reason is None:
        raise UpstreamDied("The engine's answer is not complete.")
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in choice.tool_calls()
    ]
    refusal = choice.refusal()
    silent = calls or refusal is not None
    message: Json = {"role": "assistant", "content": choice.text() or (None if silent else ""), "refusal": refusal}
    if thoughts := choice.thinking():
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return {
        "index": index,
        "message": message,
        "logprobs": scores_json(choice.scores),
        "finish_reason": reason_of(choice.reason),
    }
