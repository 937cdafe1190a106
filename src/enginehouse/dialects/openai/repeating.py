"""Frames of a stream that differ from one before them in their words only, read without looking at the rest again.

An engine tells a token a frame, and little else in it changes. Where a frame was nothing but words, what stands
before and behind them becomes a pattern; a frame that stands between the same bytes, with one JSON string in the
place of the words, is the same object with other words, for nothing in a string changes how the rest is read.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import NamedTuple, Self

import msgspec

from enginehouse.types.answer import Event, TextDelta

__all__ = ["Pattern", "Repeating", "Words", "one_by_one"]

_LONG = 64 * 1024
"""Bytes of frames that are looked at in this way; longer ones are seldom, and have bounds of their own."""
_WORDS = re.compile(rb'"(?:content|text)":\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_LINE, _END = b"data: ", b"\n\n"
"""Around the data of a frame."""
_OPENS, _ENDS, _BETWEEN = len(_LINE), len(_END), _END + _LINE
_PROBE = token_hex(8)
"""Words that no engine says."""
_NEWLINE = ord("\n")
_SEAM = b"\n,"
"""Between the words of two frames, in the place of all that they have in common."""
_string = msgspec.json.Decoder(str).decode
_strings = msgspec.json.Decoder(list[str]).decode


class Words(NamedTuple):
    """What frames in a row tell that are nothing but words; a `TextDelta` for each would say the same."""

    texts: Sequence[str]
    """Each frame's, but for empty ones."""
    choice: int


def one_by_one(told: Sequence[Event | Words]) -> list[Event]:
    """Events only."""
    events: list[Event] = []
    for event in told:
        if isinstance(event, Words):
            events += [TextDelta(text=text, choice=event.choice) for text in event.texts]
        else:
            events.append(event)
    return events


class Pattern:
    """What frames have in common.

    Args:
        before: the words' JSON string, from the frame's first byte on.
        after: to the end of the frame's blank line.
        choice: whose words they are.
    """

    __slots__ = (
        *("_after", "_before", "_between", "_closes", "_edges", "_head", "_opens", "_tail"),
        *("choice", "met"),
    )

    def __init__(self, before: bytes, after: bytes, choice: int) -> None:
        self._before = before
        self._after = after
        self._between = after + before
        self._opens, self._closes = len(before), len(after)
        self._edges = len(self._between)
        self._head, self._tail = len(before) - _OPENS, _ENDS - len(after)
        self.choice = choice
        self.met = False
        """Whether frames of it have been read since somebody last looked."""

    @classmethod
    def of(cls, data: bytes, choice: int, read: Callable[[bytes], list[Event]]) -> Self | None:
        """The pattern of a frame that told words and nothing else; None where it has none.

        Args:
            data: of the frame, one line.
            choice: whose words it told.
            read: the events of such a frame.
        """
        found = _WORDS.search(data) if len(data) <= _LONG else None
        if found is None or _NEWLINE in data:
            return None
        before, after = data[: found.start(1)], data[found.end(1) :]
        if read(b'%b"%b"%b' % (before, _PROBE.encode(), after)) != [TextDelta(text=_PROBE, choice=choice)]:
            return None
        return cls(_LINE + before, after + _END, choice)

    def word(self, data: bytes, begin: int, end: int) -> str | None:
        """The words of the frame that stands from here to there; None where it is another, or not just one."""
        if not (data.startswith(self._before, begin) and data.endswith(self._after, begin, end)):
            return None
        try:
            text = _string(data[begin + self._opens : end - self._closes])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        self.met = True
        return text

    def texts(self, chunk: bytes) -> Sequence[str] | None:
        """The words of whole frames of this pattern, but for empty ones; None where one of them is another."""
        size = len(chunk)
        if size >= 2 * self._edges:
            return self._several(chunk)
        text = self.word(chunk, 0, size)
        return None if text is None else (text,) if text else ()

    def run(self, chunk: bytes) -> tuple[Words | None, bytes]:
        """What the frames of this pattern at the beginning tell, as far as they are read at once, and the rest.

        Args:
            chunk: of which the first byte begins a frame.
        """
        # With another end it is another frame, and so is its end behind another one.
        last = chunk.rfind(self._before)
        end = min(chunk.find(_END, last) + _ENDS, chunk.rfind(self._after) + len(self._after)) if last >= 0 else 0
        texts = self.texts(chunk[:end])
        return (None, chunk) if texts is None else (Words(texts, self.choice), chunk[end:])

    def _several(self, chunk: bytes) -> Sequence[str] | None:
        """As `texts` says, where there is room for more than one frame.

        The words are cut out where they have to stand, and all else is held to what it has to be. A newline cannot
        be in a string, so none reaches over a seam; and where there are as many strings as frames, each has one.
        """
        if len(chunk) > _LONG:
            return None
        head, tail = self._head, self._tail
        strings = [frame[head:tail] for frame in chunk[_OPENS:-_ENDS].split(_BETWEEN)]
        if b"".join((self._before, self._between.join(strings), self._after)) != chunk:
            return None
        try:
            texts = _strings(b"[%b]" % _SEAM.join(strings))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if len(texts) != len(strings):
            return None
        self.met = True
        return texts if all(texts) else [text for text in texts if text]


class Repeating:
    """A reader of streams whose frames are mostly of one pattern."""

    __slots__ = ()

    @property
    @abstractmethod
    def pattern(self) -> Pattern | None:
        """That of the frames so far; None where the next byte begins no frame, or they have none.

        Whole frames of it tell their words and nothing else, and change nothing in the reader: who reads them by it
        need not feed them.
        """

    @abstractmethod
    def feed_in_runs(self, chunk: bytes) -> Sequence[Event | Words]:
        """As `feed`, with the words of frames in a row in one piece."""
