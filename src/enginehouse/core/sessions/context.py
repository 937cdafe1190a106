"""The context of a turn: the system prompt, as much of what was said before as fits, and what is asked now.

What was said before goes in and out by whole exchanges, from a user's words to the last word of their answer, so
that no call of a tool is parted from its result. Of an exchange that is still going on, the rounds between may be
left out: a call with its results is one round.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Protocol

from msgspec import Struct, structs

from enginehouse.core.sessions.conversation import Message
from enginehouse.errors import ContextLengthExceeded
from enginehouse.types import Principal
from enginehouse.types.generation import (
    Foreign,
    Generation,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)

__all__ = ["Context", "Count", "Draft", "Ruler", "Rulers", "built", "exchanges", "fruitful", "room"]

_AROUND = 8
"""Tokens that a template puts around a turn, for the first guess."""


class Count(Struct, frozen=True):
    """Tokens, and whether the model's own tokenizer counted them."""

    tokens: int
    exact: bool


class Ruler(Protocol):
    """Measures prompts as one model reads them."""

    @property
    def model(self) -> str:
        """The model's id."""
        ...

    @property
    def tokenizer(self) -> str:
        """What counts are kept under; another one when the model counts otherwise."""
        ...

    @property
    def context_length(self) -> int | None:
        """Tokens that prompt and answer may have together; None when that is not known."""
        ...

    async def text(self, turn: Turn) -> Count:
        """Tokens of one turn's own words, without what a template puts around them."""
        ...

    async def prompt(self, generation: Generation, limit: int) -> Count:
        """Tokens of a whole prompt, template and tools included; an estimate may do where it fits for certain."""
        ...


class Rulers(Protocol):
    """Where rulers are from."""

    def of(self, principal: Principal, model: str | None, request_id: str) -> Ruler:
        """The ruler of a model, by a name of it; None is the default model.

        Raises:
            ModelNotFound, InvalidRequest: there is none, or it does not chat.
            PermissionDenied: it is not for this caller.
        """
        ...


class Draft(Struct, frozen=True, kw_only=True):
    """What a context is made of."""

    system: str
    branch: Sequence[Message]
    """All that was said before, and what is asked now, the first one first."""
    asked: int
    """How many of them are what is asked; at least one."""
    tools: tuple[Tool | Foreign, ...] = ()
    max_tokens: int | None = None
    summary: str | None = None
    """Of all that was said before this branch begins."""


class Context(Struct, frozen=True, kw_only=True):
    """What a model is to read."""

    turns: tuple[Turn, ...]
    """The system prompt, if there is one; then the newest of what was said, the oldest first; then the question."""
    tokens: int
    """Of the whole prompt."""
    exact: bool
    """Whether the model's own tokenizer counted them."""
    limit: int | None
    """Most tokens that it may have; None when that is not known."""
    left_out: tuple[str, ...] = ()
    """Ids of the messages that did not fit."""
    summary: str | None = None
    """What was left out, in short, where that is known; it is part of the system prompt."""
    counted: Mapping[str, int] = {}
    """Tokens of messages' own words that were counted for this."""


def room(context_length: int | None, max_tokens: int | None, answer_tokens: int) -> int | None:
    """Tokens that a prompt may have.

    Args:
        max_tokens: what the caller wants free for the answer.
        answer_tokens: what is kept free where the caller does not say, at most a quarter of the context.
    """
    if context_length is None:
        return None
    answer = max_tokens if max_tokens is not None else min(answer_tokens, context_length // 4)
    return max(0, context_length - answer)


async def built(ruler: Ruler, draft: Draft, limit: int | None, known: Mapping[str, int]) -> Context:
    """The longest context that fits.

    Args:
        limit: tokens it may have.
        known: tokens of messages' own words that were counted before.

    Raises:
        ContextLengthExceeded: the system prompt and the question alone do not fit.
    """
    measured = _Measured(ruler, draft, limit, known)
    kept = await measured.most()
    return measured.context(kept)


def exchanges(branch: Sequence[Message]) -> list[tuple[Message, ...]]:
    """A branch in exchanges, each of which begins with a user's words."""
    found: list[list[Message]] = []
    for message in branch:
        if not found or (message.role is Role.USER and not _results(message)):
            found.append([])
        found[-1].append(message)
    return [tuple(exchange) for exchange in found]


def fruitful(exchange: Sequence[Message]) -> bool:
    """Whether an exchange came to an answer: not to nothing, nor to a call whose result never came."""
    last = exchange[-1]
    if last.role is not Role.ASSISTANT or not any(_said(part) for part in last.parts):
        return False
    called = {part.id for message in exchange for part in message.parts if isinstance(part, ToolCall)}
    answered = {result for message in exchange for result in _results(message)}
    return called <= answered


class _Measured:
    """What may go in, in units, and how long that would be."""

    def __init__(self, ruler: Ruler, draft: Draft, limit: int | None, known: Mapping[str, int]) -> None:
        self._ruler, self._draft, self._limit = ruler, draft, limit
        self._known = dict(known)
        self._counted: dict[str, int] = {}
        self._prompts: dict[int, Count] = {}
        *before, now = exchanges(draft.branch)
        asked = min(draft.asked, len(now))
        self._head, rounds, self._tail = _apart(now, asked)
        self._units = [_past(exchange) for exchange in before if fruitful(exchange)]
        self._past = len(self._units)
        self._units += rounds

    async def most(self) -> int:
        """How many units fit, of the newest."""
        every = len(self._units)
        if self._limit is None:
            return every
        guess = await self._guess(self._limit)
        if not await self._fits(guess):
            return await self._between(-1, guess)
        if guess == every or not await self._fits(guess + 1):
            return guess
        return await self._between(guess + 1, every + 1)

    def context(self, kept: int) -> Context:
        """With so many units, of the newest."""
        count = self._prompts.get(kept) or Count(_estimate(self._turns(kept)), exact=False)
        dropped = self._units[: len(self._units) - kept]
        return Context(
            turns=self._turns(kept),
            tokens=count.tokens,
            exact=count.exact,
            limit=self._limit,
            left_out=tuple(message.id for unit in dropped for message in unit),
            summary=self._draft.summary,
            counted=self._counted,
        )

    async def _between(self, fits: int, too_long: int) -> int:
        """The most that fits, between what does and what does not; -1 stands for nothing at all."""
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if await self._fits(middle):
                fits = middle
            else:
                too_long = middle
        if fits < 0:
            raise self._too_long()
        return fits

    def _too_long(self) -> ContextLengthExceeded:
        count, limit, length = self._prompts[0], self._limit or 0, self._ruler.context_length or 0
        return ContextLengthExceeded(
            f"The prompt has {count.tokens} tokens with nothing of what was said before, but only {limit} of the "
            f"context's {length} are free for it; {length - limit} are kept for the answer. Say it in fewer words, "
            "or ask for a shorter answer (max_tokens).",
            param="prompt",
        )

    async def _fits(self, kept: int) -> bool:
        if kept not in self._prompts:
            generation = Generation(model=self._ruler.model, turns=self._turns(kept), tools=self._draft.tools)
            self._prompts[kept] = await self._ruler.prompt(generation, self._limit or 0)
        return self._prompts[kept].tokens <= (self._limit or 0)

    async def _guess(self, limit: int) -> int:
        """How many units should fit, by what their messages have."""
        free = limit - sum([await self._size(m) for m in (*self._head, *self._tail)])
        free -= len(self._draft.system) // 4
        for kept, unit in enumerate(reversed(self._units)):
            free -= sum([await self._size(message) for message in unit])
            if free < 0:
                return kept
        return len(self._units)

    async def _size(self, message: Message) -> int:
        if message.id not in self._known:
            count = await self._ruler.text(message.turn())
            self._known[message.id] = count.tokens
            if count.exact:
                self._counted[message.id] = count.tokens
        return self._known[message.id] + _AROUND

    def _turns(self, kept: int) -> tuple[Turn, ...]:
        first = len(self._units) - kept
        past, rounds = self._units[first : self._past], self._units[max(first, self._past) :]
        chosen = [*_flat(past), *self._head, *_flat(rounds), *self._tail]
        return (*_system(self._draft), *(message.turn() for message in chosen))


def _flat(units: Sequence[Sequence[Message]]) -> list[Message]:
    return [message for unit in units for message in unit]


def _apart(
    now: Sequence[Message], asked: int
) -> tuple[tuple[Message, ...], list[tuple[Message, ...]], tuple[Message, ...]]:
    """An exchange that goes on: the user's words, the rounds since, and the last round with what is asked."""
    first = next((i for i, message in enumerate(now) if message.role is Role.ASSISTANT), len(now))
    starts = [i for i in range(first, len(now) - asked) if now[i].role is Role.ASSISTANT] or [first]
    last = starts[-1]
    return tuple(now[:first]), [tuple(now[start:end]) for start, end in pairwise(starts)], tuple(now[last:])


def _past(exchange: Sequence[Message]) -> tuple[Message, ...]:
    """As it is told later: without the thoughts behind it."""
    hidden = Thinking | RedactedThinking
    return tuple(
        structs.replace(message, parts=tuple(part for part in message.parts if not isinstance(part, hidden)))
        for message in exchange
    )


def _system(draft: Draft) -> tuple[Turn, ...]:
    told = [draft.system] if draft.system else []
    if draft.summary:
        told.append(f"What was said before, in short: {draft.summary}")
    return (Turn(role=Role.SYSTEM, parts=(Text(text="\n\n".join(told)),)),) if told else ()


def _results(message: Message) -> set[str]:
    return {part.call_id for part in message.parts if isinstance(part, ToolResult)}


def _said(part: object) -> bool:
    return not isinstance(part, Thinking | RedactedThinking) and not (isinstance(part, Text) and not part.text)


def _estimate(turns: Sequence[Turn]) -> int:
    """A quarter of the characters."""
    return -(-sum(len(p.text) for turn in turns for p in turn.parts if isinstance(p, Text)) // 4)
