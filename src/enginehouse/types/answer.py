"""The inner vocabulary of answers: events as they happen, and the whole answer that is their fold.

The order of events is: `Began`, then for every choice its deltas and one `Finished`; `Counted` and `Timed` come
whenever something is known, each later one replacing the one before.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeAlias

import msgspec
from msgspec import Struct

from enginehouse.types import Usage
from enginehouse.types.generation import RedactedThinking, Refusal, Text, Thinking, ToolCall

__all__ = [
    "Answer",
    "Began",
    "Choice",
    "Counted",
    "Event",
    "Finish",
    "Finished",
    "Fold",
    "RefusalDelta",
    "Score",
    "TextDelta",
    "ThinkingDelta",
    "ThinkingRedacted",
    "ThinkingSigned",
    "Timed",
    "ToolCallBegan",
    "ToolCallDelta",
    "events_of",
    "fold",
]


class Finish(StrEnum):
    """Why a choice ended."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    """At one of the caller's own stop sequences."""
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    """Somebody's rules, not the model, ended it."""


class Score(Struct, frozen=True, kw_only=True):
    """How likely a token was, and which others might have stood there."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple["Score", ...] = ()


class Began(Struct, frozen=True, kw_only=True, tag="began"):
    """The engine has begun to answer."""

    id: str
    model: str
    """As the engine calls it."""


class TextDelta(Struct, frozen=True, kw_only=True, tag="text"):
    """More words; `scores` are those of their tokens, where they were asked for."""

    text: str
    choice: int = 0
    scores: tuple[Score, ...] = ()


class ThinkingDelta(Struct, frozen=True, kw_only=True, tag="thinking"):
    """More thoughts."""

    text: str
    choice: int = 0


class ThinkingSigned(Struct, frozen=True, kw_only=True, tag="thinking_signed"):
    """The thoughts before it are sealed, and complete."""

    signature: str
    choice: int = 0


class ThinkingRedacted(Struct, frozen=True, kw_only=True, tag="thinking_redacted"):
    """Thoughts that only their maker can read."""

    data: str
    choice: int = 0


class RefusalDelta(Struct, frozen=True, kw_only=True, tag="refusal"):
    """More of the model's words for not answering."""

    text: str
    choice: int = 0


class ToolCallBegan(Struct, frozen=True, kw_only=True, tag="tool_call_began"):
    """The model begins to ask for a tool; `index` counts the calls of one choice from 0."""

    index: int
    id: str
    name: str
    choice: int = 0


class ToolCallDelta(Struct, frozen=True, kw_only=True, tag="tool_call"):
    """More of a call's arguments, a piece of JSON text."""

    index: int
    arguments: str
    choice: int = 0


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """A choice is complete."""

    reason: Finish
    choice: int = 0
    stop_sequence: str | None = None
    """Which of the caller's stop sequences it was, where that is known."""


class Counted(Struct, frozen=True, kw_only=True, tag="counted"):
    """Tokens so far, over all choices."""

    usage: Usage


class Timed(Struct, frozen=True, kw_only=True, tag="timed"):
    """Seconds as the engine measured them."""

    load: float = 0.0
    prompt: float = 0.0
    output: float = 0.0


Event: TypeAlias = (
    Began
    | TextDelta
    | ThinkingDelta
    | ThinkingSigned
    | ThinkingRedacted
    | RefusalDelta
    | ToolCallBegan
    | ToolCallDelta
    | Finished
    | Counted
    | Timed
)


class Choice(Struct, frozen=True, kw_only=True):
    """One whole answer; parts stand in the order in which they began. `reason` is None until it is complete."""

    parts: tuple[Text | Thinking | RedactedThinking | Refusal | ToolCall, ...] = ()
    reason: Finish | None = None
    stop_sequence: str | None = None
    scores: tuple[Score, ...] = ()

    def text(self) -> str:
        """All words."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])

    def thinking(self) -> str:
        """All thoughts that can be read."""
        return "".join([part.text for part in self.parts if isinstance(part, Thinking)])

    def refusal(self) -> str | None:
        """The model's words for not answering, None when it did not refuse."""
        texts = [part.text for part in self.parts if isinstance(part, Refusal)]
        return "".join(texts) if texts else None

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """All calls."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


class Answer(Struct, frozen=True, kw_only=True):
    """What came of a `Generation`, whole."""

    id: str = ""
    model: str = ""
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    """None when the engine did not count."""
    timed: Timed | None = None


class _Gathering:
    """One choice on its way; a part is what began it and the pieces of it."""

    def __init__(self) -> None:
        self.parts: list[tuple[Text | Thinking | RedactedThinking | Refusal | ToolCall, list[str]]] = []
        self.calls: dict[int, list[str]] = {}
        self.scores: list[Score] = []
        self.finished: Finished | None = None
        self.sealed = False

    def go_on(self, empty: Text | Thinking | Refusal, piece: str) -> None:
        """Words join the part before them when that is of the same kind and still open."""
        if self.sealed or not self.parts or type(self.parts[-1][0]) is not type(empty):
            self.parts.append((empty, []))
            self.sealed = False
        self.parts[-1][1].append(piece)

    def seal(self, signature: str) -> None:
        if not self.parts or not isinstance(self.parts[-1][0], Thinking) or self.sealed:
            self.parts.append((Thinking(text=""), []))
        part, pieces = self.parts[-1]
        self.parts[-1] = (msgspec.structs.replace(part, signature=signature), pieces)
        self.sealed = True

    def whole(self) -> Choice:
        finished = self.finished
        return Choice(
            parts=tuple(_whole(part, "".join(pieces)) for part, pieces in self.parts),
            reason=finished and finished.reason,
            stop_sequence=finished and finished.stop_sequence,
            scores=tuple(self.scores),
        )


def _whole(
    part: Text | Thinking | RedactedThinking | Refusal | ToolCall, pieces: str
) -> Text | Thinking | RedactedThinking | Refusal | ToolCall:
    match part:
        case RedactedThinking():
            return part
        case ToolCall():
            return msgspec.structs.replace(part, arguments=pieces)
        case _:
            return msgspec.structs.replace(part, text=pieces)


class Fold:
    """Collects events as they come; `answer()` is what they make so far."""

    def __init__(self) -> None:
        self._began = Began(id="", model="")
        self._choices: dict[int, _Gathering] = {}
        self._usage: Usage | None = None
        self._timed: Timed | None = None

    def add(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case Began():
                self._began = event
            case Counted():
                self._usage = event.usage
            case Timed():
                self._timed = event
            case _:
                _gather(self._choices.setdefault(event.choice, _Gathering()), event)

    def answer(self) -> Answer:
        """What has come so far."""
        return Answer(
            id=self._began.id,
            model=self._began.model,
            choices=tuple(self._choices[index].whole() for index in sorted(self._choices)),
            usage=self._usage,
            timed=self._timed,
        )


def _gather(choice: _Gathering, event: Event) -> None:
    match event:
        case TextDelta():
            choice.go_on(Text(text=""), event.text)
            choice.scores.extend(event.scores)
        case ThinkingDelta():
            choice.go_on(Thinking(text=""), event.text)
        case RefusalDelta():
            choice.go_on(Refusal(text=""), event.text)
        case ThinkingSigned():
            choice.seal(event.signature)
        case ThinkingRedacted():
            choice.parts.append((RedactedThinking(data=event.data), []))
        case ToolCallBegan():
            pieces = choice.calls.setdefault(event.index, [])
            choice.parts.append((ToolCall(id=event.id, name=event.name, arguments=""), pieces))
        case ToolCallDelta():
            choice.calls[event.index].append(event.arguments)
        case Finished():
            choice.finished = event
        case _:
            raise AssertionError("the other events belong to no choice")


def fold(events: Iterable[Event]) -> Answer:
    """The whole answer that these events make."""
    folding = Fold()
    for event in events:
        folding.add(event)
    return folding.answer()


def events_of(answer: Answer) -> list[Event]:
    """The shortest stream that makes this answer: `fold(events_of(a)) == a`."""
    events: list[Event] = [Began(id=answer.id, model=answer.model)]
    for index, choice in enumerate(answer.choices):
        events += _told(choice, index)
    if answer.usage is not None:
        events.append(Counted(usage=answer.usage))
    if answer.timed is not None:
        events.append(answer.timed)
    return events


def _told(choice: Choice, index: int) -> list[Event]:
    events: list[Event] = []
    calls = 0
    scores = choice.scores
    for part in choice.parts:
        match part:
            case Text():
                events.append(TextDelta(text=part.text, choice=index, scores=scores))
                scores = ()
            case Refusal():
                events.append(RefusalDelta(text=part.text, choice=index))
            case Thinking():
                events.append(ThinkingDelta(text=part.text, choice=index))
                if part.signature is not None:
                    events.append(ThinkingSigned(signature=part.signature, choice=index))
            case RedactedThinking():
                events.append(ThinkingRedacted(data=part.data, choice=index))
            case ToolCall():
                events.append(ToolCallBegan(index=calls, id=part.id, name=part.name, choice=index))
                events.append(ToolCallDelta(index=calls, arguments=part.arguments, choice=index))
                calls += 1
    if scores:
        events.append(TextDelta(text="", choice=index, scores=scores))
    if choice.reason is not None:
        events.append(Finished(reason=choice.reason, choice=index, stop_sequence=choice.stop_sequence))
    return events
