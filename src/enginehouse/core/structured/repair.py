"""Reads JSON as models write it when nothing holds them to it.

What is understood beyond JSON: commas too many or forgotten at a line's end; keys without quotes; single and curly
quotes; quotes and line ends inside a text that should have been escaped; comments; Python's True, False and None;
numbers such as `+1`, `.5` and `01`; and an end that is missing. Nothing else is guessed: what has no value is left
out, and what is still no JSON is refused. Time grows with the text's length, depth is at most 100.
"""

import math
import re
from typing import Any

from msgspec import Struct

__all__ = ["Mended", "mend"]

_MAX_DEPTH = 100
_GAP = re.compile(r"(?:\s++|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)*+")
_WORD = re.compile(r"[A-Za-z_$][\w$-]*+")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d*)?")
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d"}
_RUNS = {closing: re.compile(rf"[^{closing}\\]++") for closing in _QUOTES.values()}
_AFTER = re.compile(r"(\s*+)(\Z|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
_CODE = re.compile(
    r"u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})"
)
_HALF = re.compile(r"(?:u[0-9a-fA-F]{0,3}|x[0-9a-fA-F]?)?\Z")
"""What is left of an escape that the text's end has cut off."""
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}


class Mended(Struct, frozen=True):
    """What a text comes to."""

    value: Any
    closed: bool
    """Whether its end was missing, so that something of it may be missing as well."""


class _CutOff(Exception):
    """The text ends where a value should stand."""


def mend(text: str) -> Mended:
    """The object or array that a text means.

    Raises:
        ValueError: it means none, with where it stops to make sense.
    """
    reader = _Reader(text)
    try:
        value = reader.value(0)
    except _CutOff:
        raise ValueError("there is nothing") from None
    if not isinstance(value, dict | list):
        raise ValueError("it is neither an object nor an array")  # noqa: TRY004 - of the text, not of a type
    reader.end()
    return Mended(value, reader.closed)


class _Reader:
    def __init__(self, text: str) -> None:
        self.closed = False
        self._text = text
        self._at = 0

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {_MAX_DEPTH} levels")
        mark = self._next()
        if mark == "{":
            return self._object(depth)
        if mark == "[":
            return self._array(depth)
        if mark in _QUOTES:
            return self._string(value=True)
        return self._bare()

    def end(self) -> None:
        """Nothing may follow."""
        if not self._over():
            raise self._lost()

    def _over(self) -> bool:
        match = _GAP.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at >= len(self._text)

    def _next(self) -> str:
        if self._over():
            self.closed = True
            raise _CutOff
        return self._text[self._at]

    def _lost(self) -> ValueError:
        return ValueError(
            f"it makes no sense from character {self._at} on: {self._text[self._at : self._at + 20]!r}"
        )

    def _object(self, depth: int) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        self._at += 1
        try:
            while not self._ends("}"):
                name = self._name()
                if self._next() != ":":
                    raise self._lost()
                self._at += 1
                fields[name] = self.value(depth + 1)
        except _CutOff:
            pass
        return fields

    def _array(self, depth: int) -> list[Any]:
        items: list[Any] = []
        self._at += 1
        try:
            while not self._ends("]"):
                items.append(self.value(depth + 1))
        except _CutOff:
            pass
        return items

    def _ends(self, closing: str) -> bool:
        """Whether the open value ends here; commas before its end, or before what comes next, are passed over."""
        while (mark := self._next()) in {",", closing}:
            self._at += 1
            if mark == closing:
                return True
        return False

    def _name(self) -> str:
        if self._next() in _QUOTES:
            name = self._string(value=False)
            if self._over():
                self.closed = True
                raise _CutOff
            return name
        match = _WORD.match(self._text, self._at)
        if match is None:
            raise self._lost()
        self._at = match.end()
        return match[0]

    def _string(self, *, value: bool) -> str:
        """A text; a quote in the midst of a value is taken for a part of it, in a name it is the end."""
        closing = _QUOTES[self._text[self._at]]
        self._at += 1
        pieces: list[str] = []
        while self._at < len(self._text):
            if match := _RUNS[closing].match(self._text, self._at):
                pieces.append(match[0])
                self._at = match.end()
            elif self._text[self._at] == "\\":
                pieces.append(self._escape())
            else:
                self._at += 1
                if not value or self._closes():
                    return "".join(pieces)
                pieces.append(closing)
        self.closed = True
        return "".join(pieces)

    def _closes(self) -> bool:
        """Whether a quote ends its text: by what comes after it, or since the next quote stands in another line."""
        match = _AFTER.match(self._text, self._at)
        assert match is not None
        gap, mark = match[1], match[2]
        return mark in {"", ",", "}", "]", "/"} or ("\n" in gap and mark in _QUOTES)

    def _escape(self) -> str:
        self._at += 1
        if match := _CODE.match(self._text, self._at):
            self._at = match.end()
            return _character(match)
        if _HALF.match(self._text, self._at):
            self._at = len(self._text)
            return ""
        mark = self._text[self._at]
        self._at += 1
        return _ESCAPES.get(mark, mark)

    def _bare(self) -> Any:
        if match := _NUMBER.match(self._text, self._at):
            self._at = match.end()
            return _number(match[0])
        match = _WORD.match(self._text, self._at)
        if match is None:
            raise self._lost()
        if match.end() == len(self._text) and match[0] not in _WORDS:
            self._at = match.end()
            self.closed = True
            raise _CutOff
        if match[0] not in _WORDS:
            raise self._lost()
        self._at = match.end()
        return _WORDS[match[0]]


def _character(match: re.Match[str]) -> str:
    """The character of an escape; half of a pair that has lost the other is no character."""
    if match[1]:
        return chr(0x10000 + ((int(match[1], 16) - 0xD800) << 10) + int(match[2], 16) - 0xDC00)
    code = int(match[3] or match[4], 16)
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)


def _number(text: str) -> int | float:
    text = text.rstrip("+-eE.") or "?"
    if text.lstrip("+-").isdecimal():
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has a number that is too large: {text[:20]}")
    return number
