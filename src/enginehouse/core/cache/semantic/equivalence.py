"""Whether two answers say the same: what an audit is judged by. Pure; it may also say that it does not know."""

from enginehouse.core.cache.semantic.lexicon import content_of, words_in
from enginehouse.core.cache.semantic.quantities import find_quantities
from enginehouse.core.cache.semantic.words import NEGATIONS

__all__ = ["equivalent"]

_FEW = 6
"""Words of content up to which an answer has to say the very same ones."""
_ALIKE, _UNLIKE = 0.85, 0.5
"""Cosines of two answers from which they say the same, and up to which they do not."""
_SHARED = 0.5
"""Part of both answers' words that are in both, from which they say the same when the cosine does not tell."""


def equivalent(kept: str, fresh: str, cosine: float | None) -> bool | None:
    """Whether a kept answer says what the model says now; None when that cannot be told.

    Args:
        cosine: of the two answers; None when there is no embedder.
    """
    if words_in(kept) == words_in(fresh):
        return True
    if _verdict(kept) != _verdict(fresh) or _numbers_differ(kept, fresh):
        return False
    one, other = content_of(kept), content_of(fresh)
    if min(len(one), len(other)) <= _FEW:
        return one == other or _within(one, other, cosine)
    if cosine is not None and (cosine >= _ALIKE or cosine <= _UNLIKE):
        return cosine >= _ALIKE
    return True if len(one & other) >= _SHARED * len(one | other) else None


def _verdict(answer: str) -> str:
    """The yes or no that an answer begins with; and whether a short one denies."""
    words = words_in(answer)
    first = words[0] if words and words[0] in ("yes", "no") else ""
    denies = len(words) <= 2 * _FEW and not NEGATIONS.isdisjoint(words)
    return first or ("no" if denies else "")


def _numbers_differ(kept: str, fresh: str) -> bool:
    """Each holds a number that the other does not."""
    one = {spelling for _, _, spelling in find_quantities(kept)}
    other = {spelling for _, _, spelling in find_quantities(fresh)}
    return bool(one - other) and bool(other - one)


def _within(one: frozenset[str], other: frozenset[str], cosine: float | None) -> bool | None:
    """A short answer inside a longer one: `Lisbon`, and `The capital is Lisbon`."""
    smaller, larger = sorted((one, other), key=len)
    if smaller and smaller <= larger:
        return True
    if not smaller & larger:
        return False
    return None if cosine is None else True if cosine >= _ALIKE else None
