"""Streams and whole answers of OpenAI's Responses, read into events."""

import msgspec

from enginehouse.dialects.errors import reported
from enginehouse.dialects.framing import Sent, ServerSentEvents
from enginehouse.dialects.openai.responses_shapes import Body, Frame, Item, error_of
from enginehouse.dialects.openai.shapes import Token
from enginehouse.dialects.shapes import from_engine
from enginehouse.errors import UpstreamDied
from enginehouse.types.answer import (
    Began,
    Counted,
    Event,
    Finish,
    Finished,
    RefusalDelta,
    Score,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    ToolCallBegan,
    ToolCallDelta,
)

__all__ = ["ResponsesReader", "read_responses_answer"]

_REASONS = {"max_output_tokens": Finish.LENGTH, "content_filter": Finish.CONTENT_FILTER}
_THOUGHTS = {"response.reasoning_text.delta": "content", "response.reasoning_summary_text.delta": "summary"}


class _Call:
    """A call on its way: which it is, and how much of its arguments has come."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.told = 0


class ResponsesReader:
    """Events out of a stream; complete with `response.completed` or `response.incomplete` only."""

    def __init__(self) -> None:
        self.ended = False
        self._frames = ServerSentEvents()
        self._calls: dict[int, _Call] = {}
        self._thoughts: dict[int, str] = {}
        """Which of the two each item of reasoning tells: the thoughts, or what they come to."""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are complete with this chunk."""
        events: list[Event] = []
        for sent in self._frames.feed(chunk):
            if self.ended:
                break
            events += self._read(sent)
        return events

    def close(self) -> list[Event]:
        """Nothing more."""
        if not self.ended:
            raise UpstreamDied("The engine's stream broke off before its end.")
        return []

    def _read(self, sent: Sent) -> list[Event]:
        if sent.data == b"[DONE]":
            return self.close()
        frame = from_engine(sent.data, Frame)
        match frame.type:
            case "error" | "response.failed":
                raise reported(msgspec.json.encode(error_of(frame)))
            case "response.created" if frame.response:
                return [Began(id=frame.response.id, model=frame.response.model)]
            case "response.completed" | "response.incomplete" if frame.response:
                self.ended = True
                return _end(frame.response, called=bool(self._calls))
            case "response.output_item.added" | "response.output_item.done" if frame.item:
                return self._item(frame, frame.item, done=frame.type.endswith("done"))
            case _:
                return self._delta(frame)

    def _delta(self, frame: Frame) -> list[Event]:
        """More of what is open; events of other names tell nothing that is not told elsewhere."""
        piece = frame.delta if isinstance(frame.delta, str) else ""
        match frame.type:
            case "response.output_text.delta":
                return [TextDelta(text=piece, scores=_scores(frame.logprobs))]
            case "response.refusal.delta":
                return [RefusalDelta(text=piece)]
            case "response.function_call_arguments.delta":
                return self._arguments(frame.output_index, piece)
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                told = self._thoughts.setdefault(frame.output_index, _THOUGHTS[frame.type])
                return [ThinkingDelta(text=piece)] if piece and told == _THOUGHTS[frame.type] else []
            case "response.reasoning_summary_part.added" | "response.content_part.added":
                return self._part(frame)
            case _:
                return []

    def _part(self, frame: Frame) -> list[Event]:
        """A blank line between the parts of thoughts."""
        told = self._thoughts.get(frame.output_index)
        later = frame.summary_index if told == "summary" else frame.content_index
        return [ThinkingDelta(text="\n\n")] if told is not None and later else []

    def _arguments(self, place: int, piece: str) -> list[Event]:
        call = self._calls.get(place)
        if call is None:
            raise UpstreamDied("The engine sent the arguments of a call that it has not begun.")
        call.told += len(piece)
        return [ToolCallDelta(index=call.index, arguments=piece)] if piece else []

    def _item(self, frame: Frame, item: Item, *, done: bool) -> list[Event]:
        place = frame.output_index
        if item.type == "reasoning" and done:
            return self._thought(place, item)
        if item.type != "function_call":
            return []
        events: list[Event] = []
        call = self._calls.get(place)
        if call is None:
            call = self._calls[place] = _Call(len(self._calls))
            events.append(_began(call.index, item))
        return events if call.told else events + self._arguments(place, item.arguments)

    def _thought(self, place: int, item: Item) -> list[Event]:
        """Thoughts that came in one piece, or the seal of those that came in several."""
        if place not in self._thoughts:
            return _thought(item)
        return [ThinkingSigned(signature=item.encrypted_content)] if item.encrypted_content else []


def _thought(item: Item) -> list[Event]:
    text, seal = item.thoughts(), item.encrypted_content
    if not text:
        return [ThinkingRedacted(data=seal)] if seal else []
    return [ThinkingDelta(text=text), *([ThinkingSigned(signature=seal)] if seal else [])]


def _began(index: int, item: Item) -> ToolCallBegan:
    if not item.name:
        raise UpstreamDied("The engine began a tool call without a name.")
    return ToolCallBegan(index=index, id=item.call_id or f"call_{index}", name=item.name)


def _scores(logprobs: list[Token] | None) -> tuple[Score, ...]:
    return tuple(token.score() for token in logprobs or ())


def _end(response: Body, *, called: bool) -> list[Event]:
    cut = response.incomplete_details and response.incomplete_details.reason
    whole = Finish.TOOL_CALLS if called else Finish.STOP
    reason = _REASONS.get(cut or "", Finish.LENGTH) if cut or response.status == "incomplete" else whole
    counted = [Counted(usage=response.usage.usage())] if response.usage else []
    return [*counted, Finished(reason=reason)]


def read_responses_answer(body: bytes) -> list[Event]:
    """The events of a whole answer."""
    answer = from_engine(body, Body)
    if answer.error or answer.status == "failed":
        raise reported(msgspec.json.encode({"error": answer.error or {}}))
    if answer.status not in {"completed", "incomplete"}:
        raise UpstreamDied("The engine's answer is not complete.")
    events: list[Event] = [Began(id=answer.id, model=answer.model)]
    calls = 0
    for item in answer.output or ():
        events += _whole(item, calls)
        calls += item.type == "function_call"
    return events + _end(answer, called=calls > 0)


def _whole(item: Item, calls: int) -> list[Event]:
    match item.type:
        case "message":
            return [
                RefusalDelta(text=piece.refusal)
                if piece.type == "refusal"
                else TextDelta(text=piece.text, scores=_scores(piece.logprobs))
                for piece in item.content or ()
            ]
        case "reasoning":
            return _thought(item)
        case "function_call":
            return [_began(calls, item), ToolCallDelta(index=calls, arguments=item.arguments)]
        case _:
            return []
