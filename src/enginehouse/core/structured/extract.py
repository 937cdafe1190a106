"""Finds the JSON in what a model says around it: fences, thoughts, words before and after."""

import re

__all__ = ["candidates"]

_FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_MARKS = re.compile(r'[{}\[\]"]')
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_MAX = 8
_OPENING = re.compile(r"[{\[]")
_CLOSING = {"{": "}", "[": "]"}


def candidates(text: str) -> list[str]:
    """Texts that may be the JSON, most likely first: at most eight, in time that grows with the text's length.

    The last of them may lack its end, when the model's words do.
    """
    text = text.strip()
    if not text.startswith(("{", "[")):
        text = text.rpartition("</think>")[2].strip()
    found = [text, *[match.strip() for match in _FENCE.findall(text)[:_MAX]]]
    found += _outermost(text)
    if opening := _OPENING.search(text):
        first, last = opening.start(), text.rfind(_CLOSING[opening[0]])
        found += [text[first : last + 1], text[first:]]
    return [candidate for candidate in dict.fromkeys(found) if candidate][:_MAX]


def _outermost(text: str) -> list[str]:
    """Whole objects and arrays that stand in no other, largest first; quotes count inside of them only."""
    spans: list[str] = []
    depth = start = at = 0
    while match := _MARKS.search(text, at):
        mark, at = match[0], match.end()
        if mark in _CLOSING:
            start = start if depth else match.start()
            depth += 1
        elif depth and mark == '"' and (string := _STRING.match(text, match.start())):
            at = string.end()
        elif depth and mark != '"':
            depth -= 1
            if not depth:
                spans.append(text[start:at])
    return sorted(spans, key=len, reverse=True)[:_MAX]
