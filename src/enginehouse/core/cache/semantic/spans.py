"""Spans of a text that are read letter by letter: code, quoted words, addresses, paths, ids, names of programs.

Every kind is looked for by itself and only where a sign says that there may be one. To try all of them at every
place takes longer; and of long words some of them would be read from every letter to the end, so that 2,000 letters
take a tenth of a second. What was read once and is no span is skipped.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial

__all__ = ["KINDS", "Kind", "find_spans"]

_Found = re.Match[str] | None
_Finds = Callable[[int], _Found]

_NOT_AN_ID = (
    r"(?!(?i:\d++(?:st|nd|rd|th|am|pm|k|m|bn|[kmgt]i?b|kg|g|mg|km|cm|mm|mi|ft|lbs?|oz|ml|l|kwh|kw|w|v|k?hz|[mg]hz"
    r"|px|fps|h|hr|hrs|min|s|d|x)\b))"
)
_ID = r"\w+(?:-(?=\w*\d)\w+)*"
"""A word, and those behind hyphens that hold a digit; what follows may forbid that it is one."""
_ENDED = r"\b(?!-\w*[^\W\d])"
_RUN = re.compile(r"[\w-]+")
_DIGIT = re.compile(r"\d")
_TO_LAST_DIGIT, _TO_LAST_LETTER = re.compile(r"[\w-]*\d"), re.compile(r"[\w-]*[^\W\d_]")
_ID_OR_NOT = re.compile(rf"\b(?=\w){_NOT_AN_ID}(?:({_ID}{_ENDED})|{_ID})")


class Kind:
    """One kind of span.

    Args:
        expression: what it looks like.
        sign: an expression for what every span of the kind holds, of kinds that hold no space: only what stands
            around one, between two spaces, is looked at.
        skipped: what the expression begins with and need not be looked at again where it does not fit: wherever it
            begins in there, it ends or fails alike.
        reader: for a text, finds the first one from a place on; else the expression does.
    """

    def __init__(
        self,
        expression: str,
        sign: str = "",
        *,
        skipped: str = "",
        reader: Callable[[str], _Finds] | None = None,
    ) -> None:
        self.expression = expression
        self._sign = re.compile(sign) if sign else None
        self._pattern = re.compile(f"({expression})|{skipped}" if skipped else f"({expression})", re.DOTALL)
        self._skips = bool(skipped)
        self._reader = reader

    def reader(self, text: str) -> _Finds:
        """Of a text: tells the first one that begins at a place or later."""
        if self._reader is not None:
            return self._reader(text)
        return partial(self._pattern.search if self._sign is None else self._around_signs, text)

    def _around_signs(self, text: str, at: int) -> _Found:
        assert self._sign is not None, "else the whole text is searched"
        while (sign := self._sign.search(text, at)) is not None:
            begin, end = _between_spaces(text, at, sign)
            if (match := self._first(text, begin, end)) is not None:
                return match
            at = end
        return None

    def _first(self, text: str, begin: int, end: int) -> _Found:
        if not self._skips:
            return self._pattern.search(text, begin, end)
        return next((match for match in self._pattern.finditer(text, begin, end) if match[1] is not None), None)


class _Ids:
    """An id has a digit and a letter after it: where it begins, each stands in what hyphens join."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._begin = self._end = self._last = 0
        """Of what hyphens join, and where the last ids in it may begin."""

    def __call__(self, at: int) -> _Found:
        """The first one that begins there or later."""
        while at < self._end or self._found_digit(at):
            if (match := self._next(max(at, self._begin))) is not None:
                return match
            at = self._end
        return None

    def _next(self, at: int) -> _Found:
        if at >= self._last:
            return None
        found = (match for match in _ID_OR_NOT.finditer(self._text, at, self._end) if match[1] is not None)
        match = next(found, None)
        return match if match is not None and match.start() < self._last else None

    def _found_digit(self, at: int) -> bool:
        text, digit = self._text, _DIGIT.search(self._text, at)
        if digit is None:
            return False
        begin, _ = _between_spaces(text, at, digit)
        run = next(run for run in _RUN.finditer(text, begin) if run.end() > digit.start())
        self._begin, self._end = run.span()
        letters, digits = _TO_LAST_LETTER.match(text, *run.span()), _TO_LAST_DIGIT.match(text, *run.span())
        self._last = 0 if letters is None or digits is None else min(letters.end(), digits.end())
        return True


def find_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each begins and ends, in order; of two that begin together the kind that stands first."""
    found = [(reader, match) for kind in KINDS if (match := (reader := kind.reader(text))(0)) is not None]
    while found:
        first = found[0][1]
        for _, match in found:
            if match.start() < first.start():
                first = match
        yield first.span()
        found = list(_after(found, first.end()))


def _after(found: list[tuple[_Finds, re.Match[str]]], at: int) -> Iterator[tuple[_Finds, re.Match[str]]]:
    """The next of each kind that begin there or later."""
    for reader, match in found:
        later = match if match.start() >= at else reader(at)
        if later is not None:
            yield reader, later


def _between_spaces(text: str, at: int, sign: re.Match[str]) -> tuple[int, int]:
    """Where the word around a sign begins, no sooner than at a place, and where it ends."""
    end = text.find(" ", sign.end())
    return max(at, text.rfind(" ", at, sign.start()) + 1), len(text) if end < 0 else end


KINDS = (
    Kind(r"```.*?```|`[^`]+`"),
    Kind(r'"[^"]{1,300}"'),
    Kind(r"'(?<!\w')[^']{2,300}'(?!\w)"),
    Kind(r"https?://\S+[\w/]", "://"),
    Kind(r"www\.\S+[\w/]", r"www\."),
    Kind(r"[\w.+-]+@[\w-]+\.[\w.-]*\w", "@", skipped=r"[\w.+-]+"),
    Kind(r"(?<!\w)(?:~|\.{1,2})?/[\w.-]+(?:/[\w.-]*)+", "/"),
    Kind(rf"\b{_NOT_AN_ID}(?=[\w-]*\d)(?=[\w-]*[^\W\d_]){_ID}{_ENDED}", reader=_Ids),
    Kind(r"\b[^\W\d_]+(?:-\d+)+\b", r"-\d"),
    Kind(r"\b\w+(?:_\w+)+\b", "_"),
    Kind(r"\b[a-z]+(?:[A-Z][a-z0-9]+)+\b", "[A-Z](?<=[a-z][A-Z])"),
    Kind(r"\b\w+(?:\.\w+)*\(\)", r"\(\)", skipped=r"\b\w+(?:\.\w+)*"),
    Kind(r"\b[a-z]\w*\.[a-z_]\w+(?:\.\w+)*\b", r"\.[a-z_]"),
    Kind(r"\b[+\-\w]+[+#]{1,2}(?!\w)", r"[+#](?!\w)", skipped=r"\b[+\-\w]+"),
)
"""All kinds, the first that fits at a place counts."""
