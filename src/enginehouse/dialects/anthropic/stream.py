"""Streams and whole answers of Anthropic's Messages, read as events."""

from collections.abc import Callable

import msgspec

from enginehouse.dialects.anthropic.shapes import (
    ANSWER_TOOL,
    Block,
    Counts,
    Delta,
    Frame,
    Message,
    finish_of,
    raised,
)
from enginehouse.dialects.framing import Sent, ServerSentEvents
from enginehouse.dialects.shapes import from_engine
from enginehouse.errors import UpstreamDied
from enginehouse.types.answer import (
    Began,
    Counted,
    Event,
    Finished,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    ToolCallBegan,
    ToolCallDelta,
)

__all__ = ["MessagesReader", "read_messages_answer"]


class _Open:
    """A block on its way; `call` is its place among the calls, None if it is none."""

    def __init__(self, kind: str, call: int | None = None) -> None:
        self.kind = kind
        self.call = call
        self.empty = True


class _Telling:
    """Events out of blocks, in a stream or whole. What servers' own tools did has no word of ours."""

    def __init__(self) -> None:
        self.began = False
        self.finished: Finished | None = None
        self._counts = Counts()
        self._open: dict[int, _Open] = {}
        self._calls = 0
        self._answered = False

    def head(self, message: Message) -> list[Event]:
        self.began = True
        return [Began(id=message.id, model=message.model), *self.counted(message.usage)]

    def counted(self, counts: Counts | None) -> list[Event]:
        if counts is None:
            return []
        self._counts = counts.after(self._counts)
        return [Counted(usage=self._counts.usage())]

    def start(self, index: int, block: Block) -> list[Event]:
        """A block with what it begins with, which in a whole answer is all of it."""
        opened = _Open(block.type)
        self._open[index] = opened
        match block.type:
            case "text":
                return _text(block.text)
            case "thinking":
                return _thought(block.thinking) + _sealed(block.signature)
            case "redacted_thinking":
                return [ThinkingRedacted(data=block.data)]
            case "tool_use":
                return self._call(opened, block)
            case _:
                return []

    def _call(self, opened: _Open, block: Block) -> list[Event]:
        events: list[Event] = []
        if block.name == ANSWER_TOOL:
            self._answered = True
        else:
            opened.call = self._calls
            self._calls += 1
            events.append(ToolCallBegan(index=opened.call, id=block.id, name=block.name))
        if block.input:
            events += _arguments(opened, msgspec.json.encode(block.input).decode())
        return events

    def more(self, index: int, delta: Delta) -> list[Event]:
        opened = self._opened(index)
        match delta.type:
            case "text_delta":
                return _text(delta.text)
            case "thinking_delta":
                return _thought(delta.thinking)
            case "signature_delta":
                return _sealed(delta.signature)
            case "input_json_delta" if opened.kind == "tool_use":
                return _arguments(opened, delta.partial_json)
            case _:
                return []

    def stop(self, index: int) -> list[Event]:
        """Who calls a tool without arguments may have sent none; in our words they are an empty object."""
        opened = self._opened(index)
        del self._open[index]
        return _arguments(opened, "{}") if opened.kind == "tool_use" and opened.empty else []

    def _opened(self, index: int) -> _Open:
        try:
            return self._open[index]
        except KeyError:
            raise UpstreamDied(f"The engine went on with block {index}, which it had not begun.") from None

    def end(self, told: Delta | Message) -> list[Event]:
        """Why it ended, once that is told. It is said at the very end: only then it is true."""
        if told.stop_reason is None:
            return []
        reason = finish_of(told.stop_reason, called=self._calls > 0, answered=self._answered)
        self.finished = Finished(reason=reason, stop_sequence=told.stop_sequence)
        words = told.stop_details and told.stop_details.explanation
        return [RefusalDelta(text=words)] if words else []


def _text(text: str) -> list[Event]:
    return [TextDelta(text=text)] if text else []


def _thought(text: str) -> list[Event]:
    return [ThinkingDelta(text=text)] if text else []


def _sealed(signature: str) -> list[Event]:
    return [ThinkingSigned(signature=signature)] if signature else []


def _arguments(opened: _Open, piece: str) -> list[Event]:
    if not piece:
        return []
    opened.empty = False
    return [TextDelta(text=piece) if opened.call is None else ToolCallDelta(index=opened.call, arguments=piece)]


class MessagesReader:
    """Events out of a stream of Messages. Complete with `message_stop`, and with nothing else."""

    def __init__(self) -> None:
        self.ended = False
        self._frames = ServerSentEvents()
        self._telling = _Telling()
        self._readers: dict[str, Callable[[Frame], list[Event]]] = {
            "message_start": self._start,
            "content_block_start": self._block,
            "content_block_delta": self._delta,
            "content_block_stop": lambda frame: self._telling.stop(frame.index),
            "message_delta": self._change,
            "message_stop": self._stop,
        }

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are complete with this chunk."""
        events: list[Event] = []
        for frame in self._frames.feed(chunk):
            if self.ended:
                break
            events += self._frame(frame)
        return events

    def close(self) -> list[Event]:
        """Nothing more."""
        if not self.ended:
            raise UpstreamDied("The engine's stream broke off before its end.")
        return []

    def _frame(self, sent: Sent) -> list[Event]:
        """Events whose type is not known are passed over, as Anthropic asks of its clients."""
        if sent.name == b"error":
            raise raised(sent.data)
        frame = from_engine(sent.data, Frame)
        if frame.type == "error":
            raise raised(sent.data)
        read = self._readers.get(frame.type)
        if read is None:
            return []
        if not self._telling.began and frame.type != "message_start":
            raise UpstreamDied("The engine's stream does not begin with message_start.")
        return read(frame)

    def _start(self, frame: Frame) -> list[Event]:
        return self._telling.head(frame.message or Message())

    def _block(self, frame: Frame) -> list[Event]:
        if frame.content_block is None:
            raise UpstreamDied("The engine began a block without saying which.")
        return self._telling.start(frame.index, frame.content_block)

    def _delta(self, frame: Frame) -> list[Event]:
        return self._telling.more(frame.index, frame.delta or Delta())

    def _change(self, frame: Frame) -> list[Event]:
        return self._telling.counted(frame.usage) + self._telling.end(frame.delta or Delta())

    def _stop(self, _: Frame) -> list[Event]:
        if self._telling.finished is None:
            raise UpstreamDied("The engine's stream ended without saying why.")
        self.ended = True
        return [self._telling.finished]


def read_messages_answer(body: bytes) -> list[Event]:
    """The events of a whole answer."""
    message = from_engine(body, Message)
    if message.type == "error" or message.error:
        raise raised(body)
    telling = _Telling()
    events = telling.head(message)
    for index, block in enumerate(message.content):
        events += telling.start(index, block) + telling.stop(index)
    events += telling.end(message)
    if telling.finished is None:
        raise UpstreamDied("The engine's answer is not complete.")
    return [*events, telling.finished]
