"""Models as the service runs them: folders opened by its own engine, so that what is measured is what answers."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from enginehouse.engines.onnx import open_classifier
from models.guard.labels import BENIGN, LABELS
from models.guard.quality import Scores

__all__ = ["scorer"]


def scorer(folder: Path) -> Callable[[Sequence[str]], Scores]:
    """Probabilities in the order of our labels; of a model that knows attacks only, all on the first."""

    def score(texts: Sequence[str]) -> Scores:
        return asyncio.run(_scores(folder, texts))

    return score


async def _scores(folder: Path, texts: Sequence[str]) -> Scores:
    async with open_classifier(folder) as classifier:
        said = await classifier.classify(texts)
    rows = np.array(said.scores, dtype=np.float64)
    if tuple(said.labels) == LABELS:
        return rows
    benign = said.labels.index(said.neutral or BENIGN)
    found = np.zeros((len(texts), len(LABELS)))
    found[:, -1], found[:, 0] = rows[:, benign], 1.0 - rows[:, benign]
    return found
