"""The in-process event stream: who publishes never waits, who reads lags a bounded way, who comes back resumes.

One ring holds the newest events for everybody. A reader is a place in it and nothing more, so a thousand readers
cost no more memory than one, and a reader whom the ring has overtaken is told so instead of being fed a gap.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Generic, Self, TypeAlias, TypeVar
from uuid import uuid4

from msgspec import Struct

__all__ = ["Entry", "EventStream", "MarkedStream", "Subscription"]

E = TypeVar("E")

Mark: TypeAlias = tuple[int, int]
"""A place in an order that others know as well; later places are greater."""
_LONGEST_MARK = 40


class Entry(Struct, Generic[E], frozen=True):
    """One event and its place in the stream; numbers begin at 1 and have no gaps."""

    number: int
    at: datetime
    """In UTC."""
    event: E


class EventStream(Generic[E]):
    """Events in the order in which they were published. Belongs to the event loop; nothing here waits.

    Args:
        kept: how many of the newest are kept for who comes back, and so how far a reader may lag.
    """

    def __init__(self, *, kept: int = 1000) -> None:
        self._ring: deque[Entry[E]] = deque(maxlen=kept)
        self._life = uuid4().hex[:8]
        self._readers: set[Subscription[E]] = set()
        self.last = 0
        """Number of the newest event."""

    def publish(self, event: E) -> None:
        """Append an event and wake every reader."""
        self._append(event, datetime.now(UTC))

    def _append(self, event: E, at: datetime) -> None:
        self.last += 1
        self._ring.append(Entry(self.last, at, event))
        for reader in self._readers:
            reader.look()

    def recent(self) -> Sequence[Entry[E]]:
        """Everything that is kept, oldest first."""
        return tuple(self._ring)

    def after(self, number: int) -> Sequence[Entry[E]] | None:
        """What came after that event, oldest first; None when some of it is kept no more."""
        behind = self.last - number
        if behind > len(self._ring):
            return None
        return tuple(islice(self._ring, len(self._ring) - behind, None))

    def token(self, number: int) -> str:
        """An event's name for readers that come back: it holds for this stream's life only."""
        return f"{self._life}-{number}"

    def place(self, token: str | None) -> int | None:
        """The number behind a token, or None when what came after it cannot be told any more."""
        life, _, digits = (token or "").partition("-")
        if life != self._life or not (digits.isascii() and digits.isdecimal()) or len(digits) > len(str(self.last)):
            return None
        number = int(digits)
        return number if self.last - len(self._ring) <= number <= self.last else None

    def subscribe(self, number: int | None = None) -> "Subscription[E]":
        """A reader of what comes after that event; without a number, of what comes from now on."""
        return Subscription(self, self._readers, self.last if number is None else number)


class MarkedStream(EventStream[E]):
    """A stream whose events stand in an order that other processes know too: who comes back may come to any.

    Several events may stand at one place. The last of them has its mark, the others have the mark before it, since
    who has heard only them has to hear them again. What is published without a mark is this process's own.
    """

    def __init__(self, *, kept: int = 1000) -> None:
        super().__init__(kept=kept)
        self._marks: deque[tuple[Mark, Mark] | None] = deque(maxlen=kept)
        """Of each that is kept the mark that it has and its place; None for what is this process's own."""
        self._before: Mark | None = None
        """What came before the oldest that is kept."""
        self.reached: Mark | None = None
        """How far the order is known here."""

    def publish(self, event: E) -> None:
        """Append an event of this process alone."""
        self._put(event, None, datetime.now(UTC))

    def publish_group(self, events: Sequence[E], mark: Mark) -> None:
        """Append what one place of the order tells, which may be nothing.

        Args:
            mark: milliseconds since 1970, which all take for the time when it happened, and a number among those.
        """
        at = datetime.fromtimestamp(mark[0] / 1000, UTC)
        known = self.reached if self.reached is not None else (mark[0], mark[1] - 1)
        if self._before is None:
            self._before = known
        for index, event in enumerate(events, 1):
            self._put(event, (mark if index == len(events) else known, mark), at)
        self.reached = mark

    def _put(self, event: E, marks: tuple[Mark, Mark] | None, at: datetime) -> None:
        if len(self._marks) == self._marks.maxlen and (first := self._marks[0]) is not None:
            self._before = first[1]
        self._marks.append(marks)
        self._append(event, at)

    def token(self, number: int) -> str:
        """An event's name for readers that come back, here or to another process."""
        index = len(self._marks) - 1 - (self.last - number)
        marks = self._marks[index] if 0 <= index < len(self._marks) else None
        return super().token(number) if marks is None else f"{marks[0][0]}-{marks[0][1]}"

    def place(self, token: str | None) -> int | None:
        """The number behind a token, or None when what came after it cannot be told any more."""
        number = super().place(token)
        mark = _mark(token or "")
        if number is not None or mark is None or self._before is None or self.reached is None:
            return number
        if not self._before <= mark <= self.reached:
            return None
        found = first = self.last - len(self._marks)
        for at, marks in enumerate(self._marks, first + 1):
            if marks is not None and marks[1] <= mark:
                found = at
        return found


def _mark(token: str) -> Mark | None:
    parts = token.split("-")
    if len(token) > _LONGEST_MARK or len(parts) != 2 or not all(one.isascii() and one.isdecimal() for one in parts):
        return None
    return int(parts[0]), int(parts[1])


class Subscription(Generic[E]):
    """A reader's place in the stream; use as a context to be woken and to be told of lagging."""

    def __init__(self, stream: EventStream[E], readers: "set[Subscription[E]]", number: int) -> None:
        self._stream = stream
        self._readers = readers
        self._number = number
        self._news = asyncio.Event()
        self._overtaken = asyncio.Event()

    def __enter__(self) -> Self:
        """Join the readers; nothing is missed between `subscribe` and here."""
        self._readers.add(self)
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave them."""
        self._readers.discard(self)

    async def news(self) -> Sequence[Entry[E]]:
        """Everything that came since the last call, at least one event; waits for ever once overtaken."""
        while True:
            entries = self._stream.after(self._number)
            if entries:
                self._number = entries[-1].number
                return entries
            self._news.clear()
            await self._news.wait()

    async def overtaken(self) -> None:
        """Returns when the stream no longer keeps what this reader has not read."""
        await self._overtaken.wait()

    def look(self) -> None:
        """Something was published."""
        self._news.set()
        if self._stream.after(self._number) is None:
            self._overtaken.set()
