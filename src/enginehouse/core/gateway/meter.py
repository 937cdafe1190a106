"""What an answer took so far: the engine's own count where there is one, else ours, marked as an estimate."""

from collections.abc import Callable, Sequence

from enginehouse.core.cache.answers import Vectors
from enginehouse.types import Usage
from enginehouse.types.answer import Counted, Event, RefusalDelta, TextDelta, ThinkingDelta, ToolCallDelta
from enginehouse.types.generation import Generation, Text, ToolCall, ToolResult

__all__ = ["Heard", "Meter", "guessed_tokens"]

_WORDS = frozenset({TextDelta, ThinkingDelta, ToolCallDelta, RefusalDelta})
_CHARACTERS = 4
"""Of a token, as a rule of thumb for prompts that nobody counted."""


class Heard:
    """What an engine has said, for who wants to keep it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.vectors: Vectors | None = None
        self.complete = False
        """Whether that is all, and came to its proper end."""

    def begin(self) -> None:
        """Of an earlier try nothing was passed on."""
        self.events, self.vectors, self.complete = [], None, False


class Meter:
    """Listens to one answer's events."""

    __slots__ = ("_usage", "complete", "prompt", "written")

    def __init__(self) -> None:
        self.complete = False
        """Whether the answer has come to its end."""
        self.prompt: int | None = None
        """Tokens of the prompt, where the engine has told them before it counted the whole."""
        self._usage: Usage | None = None
        self.written = 0
        """Pieces of an answer that have come; who reads them without events adds them here."""

    @property
    def heard(self) -> bool:
        """Whether anything of an answer has come."""
        return self.written > 0 or self._usage is not None or self.prompt is not None

    def note(self, event: Event) -> None:
        """The next event."""
        self.note_all((event,))

    def note_all(self, events: Sequence[Event]) -> None:
        """The next events. Engines write a token at a time: an unfinished answer is as long as its pieces."""
        for event in events:
            if type(event) in _WORDS:
                self.written += 1
            elif type(event) is Counted:
                self._usage = event.usage

    def usage(self, guess: Callable[[], int]) -> Usage:
        """What it took.

        Args:
            guess: tokens of the prompt, asked where the engine never said how long it was.
        """
        counted = self._usage
        if counted is not None and self.complete:
            return counted
        read = counted is not None and counted.total - counted.output - counted.reasoning > 0
        known = counted or Usage()
        prompt = self.prompt if self.prompt is not None else 0 if read else guess()
        return Usage(
            input=known.input if read else prompt,
            cached_input=known.cached_input,
            cache_write=known.cache_write,
            output=max(known.output, self.written - known.reasoning),
            reasoning=known.reasoning,
            estimated=True,
        )


def guessed_tokens(generation: Generation) -> int:
    """How long a prompt is, roughly: a quarter of its characters, and nothing for pictures."""
    size = 0
    if generation.prompt is not None:
        lengths = [
            len(text) if isinstance(text, str) else len(text) * _CHARACTERS for text in generation.prompt.texts
        ]
        size += sum(lengths)
    for turn in generation.turns:
        for part in turn.parts:
            match part:
                case Text():
                    size += len(part.text)
                case ToolCall():
                    size += len(part.arguments)
                case ToolResult():
                    size += sum(len(inner.text) for inner in part.parts if isinstance(inner, Text))
                case _:
                    pass
    return -(-size // _CHARACTERS)
