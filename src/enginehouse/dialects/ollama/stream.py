"""Streams and whole answers of Ollama, both ways: lines of JSON, the last of which says `done`."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from enginehouse.dialects.errors import reported
from enginehouse.dialects.framing import Lines
from enginehouse.dialects.ollama.calls import Called, id_of
from enginehouse.dialects.shapes import from_engine
from enginehouse.errors import UpstreamDied
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Began,
    Counted,
    Event,
    Finish,
    Finished,
    Score,
    TextDelta,
    ThinkingDelta,
    Timed,
    ToolCallBegan,
    ToolCallDelta,
)

__all__ = ["OllamaReader", "read_ollama_answer"]

_REASONS = {"length": Finish.LENGTH, "content_filter": Finish.CONTENT_FILTER}
_NANO = 1_000_000_000


class _Token(Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["_Token"] | None = None

    def score(self) -> Score:
        top = tuple(token.score() for token in self.top_logprobs or ())
        held = None if self.bytes is None else tuple(self.bytes)
        return Score(token=self.token, logprob=self.logprob, bytes=held, top=top)


class _Message(Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Called] | None = None


class _Line(Struct):
    """A line of a stream or a whole answer; `/api/generate` has at its top what `/api/chat` has in `message`."""

    model: str = ""
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    tool_calls: list[Called] | None = None
    logprobs: list[_Token] | None = None
    done: bool = False
    done_reason: str | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    error: Any = None

    def said(self) -> _Message:
        if self.message is not None:
            return self.message
        return _Message(content=self.response, thinking=self.thinking, tool_calls=self.tool_calls)

    def usage(self) -> Usage | None:
        if self.prompt_eval_count is None and self.eval_count is None:
            return None
        return Usage(input=self.prompt_eval_count or 0, output=self.eval_count or 0)

    def timed(self) -> Timed | None:
        spans = (self.load_duration, self.prompt_eval_duration, self.eval_duration)
        if all(span is None for span in spans):
            return None
        load, prompt, output = [(span or 0) / _NANO for span in spans]
        return Timed(load=load, prompt=prompt, output=output)


class _Telling:
    """Events out of lines and whole answers, which have one shape."""

    def __init__(self) -> None:
        self.done = False
        self._began = False
        self._calls = 0
        self._scores: tuple[Score, ...] = ()

    def line(self, data: bytes) -> list[Event]:
        line = from_engine(data, _Line)
        if line.error:
            raise reported(data)
        events: list[Event] = []
        if not self._began:
            self._began = True
            events.append(Began(id="", model=line.model))
        events += self._said(line)
        if line.done:
            self.done = True
            events += self._end(line)
        return events

    def _said(self, line: _Line) -> list[Event]:
        """Scores of tokens that are no words wait for the next words, as they stand in a whole answer."""
        said = line.said()
        events: list[Event] = []
        if said.thinking:
            events.append(ThinkingDelta(text=said.thinking))
        self._scores += tuple(token.score() for token in line.logprobs or ())
        if said.content:
            events.append(TextDelta(text=said.content, scores=self._scores))
            self._scores = ()
        for call in said.tool_calls or ():
            events += self._call(call)
        return events

    def _call(self, call: Called) -> list[Event]:
        index = self._calls
        self._calls += 1
        return [
            ToolCallBegan(index=index, id=id_of(call, index), name=call.function.name),
            ToolCallDelta(index=index, arguments=call.arguments()),
        ]

    def _end(self, line: _Line) -> list[Event]:
        reason = _REASONS.get(line.done_reason or "", Finish.TOOL_CALLS if self._calls else Finish.STOP)
        events: list[Event] = [TextDelta(text="", scores=self._scores)] if self._scores else []
        events.append(Finished(reason=reason))
        if (usage := line.usage()) is not None:
            events.append(Counted(usage=usage))
        if (timed := line.timed()) is not None:
            events.append(timed)
        return events


class OllamaReader:
    """Events out of a stream of lines. Complete with the line that says `done`."""

    def __init__(self) -> None:
        self.ended = False
        self._lines = Lines()
        self._telling = _Telling()

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are complete with this chunk."""
        return self._take(self._lines.feed(chunk))

    def close(self) -> list[Event]:
        """The last line, where a server has left its end away."""
        events = self._take([self._lines.rest()])
        if not self.ended:
            raise UpstreamDied("The engine's stream broke off before its end.")
        return events

    def _take(self, lines: Iterable[bytes]) -> list[Event]:
        events: list[Event] = []
        for line in lines:
            if self.ended:
                break
            if line.strip():
                events += self._telling.line(line)
                self.ended = self._telling.done
        return events


def read_ollama_answer(body: bytes) -> list[Event]:
    """The events of a whole answer.

    Raises:
        EnginehouseError: the engine reports an error.
        UpstreamDied: the answer is not one, or not complete.
    """
    telling = _Telling()
    events = telling.line(body)
    if not telling.done:
        raise UpstreamDied("The engine's answer is not complete.")
    return events
