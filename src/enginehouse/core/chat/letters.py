"""What replicas write each other of an answer that one of them gives and the other one's callers read.

The reader's side asks for what comes after the words that it has, and the writer's side answers at once or when
there is more. So a letter that is lost is only asked for again, and nothing is told twice.
"""

from collections.abc import Callable
from typing import TypeAlias

import msgspec
from msgspec import Struct, structs

from enginehouse.core.chat.events import Ended, Failed, Started, Stopped
from enginehouse.core.chat.live import LiveAnswer
from enginehouse.errors import EnginehouseError

__all__ = ["Leave", "Letter", "Name", "Part", "Pull", "Stop", "decode", "encode", "part_of", "put_in"]

Name: TypeAlias = tuple[str, str, str]
"""Tenant, user and the request's id."""

_TOKENS, _BYTES = 256, 64 * 1024
"""Most of one letter; a longer token comes by itself."""


class Pull(Struct, frozen=True, kw_only=True, tag="pull", omit_defaults=True):
    """What is there beyond this?"""

    name: Name
    back: str
    """The replica that asks."""
    number: int
    """Of this letter; its answer has the same."""
    loan: int
    """Of the reading, which counts as present for a while after each letter."""
    index: int
    """Of the first token that is wanted."""
    begun: bool = False
    """Whether it is known who answers."""
    position: int = 0
    """Where it stands in the line, as far as is known."""
    wait: bool = True
    """Whether nothing new is worth waiting for something."""


class Trouble(Struct, frozen=True, kw_only=True, tag="failed"):
    """An error that ended it, as far as callers are told of that."""

    code: str
    message: str
    param: str | None
    retry_after: float | None


class Part(Struct, frozen=True, kw_only=True, tag="part", omit_defaults=True):
    """What there is of an answer from a token on."""

    number: int
    """Of the letter that asked."""
    known: bool = True
    """Whether there is such an answer, and such a place in it."""
    position: int = 0
    started: Started | None = None
    tokens: list[str] = []
    more: bool = False
    """Whether there are words beyond these."""
    end: Ended | Stopped | Trouble | None = None
    """With the last words; its `text` is left out."""


class Stop(Struct, frozen=True, tag="stop"):
    """End it now."""

    name: Name


class Leave(Struct, frozen=True, tag="leave"):
    """Nobody reads any more."""

    back: str
    loan: int


Letter: TypeAlias = Pull | Part | Stop | Leave

encode: Callable[[Letter], bytes] = msgspec.msgpack.Encoder().encode
decode: Callable[[bytes], Letter] = msgspec.msgpack.Decoder(Letter).decode


def part_of(answer: LiveAnswer, pull: Pull) -> Part | None:
    """What is new to who asks; None when nothing is."""
    words = answer.words
    if pull.index > len(words):
        return Part(number=pull.number, known=False)
    tokens = _handful(answer, pull.index)
    more = pull.index + len(tokens) < len(words)
    over = None if more or answer.end is None else _over(answer.end)
    news = tokens or over or answer.position != pull.position or (answer.started and not pull.begun)
    if not news:
        return None
    return Part(
        number=pull.number, position=answer.position, started=answer.started, tokens=tokens, more=more, end=over
    )


def put_in(part: Part, answer: LiveAnswer) -> None:
    """Let a copy of the answer know what the letter says."""
    answer.moved(part.position)
    if part.started is not None and answer.started is None:
        answer.begin(part.started)
    for token in part.tokens:
        answer.add(token)
    match part.end:
        case None:
            pass
        case Trouble() as trouble:
            answer.close(Failed(error=_error(trouble)))
        case Ended() | Stopped() as end:
            answer.close(structs.replace(end, text=answer.words.text))


def _handful(answer: LiveAnswer, index: int) -> list[str]:
    taken, size = list[str](), 0
    for token in answer.words.between(index, min(len(answer.words), index + _TOKENS)):
        size += len(token)
        if taken and size > _BYTES:
            break
        taken.append(token)
    return taken


def _over(end: Ended | Stopped | Failed) -> Ended | Stopped | Trouble:
    if isinstance(end, Failed):
        error = end.error
        return Trouble(code=error.code, message=error.message, param=error.param, retry_after=error.retry_after)
    return structs.replace(end, text="")


def _error(trouble: Trouble) -> EnginehouseError:
    error = EnginehouseError(trouble.message, param=trouble.param, retry_after=trouble.retry_after)
    error.code = trouble.code
    return error
