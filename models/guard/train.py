"""Trains the upper layers of the encoder, the head and the word pairs; half an hour on two cores.

The head and the pairs learn alone and together, so that neither leans on the other. A run that is broken off goes
on where it was, with the same chances as if it had not been.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional

from models.guard.data import SEED
from models.guard.kept import digest, keep, kept
from models.guard.labels import BENIGN, LABELS
from models.guard.network import FROZEN, LAYERS, Guard, pretrained
from models.guard.packages import HERE, WHEELS
from models.guard.states import Set, coarsely, source_of

__all__ = ["RUNS", "main"]

RUNS = WHEELS.parent / "runs"
"""Where candidates are kept."""

DROPPED = 0.1
"""Share of tokens that the pairs do not see while learning, so that no single word decides."""
PAIRS_WEIGHT = 1e-4
"""How much a large weight of a word or a pair costs."""
SAVED = 120.0
"""Seconds of learning that are lost at most when a run is broken off."""
NOT_YET = 75
"""The exit code of a run that has to be gone on with."""


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
        seen = [guard.upper(states, mask) for states, _, mask, _ in learnt.batches(learnt.groups(None)[::10])]
    features = torch.cat(seen)
    guard.centre.copy_(features.mean(0))
    guard.spread.copy_(features.std(0) + 1e-3)


class Course:
    """One run of learning, that can be left after any batch and gone on with: Adam, slower and slower.

    Args:
        guard: learns.
        learnt: what it learns from.
        epochs: how often.
        file: where the run stands.
        source: the digest of all that it depends on; a file of another one is not gone on with.
    """

    def __init__(self, guard: Guard, learnt: Set, epochs: int, file: Path, source: str) -> None:
        self._guard, self._learnt, self._epochs = guard, learnt, epochs
        self._file, self._source = file, source
        self._chance = torch.Generator().manual_seed(SEED)
        self._weight = weights(learnt.labels)
        self._steps = epochs * len(learnt.groups(None))
        self._upper = [*guard.layers[guard.frozen :].parameters()]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": self._upper, "lr": 8e-5, "weight_decay": 0.01},
                {
                    "params": [*guard.hidden.parameters(), *guard.head.parameters()],
                    "lr": 1e-3,
                    "weight_decay": 0.0,
                },
                {"params": [guard.pairs.weight], "lr": 2e-2, "weight_decay": 0.0},
            ]
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: min((step + 1) / (0.06 * self._steps), max(1 - step / self._steps, 0.01))
        )
        self._epoch, self._step, self._total, self._order = 0, 0, 0.0, self._chance.get_state()
        self.seconds = 0.0
        """How long it has learnt, in all."""

    def begin(self) -> None:
        """Go on where the last run was left, or start."""
        if not kept(self._file, self._source):
            scaled(self._guard, self._learnt)
            return
        stood: dict[str, Any] = torch.load(self._file, weights_only=True)
        self._guard.load_state_dict(stood["guard"])
        self._optimiser.load_state_dict(stood["optimiser"])
        self._schedule.load_state_dict(stood["schedule"])
        self._chance.set_state(stood["chance"])
        torch.set_rng_state(stood["dropout"])
        self._epoch, self._step, self._total = stood["epoch"], stood["step"], stood["total"]
        self._order, self.seconds = stood["order"], stood["seconds"]
        print(f"goes on at batch {self._step} of epoch {self._epoch + 1}", flush=True)

    def go_on(self, seconds: float) -> bool:
        """Learn for so long; whether it has come to its end."""
        began = saved = time.monotonic()
        before = self.seconds
        self._guard.train()
        while self._epoch < self._epochs:
            for batch in self._left():
                self._learn(*batch)
                now = time.monotonic()
                self.seconds = before + now - began
                if now - saved > SAVED or now - began > seconds:
                    self._save()
                    saved = now
                if now - began > seconds:
                    return False
            mean = self._total * self._epochs / self._steps
            print(f"epoch {self._epoch + 1}: loss {mean:.3f}, {self.seconds:.0f} s", flush=True)
            self._epoch, self._step, self._total, self._order = self._epoch + 1, 0, 0.0, self._chance.get_state()
        self._save()
        return True

    def _left(self) -> Any:
        """The batches of this epoch that have not been learnt from yet."""
        here = self._chance.get_state()
        self._chance.set_state(self._order)
        groups = self._learnt.groups(self._chance)
        if self._step:
            self._chance.set_state(here)
        return self._learnt.batches(groups[self._step :])

    def _learn(self, states: Tensor, ids: Tensor, mask: Tensor, labels: Tensor) -> None:
        guard = self._guard
        seen = mask * (torch.rand(ids.shape, generator=self._chance) >= DROPPED)
        seen[:, 0] = 1.0
        with coarsely():
            meaning = guard.by_features(guard.upper(states, mask)).float()
        pairs = guard.by_pairs(ids, seen)
        loss = sum(
            (
                share * functional.cross_entropy(logits, labels, weight=self._weight, label_smoothing=0.02)
                for share, logits in ((0.4, meaning), (0.4, pairs), (0.4, meaning + pairs))
            ),
            start=PAIRS_WEIGHT * guard.pairs.weight.square().sum(),
        )
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._upper, 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._step += 1
        self._total += loss.item()

    def _save(self) -> None:
        stands = {
            "guard": self._guard.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "chance": self._chance.get_state(),
            "dropout": torch.get_rng_state(),
            "order": self._order,
            "epoch": self._epoch,
            "step": self._step,
            "total": self._total,
            "seconds": self.seconds,
        }
        keep(self._file, self._source, lambda path: torch.save(stands, path))


def checked(guard: Guard, validation: Set) -> dict[str, float]:
    """Macro-F1 over windows, of each half and of both."""
    guard.eval()
    found: dict[str, list[Tensor]] = {"meaning": [], "pairs": [], "both": []}
    truth: list[Tensor] = []
    with torch.no_grad():
        for states, ids, mask, labels in validation.batches(validation.groups(None)):
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
    arguments.add_argument(
        "--minutes",
        type=float,
        default=np.inf,
        help=f"leave after so many, with exit code {NOT_YET}, to be gone on with",
    )
    options = arguments.parse_args()
    told = {name: value for name, value in vars(options).items() if name not in {"name", "minutes"}}
    source = digest(source_of("train", options.frozen, options.every), HERE / "train.py", told)
    weights_file = RUNS / f"{options.name}.pt"
    if kept(weights_file, source):
        print(f"{weights_file.name} has been learnt already")
        return
    began = time.monotonic()
    torch.set_num_threads(2)
    torch.manual_seed(SEED)
    guard = pretrained(options.layers, options.frozen)
    learnt = Set.of("train", guard, options.every)
    print(f"{len(learnt.ids)} windows, {sum(map(len, learnt.ids))} tokens", flush=True)
    course = Course(guard, learnt, options.epochs, RUNS / f"{options.name}.course", source)
    course.begin()
    if not course.go_on(options.minutes * 60 - (time.monotonic() - began)):
        sys.exit(NOT_YET)
    found = {"windows": len(learnt.ids), "seconds": round(course.seconds)}
    found["validation"] = checked(guard, Set.of("validation", guard, options.every))
    print(json.dumps({**told, **found}), flush=True)
    whole = {"layers": options.layers, "frozen": options.frozen, "weights": guard.state_dict()}
    keep(weights_file, source, lambda path: torch.save(whole, path))


if __name__ == "__main__":
    main()
