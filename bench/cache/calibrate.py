"""Learns when the semantic cache may serve; `python -m bench.cache.calibrate` writes what the package ships.

Labels: one half of fow-cache's questions, and generated pairs of one half of the intents; the other halves are
never seen here. Of the labels one part teaches the weights and another, unseen by them, the thresholds.
"""

import random
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.cache.data import questions
from bench.cache.minds import MODEL, Floats, embed_all
from bench.cache.pairs import Pair, generate
from bench.processes import ROOT
from enginehouse.core.cache.semantic.bound import fixed_sequence
from enginehouse.core.cache.semantic.edit import compare
from enginehouse.core.cache.semantic.lexicon import content_of
from enginehouse.core.cache.semantic.scorer import FEATURES, Calibration, features, rungs
from enginehouse.core.cache.semantic.signature import Signature, sign
from enginehouse.core.cache.semantic.vetoes import vetoes

__all__ = ["Looked", "look", "main"]

TARGET = ROOT / "src" / "enginehouse" / "core" / "cache" / "semantic" / "calibration.json"
FLOOR = 0.5
"""Slips of the pen move a question that far; what differs in more than letters has a weight of its own."""
GENERATED, SEED = 10_000, 7
BOUNDS = (0.05, 0.02, 0.01, 0.005, 0.002)

Doubles = NDArray[np.float64]

_POOL = 2000
_RIDGE = 1.0
"""How much the weights are held back; the only choice of the fit."""
_ROUNDS = 50


class Looked(msgspec.Struct, frozen=True):
    """What the cache sees of a pair."""

    pair: Pair
    cosine: float
    values: tuple[float, ...] | None
    """Features; None when it was vetoed, or is no candidate at all."""


def look(pairs: Sequence[Pair], *, floor: float = FLOOR) -> list[Looked]:
    """Sign, embed and compare pairs, as the cache does."""
    signed = [(sign(pair.stored), sign(pair.asked)) for pair in pairs]
    cores = [[one.core if one else "" for one in column] for column in zip(*signed, strict=True)]
    stored, asked = embed_all(cores[0]), embed_all(cores[1])
    cosines = np.einsum("ij,ij->i", stored, asked)
    margins = cosines - _next_nearest(stored, asked, [one for one, _ in signed])
    return [
        Looked(
            pair,
            float(cosine),
            _values(pair, *both, float(cosine), float(margin), number) if cosine >= floor else None,
        )
        for number, (pair, both, cosine, margin) in enumerate(zip(pairs, signed, cosines, margins, strict=True))
    ]


def _values(
    pair: Pair, stored: Signature | None, asked: Signature | None, cosine: float, margin: float, number: int
) -> tuple[float, ...] | None:
    """Features; the answer is known for every second pair only, as it may be in life."""
    if stored is None or asked is None:
        return None
    edit = compare(stored, asked)
    if vetoes(stored, asked, edit):
        return None
    answer = content_of(pair.answer) if pair.answer and number % 4 < 2 else None
    return features(stored, asked, edit, cosine=cosine, margin=margin, answer=answer)


def _next_nearest(stored: Floats, asked: Floats, signatures: Sequence[Signature | None]) -> Floats:
    """Cosine of each asked question to the nearest stored one of other content, in a scope of some thousands."""
    contents = [signature.content if signature else () for signature in signatures]
    numbers = {content: number for number, content in enumerate(dict.fromkeys(contents))}
    which = np.array([numbers[content] for content in contents])
    pool = random.Random(1).sample(range(len(stored)), min(_POOL, len(stored)))
    cosines = asked @ stored[pool].T
    cosines[which[:, None] == which[pool][None, :]] = 0
    return cosines.max(axis=1)


def fit(values: Doubles, wrong: Doubles) -> Doubles:
    """Weights of a logistic model in which nothing that speaks against a hit ever speaks for one.

    A weight that would be below zero is left out, and the others are fitted again.
    """
    kept = np.ones(values.shape[1], dtype=bool)
    while True:
        weights = np.zeros(values.shape[1])
        weights[kept] = _newton(values[:, kept], wrong)
        below = weights < 0
        below[0] = False
        if not below.any():
            return weights
        kept &= ~below


def _newton(values: Doubles, wrong: Doubles) -> Doubles:
    weights = np.zeros(values.shape[1])
    held = np.full(values.shape[1], _RIDGE)
    held[0] = 0
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-values @ weights))
        slope = values.T @ (wrong - chance) - held * weights
        curve = (values * (chance * (1 - chance))[:, None]).T @ values + np.diag(held + 1e-9)
        weights = weights + np.linalg.solve(curve, slope)
    return weights.astype(np.float64)


def main() -> None:
    """Fit, find the thresholds, write the file and say what was found."""
    pairs = questions(calibration=True) + generate(GENERATED, calibration=True, seed=SEED)
    random.Random(SEED).shuffle(pairs)
    seen = [one for one in look(pairs) if one.values is not None]
    taught, held = seen[: len(seen) // 3], seen[len(seen) // 3 :]
    truth = np.array([not one.pair.same for one in taught], dtype=np.float64)
    weights = [float(weight) for weight in fit(np.array([one.values for one in taught]), truth)]
    model = Calibration(embedder=MODEL, floor=FLOOR, weights=tuple(weights), thresholds={}, labels=len(held))
    labels = [(model.probability(one.values or ()), not one.pair.same) for one in held]
    thresholds = {f"{bound:g}": fixed_sequence(labels, rungs(bound), bound) for bound in BOUNDS}
    under = [wrong for probability, wrong in labels if probability <= (thresholds["0.01"] or 0)]
    model = msgspec.structs.replace(model, thresholds=thresholds, wrong=sum(under), served=len(under))
    TARGET.write_bytes(msgspec.json.format(msgspec.json.encode(model)) + b"\n")
    for name, weight in zip(FEATURES, weights, strict=True):
        print(f"{weight:8.3f}  {name}")
    print(f"{len(taught)} labels taught, {len(held)} held; thresholds {thresholds}")
    print(f"at 1 %: {len(under)} of {len(held)} would be served, {sum(under)} wrong")


if __name__ == "__main__":
    main()
