"""How one question became another: which words of content it kept, changed, lost and won.

The minimal-edit rule lives on this: two sentences that are equal but for a word or two ask for different things,
unless that word is a known synonym, an inflection or a slip.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice

from msgspec import Struct

from enginehouse.core.cache.semantic.lexicon import (
    MOST_SLIPS,
    all_with_same_meaning,
    exists,
    letters_in,
    near_in_letters,
)
from enginehouse.core.cache.semantic.signature import Signature
from enginehouse.core.cache.semantic.words import LIGHT

__all__ = ["Edit", "EditKind", "compare"]

_FEW = 2
"""Words that a minimal edit may change on either side."""
_NOUN_ENDINGS = ("al", "ment", "ation", "ion", "ing", "ance", "ence", "ly", "ity", "ness", "e", "able")
_LONG_ENOUGH = 4
"""Letters of a base that may take such an ending."""


class EditKind(StrEnum):
    """What happened to the content."""

    EQUAL = "equal"
    """Nothing: the same words in the same order, or a phrase moved from one end to the other."""
    KNOWN = "known"
    """Words were changed for synonyms, other forms of themselves, or slips."""
    LIGHT = "light"
    """Words that say little came or went."""
    REORDERED = "reordered"
    """The same words in another order."""
    EXTRA = "extra"
    """One side says something the other does not."""
    MINIMAL = "minimal"
    """One or two words became others, not known to mean the same."""
    REWORDED = "reworded"
    """Said in other words."""


class Edit(Struct, frozen=True):
    """The difference of two contents."""

    kind: EditKind
    coverage: float
    """Part of the stored question's content that is found in the asked one."""
    recall: float
    """Part of the asked question's content that is found in the stored one."""
    lost: tuple[str, ...] = ()
    """Stems of the stored question without a partner."""
    won: tuple[str, ...] = ()
    """Stems of the asked question without a partner."""
    replaced: int = 0
    """Words with a partner that is spelt otherwise."""


def compare(stored: Signature, asked: Signature) -> Edit:
    """The difference between a stored question and the one that is asked."""
    lost, won = _rest(stored.content, asked.content), _rest(asked.content, stored.content)
    partners = _partners(lost, won, stored, asked)
    for one, other in partners.items():
        lost.remove(one)
        won.remove(other)
    kind = _kind(stored, asked, lost, won, partners)
    return Edit(
        kind=kind,
        coverage=1 - len(lost) / len(stored.content),
        recall=1 - len(won) / len(asked.content),
        lost=tuple(lost),
        won=tuple(won),
        replaced=len(partners),
    )


def _rest(some: tuple[str, ...], others: tuple[str, ...]) -> list[str]:
    """Stems of the one that the other does not have, as often as it does not."""
    return list((Counter(some) - Counter(others)).elements())


def _partners(lost: list[str], won: list[str], stored: Signature, asked: Signature) -> dict[str, str]:
    """Which lost word became which new one, where that is known."""
    partners: dict[str, str] = {}
    free = _Free(won, {*stored.names, *asked.names})
    for one in dict.fromkeys(lost):
        found = free.partner(one)
        if found is not None:
            partners[one] = found
    return partners


class _Free:
    """New words that are no lost one's partner yet.

    To hold every lost word against every new one takes seconds where two long questions share nothing, so each is
    held against those that may be its partner only.

    Args:
        won: new words.
        names: which are no slips.
    """

    def __init__(self, won: list[str], names: set[str]) -> None:
        self._places = {word: place for place, word in enumerate(dict.fromkeys(won))}
        self._names = names
        self._alike: dict[tuple[str, bool], list[tuple[str, int]]] = defaultdict(list)
        """Those that may be slips, or that others may be slips of, by their first letter and whether they exist."""
        for word in self._places:
            if word not in names:
                self._alike[word[0], exists(word)].append((word, letters_in(word)))

    def partner(self, one: str) -> str | None:
        """The first that means the same as a lost word, which is not free any more then."""
        if one[0] in "#§" or not self._places:
            return None
        found = [*all_with_same_meaning(one, self._places), *self._derived(one), *self._slip(one)]
        first = min(found, key=self._places.__getitem__, default=None)
        if first is not None:
            del self._places[first]
        return first

    def _derived(self, one: str) -> Iterator[str]:
        """`withdraw` and `withdrawal`, `wireless` and `wirelessly`: the one is the other with an ending."""
        if _is_base(one):
            root = one.removesuffix("e")
            yield from (
                word for ending in _NOUN_ENDINGS for word in (one + ending, root + ending) if word in self._places
            )
        for ending in _NOUN_ENDINGS:
            if one.endswith(ending):
                root = one.removesuffix(ending)
                yield from (base for base in (root, root + "e") if base in self._places and _is_base(base))

    def _slip(self, one: str) -> Iterator[str]:
        """The first of which it is a slip, or which is one of it."""
        if one not in self._names:
            letters = letters_in(one)
            alike = (
                word
                for word, others in self._alike.get((one[0], not exists(one)), ())
                if (letters ^ others).bit_count() <= 2 * MOST_SLIPS
            )
            yield from islice((word for word in alike if word in self._places and near_in_letters(one, word)), 1)


def _is_base(word: str) -> bool:
    return len(word) >= _LONG_ENOUGH and exists(word)


def _kind(
    stored: Signature, asked: Signature, lost: list[str], won: list[str], partners: dict[str, str]
) -> EditKind:
    if lost or won:
        return _unequal(stored, asked, lost, won)
    became = tuple(partners.get(stem, stem) for stem in stored.content)
    if became != asked.content and not (_fronted(stored, asked) and _turned(became, asked.content)):
        return EditKind.REORDERED
    return EditKind.KNOWN if partners else EditKind.EQUAL


def _unequal(stored: Signature, asked: Signature, lost: list[str], won: list[str]) -> EditKind:
    shared = min(len(stored.content) - len(lost), len(asked.content) - len(won))
    if not lost or not won:
        if {*lost, *won} <= LIGHT:
            return EditKind.LIGHT
        return EditKind.EXTRA if shared else EditKind.REWORDED
    few = len(lost) <= _FEW and len(won) <= _FEW
    return EditKind.MINIMAL if few and shared >= max(len(lost), len(won)) else EditKind.REWORDED


def _fronted(stored: Signature, asked: Signature) -> bool:
    """Whether one of them begins with the phrase that the other may end with: `on trains, …`."""
    return stored.fronted or asked.fronted


def _turned(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the one is the other, begun at another place."""
    return len(one) == len(other) and any(one[n:] + one[:n] == other for n in range(len(one)))
