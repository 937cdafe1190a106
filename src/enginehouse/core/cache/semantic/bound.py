"""How often hits are wrong, as surely as a number of labels can show: exact binomial statistics, nothing else.

A label is one hit of which it is known whether its answer was wrong.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

__all__ = ["CONFIDENCE", "at_most", "fixed_sequence", "interval", "needed", "upper"]

CONFIDENCE = 0.95
_NOTHING = 1e-17
_STEPS = 50
"""Halvings of an interval: more than a float has bits for."""


def at_most(wrong: int, labels: int, rate: float) -> float:
    """Probability that of so many labels at most `wrong` are wrong, when each is with probability `rate`."""
    if wrong >= labels or rate <= 0:
        return 1.0
    if rate >= 1:
        return 0.0
    if wrong <= labels * rate:
        return _tail(wrong, labels, rate)
    return 1 - _tail(labels - wrong - 1, labels, 1 - rate)


def upper(wrong: int, labels: int, confidence: float = CONFIDENCE) -> float:
    """Clopper and Pearson's one-sided bound: the true rate is at most this with the confidence."""
    if wrong >= labels:
        return 1.0
    return _root(lambda rate: at_most(wrong, labels, rate) > 1 - confidence)


def interval(wrong: int, labels: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper and Pearson's two-sided interval of the true rate; everything, where there are no labels."""
    if labels == 0:
        return 0.0, 1.0
    half = (1 - confidence) / 2
    low = 0.0 if wrong == 0 else _root(lambda rate: at_most(wrong - 1, labels, rate) > 1 - half)
    return low, upper(wrong, labels, 1 - half)


def needed(rate: float, confidence: float = CONFIDENCE) -> int:
    """How many labels, none of them wrong, show that the rate is at most this."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-rate))


def fixed_sequence(
    labels: Sequence[tuple[float, bool]],
    rungs: Sequence[float],
    max_error: float,
    confidence: float = CONFIDENCE,
) -> float | None:
    """The loosest threshold under which hits are shown to be wrong no more often than allowed.

    The rungs are tried one after the other, the strictest first, and the walk ends at the first that the labels do
    not bear out; so the confidence holds for the one that is chosen, however many there are ("learn then test":
    Angelopoulos and others, 2021). Rungs with too few labels to show anything are passed over: that is seen without
    looking at what the labels say.

    Args:
        labels: of each would-be hit, the probability of being wrong it was given, and whether it was.
        rungs: thresholds, chosen before the labels were seen.
        max_error: most P(wrong | hit).
        confidence: with which that is to hold.

    Returns:
        Hits are served when their probability is at most this; None when nothing may be.
    """
    ordered = sorted(labels)
    probabilities = [probability for probability, _ in ordered]
    wrongs = [0, *accumulate(was_wrong for _, was_wrong in ordered)]
    least, accepted = needed(max_error, confidence), None
    for rung in sorted(rungs):
        count = bisect_right(probabilities, rung)
        if count < least:
            continue
        if at_most(wrongs[count], count, max_error) > 1 - confidence:
            break
        accepted = rung
    return accepted


def _tail(wrong: int, labels: int, rate: float) -> float:
    """The same, below the mean, where each term is smaller than the one before."""
    logarithm = _chosen(labels, wrong) + wrong * math.log(rate) + (labels - wrong) * math.log1p(-rate)
    term = total = math.exp(logarithm)
    for k in range(wrong, 0, -1):
        term *= k * (1 - rate) / ((labels - k + 1) * rate)
        total += term
        if term < total * _NOTHING:
            break
    return min(1.0, total)


def _chosen(labels: int, wrong: int) -> float:
    """Logarithm of the number of ways to choose."""
    return math.lgamma(labels + 1) - math.lgamma(wrong + 1) - math.lgamma(labels - wrong + 1)


def _root(low_enough: Callable[[float], bool]) -> float:
    """The largest rate that is low enough."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if low_enough(middle) else (low, middle)
    return high
