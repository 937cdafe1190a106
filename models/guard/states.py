"""What is learnt from, as the layers that learn see it: those below stay as published, so they run once a text."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.guard.data import DATA, load
from models.guard.kept import digest, keep, kept
from models.guard.labels import LABELS
from models.guard.network import Guard
from models.guard.packages import HERE
from models.guard.tokens import read, windows

__all__ = ["Set", "coarsely", "source_of"]

STATES = DATA.parent / "states"
"""Where they are kept: 600 MB for the whole of what is learnt from."""

WINDOWS = 2
"""Windows of one text that are learnt from; of what is measured, all are read."""
BATCH_TOKENS = 2048
PIECE = 40
"""Batches whose states are kept together: twenty seconds' work."""


class Set(NamedTuple):
    """Windows of texts: what the lower layers say of them, their token ids, their labels."""

    states: Sequence[Tensor]
    ids: Sequence[Tensor]
    labels: Tensor

    @classmethod
    def of(cls, split: str, guard: Guard, every: int = 1) -> "Set":
        """A whole split, or every so manieth text of it; what was computed before is read."""
        rows = load(split)[::every]
        pieces = [
            (torch.tensor(window), LABELS.index(row.label))
            for row, ids in zip(rows, read([row.text for row in rows]), strict=True)
            for window in windows(ids)[:WINDOWS]
        ]
        ids = [window for window, _ in pieces]
        states = _lower(guard, ids, STATES / f"{split}-{every}", source_of(split, guard.frozen, every))
        return cls(states, ids, torch.tensor([label for _, label in pieces]))

    def groups(self, chance: torch.Generator | None) -> list[list[int]]:
        """Places of windows that run together, in another order each time where there is chance."""
        return _groups([len(ids) for ids in self.ids], chance)

    def batches(self, groups: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """States, ids, mask and labels of each group."""
        for group in groups:
            ids = pad_sequence([self.ids[place] for place in group], batch_first=True)
            states = pad_sequence([self.states[place] for place in group], batch_first=True)
            yield states.float(), ids, (ids != 0).float(), self.labels[group]


def source_of(split: str, frozen: int, every: int) -> str:
    """The digest of all that states are made from: texts, published weights, network."""
    files = (DATA / f"{split}.jsonl", HERE / "requirements-data.txt", HERE / "network.py", HERE / "tokens.py")
    return digest(*files, frozen, every, WINDOWS, BATCH_TOKENS, PIECE)


def _lower(guard: Guard, ids: Sequence[Tensor], folder: Path, source: str) -> list[Tensor]:
    """States after the layers that do not learn, in 16 bits; each piece is kept as soon as it is there."""
    began = time.monotonic()
    states: list[Tensor] = [torch.empty(0)] * len(ids)
    groups = _groups([len(one) for one in ids], None)
    guard.eval()
    for first in range(0, len(groups), PIECE):
        piece, file = groups[first : first + PIECE], folder / f"{first:05}.pt"
        if not kept(file, source):
            keep(file, source, lambda path, piece=piece: torch.save(_computed(guard, ids, piece), path))
            print(
                f"{folder.name}: {first + len(piece)} of {len(groups)}, {time.monotonic() - began:.0f} s",
                flush=True,
            )
        places = [place for group in piece for place in group]
        parts = torch.load(file, weights_only=True).split([len(ids[place]) for place in places])
        for place, rows in zip(places, parts, strict=True):
            states[place] = rows
    return states


def _computed(guard: Guard, ids: Sequence[Tensor], groups: Sequence[Sequence[int]]) -> Tensor:
    """The states of all tokens of all windows of some groups, `[token, width]`."""
    found: list[Tensor] = []
    with torch.no_grad():
        for group in groups:
            padded = pad_sequence([ids[place] for place in group], batch_first=True)
            with coarsely():
                states = guard.lower(padded, (padded != 0).float()).bfloat16()
            found += [rows[: len(ids[place])] for place, rows in zip(group, states, strict=True)]
    return torch.cat(found)


def coarsely() -> torch.autocast:
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
