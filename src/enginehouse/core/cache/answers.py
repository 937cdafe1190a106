"""Answers as they are kept and told again: in our words, so that a stream and a body are made of the same."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs

from enginehouse.types import Usage
from enginehouse.types.answer import Answer, Event, TextDelta, events_of

__all__ = [
    "Vectors",
    "digest_of",
    "joined",
    "paced",
    "packed",
    "read_answer",
    "read_vectors",
    "retold",
    "words_of",
]


class Vectors(Struct, frozen=True, kw_only=True):
    """Vectors as they are kept: eight bytes a number, to the last bit."""

    vectors: list[bytes]
    tokens: int
    truncated: tuple[int, ...] = ()

    @classmethod
    def of(cls, vectors: Sequence[Sequence[float]], tokens: int, truncated: tuple[int, ...]) -> "Vectors":
        """Of lists of numbers."""
        return cls(vectors=[array("d", one).tobytes() for one in vectors], tokens=tokens, truncated=truncated)

    def lists(self) -> list[list[float]]:
        """The numbers."""
        return [array("d", one).tolist() for one in self.vectors]


packed = msgspec.msgpack.Encoder().encode
_answer = msgspec.msgpack.Decoder(Answer).decode
_vectors = msgspec.msgpack.Decoder(Vectors).decode


def read_answer(data: bytes) -> Answer:
    """An answer that was packed.

    Raises:
        MsgspecError: it is none, and was kept by another version.
    """
    return _answer(data)


def read_vectors(data: bytes) -> Vectors:
    """Vectors that were packed.

    Raises:
        MsgspecError: they are none, and were kept by another version.
    """
    return _vectors(data)


def digest_of(answer: Answer | Vectors) -> bytes:
    """Of what it says: two answers with the same digest say the same."""
    said: list[Any]
    if isinstance(answer, Vectors):
        said = list(answer.vectors)
    else:
        said = [(choice.text(), choice.thinking(), choice.reason) for choice in answer.choices]
    return hashlib.sha256(packed(said)).digest()[:16]


def words_of(answer: Answer | Vectors) -> str:
    """All its words."""
    return "\n".join([choice.text() for choice in answer.choices]) if isinstance(answer, Answer) else ""


def retold(answer: Answer) -> list[Event]:
    """Its events, with all that was read marked as cached: nothing is read or written again.

    Times are left out, since nothing took any.
    """
    usage = answer.usage and _spared(answer.usage)
    return events_of(structs.replace(answer, id="", usage=usage, timed=None))


def joined(events: Iterable[Event]) -> Iterator[Event]:
    """The same answer in fewer events: words that follow each other are one, which folds much faster."""
    texts: list[str] = []
    choice = 0
    for event in events:
        if type(event) is TextDelta and not event.scores and (not texts or event.choice == choice):
            texts.append(event.text)
            choice = event.choice
            continue
        if texts:
            yield TextDelta(text="".join(texts), choice=choice)
            texts = []
        yield event
    if texts:
        yield TextDelta(text="".join(texts), choice=choice)


def paced(events: Sequence[Event]) -> Iterator[Event]:
    """The same words in pieces, one word each."""
    for event in events:
        if isinstance(event, TextDelta) and not event.scores:
            for piece in _pieces(event.text):
                yield structs.replace(event, text=piece)
        else:
            yield event


def _spared(usage: Usage) -> Usage:
    read = usage.input + usage.cached_input + usage.cache_write
    return structs.replace(usage, input=0, cached_input=read, cache_write=0)


def _pieces(text: str) -> Iterator[str]:
    """Words with the space before them."""
    start = 0
    while start < len(text):
        end = text.find(" ", start + 1)
        yield text[start : end if end > 0 else len(text)]
        start = end if end > 0 else len(text)
