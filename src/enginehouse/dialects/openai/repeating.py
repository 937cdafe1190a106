"""Frames of a stream that differ from one before them in their words only, read without looking at the rest again.

An engine tells a token a frame, and little else in it changes. Where a frame was nothing but words, what stands
before and behind them becomes a pattern; a frame that stands between the same bytes, with one JSON string in the
place of the words, is the same object with other words, for nothing in a string changes how the rest is read.
"""

import re
from collections.abc import Callable
from secrets import token_hex
from typing import Self

import msgspec

from enginehouse.types.answer import Event, TextDelta

__all__ = ["Pattern"]

_LONG = 64 * 1024
"""Bytes of frames that are looked at in this way; longer ones are seldom, and have bounds of their own."""
_WORDS = re.compile(rb'"(?:content|text)":\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_LINE, _END = b"data: ", b"\n\n"
"""Around the data of a frame."""
_PROBE = token_hex(8)
"""Words that no engine says."""
_string = msgspec.json.Decoder(str).decode


class Pattern:
    """What frames have in common.

    Args:
        before: the words' JSON string, from the frame's first byte on.
        after: to the end of the frame's blank line.
        choice: whose words they are.
    """

    def __init__(self, before: bytes, after: bytes, choice: int) -> None:
        self._before = before
        self._size = len(before)
        self._after = after
        self._head, self._tail = before[len(_LINE) :], after[: -len(_END)]
        self._choice = choice

    @classmethod
    def of(cls, data: bytes, choice: int, read: Callable[[bytes], list[Event]]) -> Self | None:
        """The pattern of a frame that told words and nothing else; None where it has none.

        Args:
            data: of the frame, one line.
            choice: whose words it told.
            read: the events of such a frame.
        """
        found = _WORDS.search(data) if len(data) <= _LONG else None
        if found is None or b"\n" in data:
            return None
        before, after = data[: found.start(1)], data[found.end(1) :]
        if read(b'%b"%b"%b' % (before, _PROBE.encode(), after)) != [TextDelta(text=_PROBE, choice=choice)]:
            return None
        return cls(_LINE + before, after + _END, choice)

    def words(self, data: bytes) -> list[Event] | None:
        """The words of one frame of this pattern; None where it is another.

        Args:
            data: of the frame.
        """
        if not (data.startswith(self._head) and data.endswith(self._tail) and len(data) <= _LONG):
            return None
        try:
            text = _string(data[len(self._head) : len(data) - len(self._tail)])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return [TextDelta(text=text, choice=self._choice)] if text else []

    def events(self, chunk: bytes) -> list[Event] | None:
        """The words of whole frames of this pattern; None where one of them is another."""
        *frames, rest = chunk.split(self._after)
        if rest or len(chunk) > _LONG:
            return None
        before, size, choice = self._before, self._size, self._choice
        events: list[Event] = []
        try:
            for frame in frames:
                if not frame.startswith(before):
                    return None
                text = _string(frame[size:])
                if text:
                    events.append(TextDelta(text=text, choice=choice))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return events
