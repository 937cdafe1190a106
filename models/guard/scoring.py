"""Models as the service runs them: folders opened by its own engine, so that what is measured is what answers.

Every window is a run of its own, since with 8-bit activations its company changes a text's scores a little. Scores
are kept, a hundred texts a piece: what has been scored once by the same files is not scored again.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from enginehouse.engines.onnx import open_classifier
from enginehouse.engines.onnx.classifier import OnnxClassifier
from models.guard.kept import digest, keep, kept
from models.guard.labels import BENIGN, LABELS
from models.guard.packages import WHEELS
from models.guard.quality import Scores

__all__ = ["scorer"]

SCORES = WHEELS.parent / "scores"
"""Where they are kept."""

PIECE = 100
"""Texts whose scores are kept together."""

SAID = 60.0
"""Seconds of silence while a slow model is measured."""


def scorer(folder: Path) -> Callable[[Sequence[str]], Scores]:
    """Probabilities in the order of our labels; of a model that knows attacks only, all on the first."""

    def score(texts: Sequence[str]) -> Scores:
        return asyncio.run(_scores(folder, texts))

    return score


async def _scores(folder: Path, texts: Sequence[str]) -> Scores:
    files = digest(folder / "model.onnx", folder / "tokenizer.json")
    pieces = [texts[first : first + PIECE] for first in range(0, len(texts), PIECE)]
    found: list[Scores] = []
    said = time.monotonic()
    async with open_classifier(folder, batch_tokens=1) as classifier:
        for number, piece in enumerate(pieces):
            source = digest(files, *piece)
            file = SCORES / files[:16] / f"{source[:16]}.npy"
            if not kept(file, source):
                scores = await _score(classifier, piece)
                keep(file, source, lambda path, scores=scores: _write(path, scores))
            found.append(np.load(file))
            if time.monotonic() - said > SAID:
                said = time.monotonic()
                print(f"{folder.name}: {number + 1} of {len(pieces)} hundred texts", flush=True)
    return np.concatenate(found)


def _write(path: Path, scores: Scores) -> None:
    with path.open("wb") as file:
        np.save(file, scores)


async def _score(classifier: OnnxClassifier, texts: Sequence[str]) -> Scores:
    said = await classifier.classify(texts)
    rows = np.array(said.scores, dtype=np.float64)
    if tuple(said.labels) == LABELS:
        return rows
    benign = said.labels.index(said.neutral or BENIGN)
    found = np.zeros((len(texts), len(LABELS)))
    found[:, -1], found[:, 0] = rows[:, benign], 1.0 - rows[:, benign]
    return found
