"""What is known of English words: base forms, which mean the same, which the opposite, and which exist at all.

The lists beside this module come from WordNet 3.0 (made by `bench/cache/lexicon.py`), those named `own_` from us.
Other languages have no lists: there every word stands for itself, which makes the cache stricter, not looser.
"""

import gzip
import re
from collections import defaultdict
from collections.abc import Container, Iterator
from functools import cache, lru_cache
from importlib.resources import files
from itertools import combinations

from enginehouse.core.cache.semantic.words import SMALL

__all__ = [
    "MOST_SLIPS",
    "all_with_same_meaning",
    "any_opposite",
    "content_of",
    "exists",
    "letters_in",
    "likely_typo",
    "near_in_letters",
    "opposite",
    "read_lists",
    "same_meaning",
    "stem",
    "words_in",
]

_WORD = re.compile(r"[^\W_]+")
_PACKAGE = "enginehouse.core.cache.semantic"
_VOWELS = frozenset("aeiouy")
_SHORTEST_TYPO = 4
"""Letters a word needs for one wrong among them to be called a slip."""
_TWO_SLIPS = 9
"""Letters from which a word may hold two slips."""
MOST_SLIPS = 2
_PREFIXES = ("un", "in", "im", "ir", "il", "non", "dis", "de", "mis")
"""Of denial."""


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """The base form of a word in small letters: `children` → `child`, `booked` → `book`, `fees` → `fee`."""
    if word in _forms():
        return _forms()[word]
    if not word.isascii() or len(word) <= 3:
        return word
    return next((base for base in _bases(word) if base in _words()), _shortened(word))


def content_of(text: str) -> frozenset[str]:
    """Stems of the words of a text that carry content, in no order."""
    return frozenset(stem(word) for word in words_in(text) if word not in SMALL)


def words_in(text: str) -> list[str]:
    """Its words in small letters."""
    return [word.casefold() for word in _WORD.findall(text)]


def same_meaning(one: str, other: str) -> bool:
    """Whether two stems are known to mean the same."""
    return other in _synonyms().get(one, ()) and not opposite(one, other)


def opposite(one: str, other: str) -> bool:
    """Whether two stems are known to mean the opposite, or differ by a prefix that says so."""
    return other in _antonyms().get(one, ()) or _prefixed(one, other) or _prefixed(other, one)


def exists(word: str) -> bool:
    """Whether it is an English word, or a form of one."""
    return word in SMALL or word in _words() or stem(word) in _words()


def all_with_same_meaning(one: str, others: Container[str]) -> list[str]:
    """Those among other stems that are known to mean the same."""
    return [other for other in _synonyms().get(one, ()) if other in others and not opposite(one, other)]


def any_opposite(one: str, others: Container[str]) -> bool:
    """Whether one among other stems is the opposite."""
    prefixed = [f"{prefix}{one}" for prefix in _PREFIXES]
    bare = [one.removeprefix(prefix) for prefix in _PREFIXES]
    return any(other in others and opposite(one, other) for other in (*_antonyms().get(one, ()), *prefixed, *bare))


def likely_typo(one: str, other: str) -> bool:
    """Whether one of two words is a slip of the other: near in letters, and only one of them a word at all."""
    return exists(one) != exists(other) and near_in_letters(one, other)


def near_in_letters(one: str, other: str) -> bool:
    """Whether two words begin alike and differ by no more slips than words of their length may hold."""
    shorter = min(len(one), len(other))
    if shorter < _SHORTEST_TYPO or one[0] != other[0]:
        return False
    return _slips(one, other, MOST_SLIPS if shorter >= _TWO_SLIPS else 1)


def letters_in(word: str) -> int:
    """A bit for each of its letters, some of which share one; a slip changes two at most."""
    bits = 0
    for letter in word:
        bits |= 1 << (ord(letter) % 64)
    return bits


def read_lists() -> None:
    """Read all lists now, some tenths of a second; else whoever needs them first waits for them."""
    for read in (_words, _forms, _synonyms, _antonyms):
        read()


def _prefixed(one: str, other: str) -> bool:
    """Whether `other` is `one` with a prefix of denial; only where both are words."""
    return any(other == prefix + one for prefix in _PREFIXES) and len(one) > 3 and one in _words()


def _bases(word: str) -> Iterator[str]:
    """What a word may be a form of, the likelier first."""
    for ending, replacements in _ENDINGS:
        if word.endswith(ending):
            root = word[: -len(ending)]
            if len(root) >= 2 and not _VOWELS.isdisjoint(root):
                lost = ending in ("ing", "ed") and _wants_e(root)
                yield from (
                    root + replacement for replacement in (reversed(replacements) if lost else replacements)
                )
                if ending in ("ing", "ed") and len(root) > 3 and root[-1] == root[-2]:
                    yield root[:-1]


_ENDINGS = (
    ("ies", ("y", "ie")),
    ("sses", ("ss",)),
    ("xes", ("x",)),
    ("ches", ("ch",)),
    ("shes", ("sh",)),
    ("oes", ("o", "oe")),
    ("ing", ("", "e")),
    ("ied", ("y",)),
    ("ed", ("", "e")),
    ("s", ("",)),
)
"""Endings and what stands in their place; after a double consonant it is halved where only that makes a word."""


def _wants_e(root: str) -> bool:
    """`mak` and `fil` lost an e, `book` and `track` did not: one vowel before one consonant."""
    return len(root) >= 2 and root[-1] not in _VOWELS and root[-2] in _VOWELS and root[-3:-2] not in _VOWELS


def _shortened(word: str) -> str:
    """An unknown word without its plural s."""
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _slips(one: str, other: str, most: int) -> bool:
    """Whether at most 1 or 2 letters are wrong, missing, too many or changed places (optimal string alignment)."""
    if abs(len(one) - len(other)) > most:
        return False
    one, other = _apart(one, other)
    if not one or not other:
        return True
    if most == 1:
        return len(one) == len(other) == 1 or (len(one) == len(other) == 2 and one == other[::-1])
    return _alignment(one, other, most) <= most


def _apart(one: str, other: str) -> tuple[str, str]:
    """Without the letters with which both begin, and those with which both end."""
    begin, end, shorter = 0, 0, min(len(one), len(other))
    while begin < shorter and one[begin] == other[begin]:
        begin += 1
    while end < shorter - begin and one[-1 - end] == other[-1 - end]:
        end += 1
    return one[begin : len(one) - end], other[begin : len(other) - end]


def _alignment(one: str, other: str, most: int) -> int:
    """Slips between two words; some number above `most` where there are more."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, theirs in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != theirs))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == theirs:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
        if min(row) > most and min(before) >= most:
            break
    return row[-1]


def _lines(name: str) -> Iterator[list[str]]:
    text = (files(_PACKAGE) / "data" / f"{name}.txt").read_text("utf-8")
    return (line.split() for line in text.splitlines() if line)


def _related(*names: str) -> dict[str, frozenset[str]]:
    """Words on one line belong together, as they stand and as stems."""
    related: dict[str, set[str]] = defaultdict(set)
    for name in names:
        for line in _lines(name):
            for one, other in combinations(dict.fromkeys((*line, *map(stem, line))), 2):
                related[one].add(other)
                related[other].add(one)
    return {word: frozenset(others) for word, others in related.items()}


@cache
def _synonyms() -> dict[str, frozenset[str]]:
    return _related("synonyms", "own_synonyms")


@cache
def _antonyms() -> dict[str, frozenset[str]]:
    return _related("antonyms", "own_antonyms")


@cache
def _forms() -> dict[str, str]:
    return dict(_lines("forms")) | {
        "news": "news",
        "series": "series",
        "species": "species",
    }


@cache
def _words() -> frozenset[str]:
    packed = (files(_PACKAGE) / "data" / "words.gz").read_bytes()
    return frozenset(gzip.decompress(packed).decode().split("\n"))
