"""An answer that is being given, or was a moment ago: one writer, any number of readers of its owner.

A reader is a place in the answer's words and nothing more, so that who reads slowly costs no memory and slows
nobody, and who comes back goes on where it was.
"""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Literal, Self

from enginehouse.core.chat.events import End, Happening, Queued, Started, Token
from enginehouse.core.chat.words import Words
from enginehouse.errors import InvalidRequest

__all__ = ["LiveAnswer", "Reader"]

_HANDFUL = 64
"""Tokens a reader takes at a time, so that those of one socket take turns."""


class LiveAnswer:
    """Belongs to the event loop; nothing here waits.

    Args:
        request_id: what its owner calls it.
        grace: seconds for which it goes on without a reader.
    """

    __slots__ = ("_grace", "_readers", "_scope", "cut", "end", "position", "request_id", "started", "words")

    def __init__(self, request_id: str, grace: float) -> None:
        self.request_id = request_id
        self.words = Words()
        self.position = 0
        """Where it stands in the line, 0 while it does not."""
        self.started: Started | None = None
        self.end: End | None = None
        self.cut: Literal["stopped", "left"] | None = None
        """Who ended it before its time: its reader, or nobody was there to read."""
        self._grace = grace
        self._readers: set[Reader] = set()
        self._scope: asyncio.Timeout | None = None

    # What its writer calls -----------------------------------------------------------------------------

    @contextmanager
    def writing(self, scope: asyncio.Timeout) -> Generator[None]:
        """While the context lasts, `stop` and readers that leave end the scope, which has been entered."""
        self._scope = scope
        self._look_around()
        try:
            yield
        finally:
            self._scope = None

    def moved(self, position: int) -> None:
        """The line has moved."""
        if position != self.position:
            self.position = position
            self._tell()

    def begin(self, started: Started) -> None:
        """A model answers."""
        self.started = started
        self._tell()

    def add(self, token: str) -> None:
        """More words."""
        self.words.add(token)
        self._tell()

    def seal(self) -> None:
        """All words have come; from now on neither `stop` nor readers that leave change anything."""
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(None)
        self._scope = None

    def close(self, end: End) -> None:
        """That was all."""
        self.end = end
        self._tell()

    # What its readers call -----------------------------------------------------------------------------

    def stop(self, cut: Literal["stopped", "left"] = "stopped") -> None:
        """End it now, wherever it is; its end is told like any other. The first reason counts."""
        self.cut = self.cut or cut
        self._look_around()

    def read(self, bell: Callable[[], object], *, index: int = 0) -> "Reader":
        """A reader, which counts as present until it leaves; use as a context, or say so.

        Args:
            bell: rung when there may be something to take.
            index: of the first token that is wanted.

        Raises:
            InvalidRequest: there is no such token yet.
        """
        reader = Reader(self, bell, index)
        self._readers.add(reader)
        self._look_around()
        bell()
        return reader

    def leave(self, reader: "Reader") -> None:
        """It reads no more."""
        self._readers.discard(reader)
        self._look_around()

    def _look_around(self) -> None:
        """It ends now when it is stopped, and after a while when nobody reads."""
        if self._scope is None or self._scope.expired():
            return
        now = asyncio.get_running_loop().time()
        if self.cut:
            self._scope.reschedule(now)
        else:
            self._scope.reschedule(None if self._readers else now + self._grace)

    def _tell(self) -> None:
        for reader in self._readers:
            reader.bell()


class Reader:
    """One reader's place; from `LiveAnswer.read`."""

    __slots__ = ("_began", "_index", "_position", "answer", "bell", "ended")

    def __init__(self, answer: LiveAnswer, bell: Callable[[], object], index: int) -> None:
        if not 0 <= index <= len(answer.words):
            raise InvalidRequest(
                f"index is {index}; the answer has {len(answer.words)} tokens so far.", param="index"
            )
        self.answer = answer
        self.bell = bell
        self.ended = False
        """Whether the end has been taken."""
        self._index = index
        self._began = False
        self._position: int = 0

    def __enter__(self) -> Self:
        """It is present already."""
        return self

    def __exit__(self, *_: object) -> None:
        """It leaves."""
        self.leave()

    def leave(self) -> None:
        """Read no more."""
        self.answer.leave(self)

    def take(self) -> Sequence[Happening]:
        """What has happened since the last call, a handful at most; nothing when nothing has."""
        answer, taken = self.answer, list[Happening]()
        if answer.started is None:
            if answer.end is None and answer.position != self._position:
                self._position = answer.position
                if answer.position:
                    taken.append(Queued(position=answer.position))
        else:
            if not self._began:
                self._began = True
                taken.append(answer.started)
            taken += self._tokens()
        if answer.end is not None and not self.ended and self._index == len(answer.words):
            self.ended = True
            taken.append(answer.end)
        return taken

    def _tokens(self) -> list[Token]:
        first, last = self._index, min(len(self.answer.words), self._index + _HANDFUL)
        self._index = last
        return [Token(token, first + at) for at, token in enumerate(self.answer.words.between(first, last))]
