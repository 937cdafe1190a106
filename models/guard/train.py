"""Trains what reads the encoder's features, and the word pairs beside it; a few minutes on one core.

Both halves learn alone and together, so that neither leans on the other. The encoder stays as it was published.
"""

import argparse
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.guard.data import SEED
from models.guard.features import RUNS, stored
from models.guard.labels import BENIGN, LABELS
from models.guard.network import Guard, pretrained

__all__ = ["main"]

BATCH = 128
DROPPED = 0.1
"""Share of tokens that the pairs do not see while learning, so that no single word decides."""
PAIRS_WEIGHT = 1e-4
"""How much a large weight of a word or a pair costs."""


class Set(NamedTuple):
    """What is learnt from, or checked with."""

    features: Tensor
    ids: Tensor
    labels: Tensor

    @classmethod
    def of(cls, split: str) -> "Set":
        """All of a split that is there."""
        found = stored(split)
        return cls(
            torch.tensor(found["features"].astype(np.float32)),
            torch.tensor(found["ids"].astype(np.int64)),
            torch.tensor(found["labels"].astype(np.int64)),
        )

    def batches(self, chance: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """In another order each time; ids are cut to the longest of a batch."""
        for places in torch.randperm(len(self.labels), generator=chance).split(BATCH):
            ids = self.ids[places]
            width = int((ids != 0).sum(1).max())
            yield self.features[places], ids[:, :width], self.labels[places]


def weights(labels: Tensor) -> Tensor:
    """Rare labels count for more, by the root of how rare they are; benign ones a little more again."""
    counts = Counter(labels.tolist())
    raw = torch.tensor([(len(labels) / counts[label]) ** 0.5 for label in range(len(LABELS))])
    raw[LABELS.index(BENIGN)] *= 1.5
    return raw / raw.mean()


def scaled(guard: Guard, learnt: Set) -> None:
    """Let the head read features of mean 0 and spread 1: that is laid into its first layer, not into the graph."""
    guard.centre.copy_(learnt.features.mean(0))
    guard.spread.copy_(learnt.features.std(0) + 1e-3)


def learn(guard: Guard, learnt: Set, epochs: int) -> None:
    """Adam, slower and slower."""
    chance = torch.Generator().manual_seed(SEED)
    weight = weights(learnt.labels)
    steps = epochs * -(-len(learnt.labels) // BATCH)
    optimiser = torch.optim.Adam(
        [
            {"params": [*guard.hidden.parameters(), *guard.head.parameters()], "lr": 1e-3},
            {"params": [guard.pairs.weight], "lr": 2e-2},
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(1 - step / steps, 0.01))
    guard.train()
    for _ in range(epochs):
        for features, ids, labels in learnt.batches(chance):
            seen = (ids != 0).float()
            kept = seen * (torch.rand(ids.shape, generator=chance) >= DROPPED)
            kept[:, 0] = 1.0
            meaning, pairs = guard.by_features(features), guard.by_pairs(ids, kept)
            loss = sum(
                (
                    share * functional.cross_entropy(logits, labels, weight=weight, label_smoothing=0.02)
                    for share, logits in ((0.4, meaning), (0.4, pairs), (0.4, meaning + pairs))
                ),
                start=PAIRS_WEIGHT * guard.pairs.weight.square().sum(),
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def accuracy(guard: Guard, checked: Set) -> dict[str, float]:
    """Share of windows whose label is found, by each half and by both."""
    guard.eval()
    with torch.no_grad():
        meaning = guard.by_features(checked.features)
        pairs = guard.by_pairs(checked.ids, (checked.ids != 0).float())
    found = {"meaning": meaning, "pairs": pairs, "both": meaning + pairs}
    return {name: float((logits.argmax(1) == checked.labels).float().mean()) for name, logits in found.items()}


def main() -> None:
    """Learn, and keep the weights."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--epochs", type=int, default=12)
    arguments.add_argument("--name", default="guard")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    learnt = Set.of("train")
    guard = pretrained()
    scaled(guard, learnt)
    learn(guard, learnt, options.epochs)
    told: dict[str, Any] = {"windows": len(learnt.labels)}
    if list(RUNS.glob("validation-*.npz")):
        told |= accuracy(guard, Set.of("validation"))
    print(json.dumps(told))
    buffer = io.BytesIO()
    torch.save(guard.state_dict(), buffer)
    (RUNS / f"{options.name}.pt").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
