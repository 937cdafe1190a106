"""Streams and whole answers of OpenAI's Responses, written from events."""

from collections.abc import Iterable

import msgspec

from enginehouse.dialects.base import Head
from enginehouse.dialects.framing import sse
from enginehouse.dialects.openai.responses_shapes import (
    cut_short,
    ended,
    failed,
    item_id,
    response_json,
    scores_json,
)
from enginehouse.dialects.openai.shapes import error_json
from enginehouse.errors import EnginehouseError, UpstreamDied
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Counted,
    Event,
    Finished,
    RefusalDelta,
    Score,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    ToolCallBegan,
    ToolCallDelta,
    events_of,
    fold,
)
from enginehouse.types.generation import Json

__all__ = ["ResponsesWriter", "write_responses_answer"]


class _Part:
    """A part of an open item: `kind` is its type, `field` where its words stand."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.field = "refusal" if kind == "refusal" else "text"
        self.words: list[str] = []
        self.scores: list[Score] = []

    def json(self) -> Json:
        part: Json = {"type": self.kind, self.field: "".join(self.words)}
        if self.kind == "output_text":
            part |= {"annotations": [], "logprobs": scores_json(tuple(self.scores))}
        return part

    def done(self) -> Json:
        """The fields of the event that tells its end."""
        scores = scores_json(tuple(self.scores), brief=True)
        fields: Json = {self.field: "".join(self.words)}
        return fields | ({"logprobs": scores} if self.kind == "output_text" else {})


_EVENTS = {
    "output_text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning_text": "response.reasoning_text",
}


class _Item:
    """An item of the output on its way."""

    def __init__(self, index: int, item: Json) -> None:
        self.index = index
        self.fields = item
        self.parts: list[Json] = []
        self.part: _Part | None = None
        self.arguments: list[str] = []

    def at(self) -> Json:
        return {"item_id": self.fields["id"], "output_index": self.index}

    def json(self, status: str) -> Json:
        item = self.fields | {"status": status}
        if item["type"] == "function_call":
            return item | {"arguments": "".join(self.arguments)}
        return item | {"content": [*self.parts, *([self.part.json()] if self.part else [])]}


class ResponsesWriter:
    """Frames out of events, each with its number; items come one after the other, but for calls.

    Some engines write several tool calls at once, a piece of this and a piece of that. Here each piece names its
    item, so that nothing has to wait: calls stay open until the model has finished.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._response = response_json(head)
        self._number = 0
        self._items: list[_Item] = []
        self._closed: dict[int, Json] = {}
        self._open: _Item | None = None
        """The message or the thoughts that go on."""
        self._calls: dict[int, _Item] = {}
        self._usage = Usage()
        self._finished: Finished | None = None

    def write(self, event: Event) -> bytes:
        """The frames of one event, before them those that open the response."""
        began = self._begin()
        if getattr(event, "choice", 0):
            return began  # there is one answer; a request for several is refused
        match event:
            case Counted():
                self._usage = event.usage
                return began
            case Finished():
                self._finished = event
                return began + self._stop() + self._end_calls()
            case _:
                return began + self._told(event)

    def close(self) -> bytes:
        """The whole response once more."""
        if self._finished is None:
            raise UpstreamDied("The engine's stream broke off before its end.")
        said = ended(self._finished, self._output(), self._usage)
        return self._frame(f"response.{said['status']}", response=self._response | said)

    def fail(self, error: EnginehouseError, status: int) -> bytes:
        """An `error` event, and the response as far as it came, failed.

        The event has its fields side by side, as the reference tells them, and nested as well, as the service sends
        them: so it raises in the official clients, which would take a failed response for one event among others.
        """
        begun = self._number > 0
        flat = {"code": error.code, "message": error.message, "param": error.param}
        sent = self._frame("error", **flat, **error_json(error, status))
        if not begun:
            return sent
        response = self._response | failed(error, status, self._output())
        return sent + self._frame("response.failed", response=response)

    def ping(self) -> bytes:
        """A comment."""
        return b": ping\n\n"

    def output(self) -> Json:
        """The response, whole."""
        if self._finished is None:
            raise UpstreamDied("The engine's answer is not complete.")
        return self._response | ended(self._finished, self._output(), self._usage)

    def _output(self) -> list[Json]:
        return [self._closed.get(item.index) or item.json("incomplete") for item in self._items]

    def _begin(self) -> bytes:
        if self._number:
            return b""
        created = self._frame("response.created", response=self._response)
        return created + self._frame("response.in_progress", response=self._response)

    def _told(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self._words("message", "output_text", event.text, event.scores)
            case RefusalDelta():
                return self._words("message", "refusal", event.text)
            case ThinkingDelta():
                return self._words("reasoning", "reasoning_text", event.text)
            case ThinkingSigned():
                return self._sealed(event.signature)
            case ThinkingRedacted():
                return self._stop() + self._sealed(event.data)
            case ToolCallBegan():
                return self._call(event)
            case ToolCallDelta():
                return self._arguments(event)
            case _:
                return b""

    def _words(self, kind: str, part: str, text: str, scores: tuple[Score, ...] = ()) -> bytes:
        if not text and not scores:
            return b""
        frames, item = self._opened(kind)
        frames += self._part(item, part)
        assert item.part is not None
        item.part.words.append(text)
        item.part.scores += scores
        fields: Json = {"logprobs": scores_json(scores, brief=True)} if part == "output_text" else {}
        return frames + self._at_part(f"{_EVENTS[part]}.delta", item, delta=text, **fields)

    def _part(self, item: _Item, kind: str) -> bytes:
        if item.part is not None and item.part.kind == kind:
            return b""
        ended = self._end_part(item)
        item.part = _Part(kind)
        return ended + self._at_part("response.content_part.added", item, part=item.part.json())

    def _end_part(self, item: _Item) -> bytes:
        part = item.part
        if part is None:
            return b""
        done = self._at_part(f"{_EVENTS[part.kind]}.done", item, **part.done())
        done += self._at_part("response.content_part.done", item, part=part.json())
        item.parts.append(part.json())
        item.part = None
        return done

    def _sealed(self, seal: str) -> bytes:
        frames, item = self._opened("reasoning")
        item.fields["encrypted_content"] = seal
        return frames + self._stop()

    def _opened(self, kind: str) -> tuple[bytes, _Item]:
        """The open item of this kind, which other items end."""
        if self._open is not None and self._open.fields["type"] == kind:
            return b"", self._open
        stopped = self._stop()
        fields: Json = {"role": "assistant"} if kind == "message" else {"summary": []}
        added, self._open = self._added(kind, fields)
        return stopped + added, self._open

    def _added(self, kind: str, fields: Json) -> tuple[bytes, _Item]:
        index = len(self._items)
        item = _Item(index, {"id": item_id(self._head, kind, index), "type": kind, **fields})
        self._items.append(item)
        added = item.json("in_progress")
        return self._frame("response.output_item.added", output_index=index, item=added), item

    def _call(self, event: ToolCallBegan) -> bytes:
        stopped = self._stop()
        fields: Json = {"call_id": event.id, "name": event.name}
        added, self._calls[event.index] = self._added("function_call", fields)
        return stopped + added

    def _arguments(self, event: ToolCallDelta) -> bytes:
        item = self._calls[event.index]
        if not event.arguments:
            return b""
        item.arguments.append(event.arguments)
        return self._frame("response.function_call_arguments.delta", **item.at(), delta=event.arguments)

    def _end_calls(self) -> bytes:
        frames = b""
        for item in self._calls.values():
            whole = "".join(item.arguments)
            frames += self._frame("response.function_call_arguments.done", **item.at(), arguments=whole)
            frames += self._done(item)
        return frames

    def _stop(self) -> bytes:
        item, self._open = self._open, None
        return b"" if item is None else self._end_part(item) + self._done(item)

    def _done(self, item: _Item) -> bytes:
        cut = self._finished is not None and cut_short(self._finished)
        self._closed[item.index] = item.json("incomplete" if cut else "completed")
        return self._frame("response.output_item.done", output_index=item.index, item=self._closed[item.index])

    def _at_part(self, kind: str, item: _Item, **fields: object) -> bytes:
        return self._frame(kind, **item.at(), content_index=len(item.parts), **fields)

    def _frame(self, kind: str, **fields: object) -> bytes:
        frame = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return sse(msgspec.json.encode(frame), kind)


def write_responses_answer(events: Iterable[Event], head: Head) -> bytes:
    """A whole answer: what its stream would say at the end."""
    writer = ResponsesWriter(head)
    for event in events_of(fold(events)):
        writer.write(event)
    return msgspec.json.encode(writer.output())
