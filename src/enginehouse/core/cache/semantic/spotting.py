"""Phrases of a table, found by their first words.

The expressions of a table say what counts. To try them all at every place of a text takes longer than all else that
is read out of a question, so they are tried only where a word stands with which one of them can begin, and only
those that can. Which words these are follows from the expressions.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Phrases", "any_of", "folded", "spellings"]

_FIRST = re.compile(r"\w+")


class Phrases:
    """Words that stand for others.

    Args:
        ways: each word, and expressions for what it stands for; the first that fits at a place counts. They consist
            of what `spellings` understands, and begin with a letter.
    """

    def __init__(self, ways: Mapping[str, Sequence[str]]) -> None:
        by_head: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
        for word, expressions in ways.items():
            for expression in expressions:
                for head in _heads(expression):
                    by_head[head].setdefault(word, []).append(expression)
        self._heads = re.compile(rf"\b(?:{any_of(by_head)})(?!\w)")
        self._ways = {head: (_joined(near), tuple(near)) for head, near in by_head.items()}

    def replaced(self, text: str) -> str:
        """The text with the words, where it holds what they stand for as whole words, in capitals or not."""
        pieces: list[str] = []
        end = 0
        for head in self._heads.finditer(folded(text)):
            begin = head.start()
            if begin < end:
                continue
            expression, words = self._ways[head[0]]
            if (match := expression.match(text, begin)) is not None:
                pieces += text[end:begin], words[(match.lastindex or 1) - 1]
                end = match.end()
        return "".join(pieces) + text[end:] if pieces else text


def any_of(words: Iterable[str]) -> str:
    """An expression for the beginning with any of these words, quicker than to name one after the other."""
    by_letter: defaultdict[str, list[str]] = defaultdict(list)
    for word in sorted(words, key=len, reverse=True):
        by_letter[word[0]].append(re.escape(word[1:]))
    return "|".join(f"{re.escape(letter)}(?:{'|'.join(rests)})" for letter, rests in by_letter.items())


def folded(text: str) -> str:
    """In small letters, each in its place, as an expression takes them that does not mind capitals."""
    return text.replace("\u0130", "i").lower().replace("\u0131", "i").replace("\u017f", "s")


def spellings(expression: str) -> list[str]:
    """All that an expression of letters, groups, sets and `?` stands for."""
    found, end = _alternatives(expression, 0)
    assert end == len(expression), f"{expression} closes what it did not open"
    return found


def _joined(ways: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    """One expression with a group for each word, in their order."""
    return re.compile("|".join(rf"(\b(?:{'|'.join(way)})(?!\w))" for way in ways.values()), re.IGNORECASE)


def _heads(expression: str) -> set[str]:
    """The words with which it can begin."""
    return {match[0] for spelling in spellings(folded(expression)) if (match := _FIRST.match(spelling))}


def _alternatives(expression: str, at: int) -> tuple[list[str], int]:
    """What is spelt from there to the end of the group, and where that is."""
    found: list[str] = []
    said = [""]
    while at < len(expression) and expression[at] != ")":
        if expression[at] == "|":
            found, said, at = found + said, [""], at + 1
            continue
        pieces, at = _piece(expression, at)
        if expression[at : at + 1] == "?":
            pieces, at = [*pieces, ""], at + 1
        said = [one + piece for one in said for piece in pieces]
    return found + said, at


def _piece(expression: str, at: int) -> tuple[list[str], int]:
    """What one letter, set or group may be."""
    letter = expression[at]
    if letter == "(":
        assert expression.startswith(("(?:", "(?-i:"), at), f"{expression[at:]} looks elsewhere"
        found, end = _alternatives(expression, expression.index(":", at) + 1)
        return found, end + 1
    if letter == "[":
        end = expression.index("]", at)
        return list(expression[at + 1 : end]), end + 1
    if letter == "\\":
        return [expression[at + 1]], at + 2
    assert letter not in "*+{.^$", f"{letter} may stand for anything"
    return [letter], at + 1
