"""How one question became another: which words of content it kept, changed, lost and won.

The minimal-edit rule lives on this: two sentences that are equal but for a word or two ask for different things,
unless that word is a known synonym, an inflection or a slip.
"""

from collections import Counter
from enum import StrEnum

from msgspec import Struct

from enginehouse.core.cache.semantic.lexicon import exists, likely_typo, same_meaning
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
    names = {*stored.names, *asked.names}
    free = dict.fromkeys(won)
    for one in dict.fromkeys(lost):
        found = next((other for other in free if _means_the_same(one, other, names)), None)
        if found is not None:
            partners[one] = found
            del free[found]
    return partners


def _means_the_same(one: str, other: str, names: set[str]) -> bool:
    if one[0] in "#§" or other[0] in "#§":
        return False
    if same_meaning(one, other) or _derived(one, other) or _derived(other, one):
        return True
    return not names & {one, other} and likely_typo(one, other)


def _derived(base: str, word: str) -> bool:
    """`withdraw` and `withdrawal`, `wireless` and `wirelessly`: the one is the other with an ending."""
    if len(base) < _LONG_ENOUGH or not exists(base):
        return False
    root = base.removesuffix("e")
    return any(word in (base + ending, root + ending) for ending in _NOUN_ENDINGS)


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
