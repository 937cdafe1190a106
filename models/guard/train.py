"""Trains the upper layers of the encoder, the head and the word pairs; some minutes on two cores.

The head and the pairs learn alone and together, so that neither leans on the other. The lower layers stay as they
were published, so what they say of every text is computed once.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from models.guard.data import SEED, load
from models.guard.labels import BENIGN, LABELS
from models.guard.network import FROZEN, LAYERS, Guard, pretrained
from models.guard.packages import WHEELS
from models.guard.tokens import read, windows

__all__ = ["RUNS", "main"]

RUNS = WHEELS.parent / "runs"
"""Where candidates are kept."""

WINDOWS = 2
"""Windows of one text that are learnt from; of what is measured, all are read."""
BATCH_TOKENS = 2048
DROPPED = 0.1
"""Share of tokens that the pairs do not see while learning, so that no single word decides."""
PAIRS_WEIGHT = 1e-4
"""How much a large weight of a word or a pair costs."""


class Set(NamedTuple):
    """Windows of texts: what the lower layers say of them, their token ids, their labels."""

    states: Sequence[Tensor]
    ids: Sequence[Tensor]
    labels: Tensor

    @classmethod
    def of(cls, split: str, guard: Guard, every: int = 1) -> "Set":
        """A whole split, or every so manieth text of it."""
        rows = load(split)[::every]
        pieces = [
            (torch.tensor(window), LABELS.index(row.label))
            for row, ids in zip(rows, read([row.text for row in rows]), strict=True)
            for window in windows(ids)[:WINDOWS]
        ]
        ids = [window for window, _ in pieces]
        return cls(_lower(guard, ids), ids, torch.tensor([label for _, label in pieces]))

    def batches(self, chance: torch.Generator | None) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """States, ids, mask and labels; texts of like length together, in another order each time."""
        groups = _groups([len(ids) for ids in self.ids], chance)
        for group in groups:
            ids = pad_sequence([self.ids[place] for place in group], batch_first=True)
            states = pad_sequence([self.states[place] for place in group], batch_first=True)
            yield states.float(), ids, (ids != 0).float(), self.labels[group]


def _lower(guard: Guard, ids: Sequence[Tensor]) -> list[Tensor]:
    """States after the layers that do not learn, in 16 bits."""
    states: list[Tensor] = [torch.empty(0)] * len(ids)
    guard.eval()
    with torch.no_grad():
        for group in _groups([len(one) for one in ids], None):
            padded = pad_sequence([ids[place] for place in group], batch_first=True)
            with _coarsely():
                found = guard.lower(padded, (padded != 0).float()).bfloat16()
            for place, rows in zip(group, found, strict=True):
                states[place] = rows[: len(ids[place])].clone()
    return states


def _coarsely() -> torch.autocast:
    """Products in 16 bits, which processors of today do in half the time."""
    return torch.autocast("cpu", torch.bfloat16)


def _groups(lengths: Sequence[int], chance: torch.Generator | None) -> list[list[int]]:
    """Places of windows that run together; lengths are shaken a little where there is chance."""
    shaken = torch.tensor(lengths, dtype=torch.float)
    if chance is not None:
        shaken = shaken * (1 + 0.2 * torch.rand(len(lengths), generator=chance))
    groups: list[list[int]] = [[]]
    for place in shaken.argsort().tolist():
        if groups[-1] and (len(groups[-1]) + 1) * lengths[place] > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(place)
    if chance is None:
        return groups
    return [groups[place] for place in torch.randperm(len(groups), generator=chance)]


def weights(labels: Tensor) -> Tensor:
    """Rare labels count for more, by the root of how rare they are; benign ones a little more again."""
    counts = Counter(labels.tolist())
    raw = torch.tensor([(len(labels) / counts[label]) ** 0.5 for label in range(len(LABELS))])
    raw[LABELS.index(BENIGN)] *= 1.5
    return raw / raw.mean()


def scaled(guard: Guard, learnt: Set) -> None:
    """Let the head read features of mean 0 and spread 1 to begin with; seen at every tenth batch."""
    guard.eval()
    with torch.no_grad():
        seen = [guard.upper(states, mask) for states, _, mask, _ in list(learnt.batches(None))[::10]]
    features = torch.cat(seen)
    guard.centre.copy_(features.mean(0))
    guard.spread.copy_(features.std(0) + 1e-3)


def learn(guard: Guard, learnt: Set, epochs: int) -> None:
    """Adam, faster at first and then slower and slower."""
    chance = torch.Generator().manual_seed(SEED)
    weight = weights(learnt.labels)
    steps = epochs * len(_groups([len(ids) for ids in learnt.ids], None))
    upper = [*guard.layers[guard.frozen :].parameters()]
    optimiser = torch.optim.AdamW(
        [
            {"params": upper, "lr": 8e-5, "weight_decay": 0.01},
            {
                "params": [*guard.hidden.parameters(), *guard.head.parameters()],
                "lr": 1e-3,
                "weight_decay": 0.0,
            },
            {"params": [guard.pairs.weight], "lr": 2e-2, "weight_decay": 0.0},
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / (0.06 * steps), max(1 - step / steps, 0.01))
    )
    guard.train()
    for epoch in range(epochs):
        began, total = time.monotonic(), 0.0
        for states, ids, mask, labels in learnt.batches(chance):
            kept = mask * (torch.rand(ids.shape, generator=chance) >= DROPPED)
            kept[:, 0] = 1.0
            with _coarsely():
                meaning = guard.by_features(guard.upper(states, mask)).float()
            pairs = guard.by_pairs(ids, kept)
            loss = sum(
                (
                    share * functional.cross_entropy(logits, labels, weight=weight, label_smoothing=0.02)
                    for share, logits in ((0.4, meaning), (0.4, pairs), (0.4, meaning + pairs))
                ),
                start=PAIRS_WEIGHT * guard.pairs.weight.square().sum(),
            )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(upper, 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total * epochs / steps:.3f}, {time.monotonic() - began:.0f} s", flush=True)


def checked(guard: Guard, validation: Set) -> dict[str, float]:
    """Macro-F1 over windows, of each half and of both."""
    guard.eval()
    found: dict[str, list[Tensor]] = {"meaning": [], "pairs": [], "both": []}
    truth: list[Tensor] = []
    with torch.no_grad():
        for states, ids, mask, labels in validation.batches(None):
            meaning, pairs = guard.by_features(guard.upper(states, mask)), guard.by_pairs(ids, mask)
            truth.append(labels)
            for name, logits in zip(found, (meaning, pairs, meaning + pairs), strict=True):
                found[name].append(logits.argmax(1))
    right = torch.cat(truth).numpy()
    return {
        name: round(float(np.mean(f1_score(right, torch.cat(said).numpy(), average=None))), 3)
        for name, said in found.items()
    }


def main() -> None:
    """Learn, and keep the weights of one candidate."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--name", default="guard")
    arguments.add_argument("--layers", type=int, default=LAYERS)
    arguments.add_argument("--frozen", type=int, default=FROZEN)
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--every", type=int, default=1, help="learn from every so manieth text, for a try")
    options = arguments.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(SEED)
    began = time.monotonic()
    guard = pretrained(options.layers, options.frozen)
    learnt = Set.of("train", guard, options.every)
    print(
        f"{len(learnt.ids)} windows, {sum(map(len, learnt.ids))} tokens, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    scaled(guard, learnt)
    learn(guard, learnt, options.epochs)
    told = {**vars(options), "windows": len(learnt.ids), "seconds": round(time.monotonic() - began)}
    print(
        json.dumps({**told, "validation": checked(guard, Set.of("validation", guard, options.every))}), flush=True
    )
    RUNS.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"layers": options.layers, "frozen": options.frozen, "weights": guard.state_dict()}, _file(options.name)
    )


def _file(name: str) -> Path:
    return RUNS / f"{name}.pt"


if __name__ == "__main__":
    main()
