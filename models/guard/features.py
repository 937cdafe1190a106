"""What the head reads of every text: the features of the encoder, computed once, with the graph that ships."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from models.guard.data import SEED, load
from models.guard.export import export
from models.guard.labels import LABELS
from models.guard.network import pretrained
from models.guard.packages import WHEELS
from models.guard.tokens import PAD, read, windows

__all__ = ["RUNS", "features_of", "main", "stored"]

RUNS = WHEELS.parent / "runs"
SHARD = 2000
BATCH_TOKENS = 768
WINDOWS = 2
"""Windows of one text that are learnt from; of what is measured, all are read."""


def main() -> None:
    """Write the features of what is learnt from, shard by shard, so that it can be stopped and gone on with."""
    torch.manual_seed(SEED)
    RUNS.mkdir(parents=True, exist_ok=True)
    graph = RUNS / "features.onnx"
    if not graph.is_file():
        export(pretrained(), graph, features=True)
    network = open_graph(graph)
    for split in ("train", "validation"):
        rows = load(split)
        order = np.random.default_rng(SEED).permutation(len(rows))
        for number, start in enumerate(range(0, len(rows), SHARD)):
            file = RUNS / f"{split}-{number:02}.npz"
            if file.is_file():
                continue
            began = time.monotonic()
            some = [rows[place] for place in order[start : start + SHARD]]
            owners, ids = cut([row.text for row in some], WINDOWS)
            labels = np.array([LABELS.index(some[owner].label) for owner in owners])
            sources = np.array([some[owner].source for owner in owners])
            numbers = np.array([start + owner for owner in owners])
            found = features_of(network, ids)
            table = {"features": found.astype(np.float16), "labels": labels, "sources": sources}
            np.savez(file, **table, owners=numbers, ids=pack(ids))
            print(f"{file.name} {len(ids)} windows, {time.monotonic() - began:.0f} s", flush=True)


def open_graph(file: Path) -> Any:
    """One thread, as the service runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def cut(texts: Sequence[str], most: int) -> tuple[list[int], list[list[int]]]:
    """Windows of texts, and to which text each belongs."""
    owners: list[int] = []
    pieces: list[list[int]] = []
    for owner, ids in enumerate(read(texts)):
        for window in windows(ids)[:most]:
            owners.append(owner)
            pieces.append(window)
    return owners, pieces


def features_of(network: Any, ids: Sequence[Sequence[int]], output: str = "features") -> npt.NDArray[np.float32]:
    """A row a window; windows of like length together."""
    rows: list[npt.NDArray[np.float32] | None] = [None] * len(ids)
    for batch in batches(ids):
        width = max(len(ids[place]) for place in batch)
        given = np.full((len(batch), width), PAD, dtype=np.int64)
        for row, place in enumerate(batch):
            given[row, : len(ids[place])] = ids[place]
        [found] = network.run([output], {"input_ids": given, "attention_mask": (given != PAD).astype(np.int64)})
        for row, place in enumerate(batch):
            rows[place] = found[row]
    return np.stack([row for row in rows if row is not None])


def batches(ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Places of windows that run together."""
    batch: list[int] = []
    for place in sorted(range(len(ids)), key=lambda place: len(ids[place])):
        if batch and len(ids[place]) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def pack(ids: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
    """Windows of any length as one table."""
    table = np.zeros((len(ids), max(map(len, ids))), dtype=np.int32)
    for row, window in enumerate(ids):
        table[row, : len(window)] = window
    return table


def stored(split: str) -> dict[str, npt.NDArray[Any]]:
    """All shards of a split that are there."""
    parts = [np.load(file) for file in sorted(RUNS.glob(f"{split}-*.npz"))]
    width = max(part["ids"].shape[1] for part in parts)
    tables = {name: [part[name] for part in parts] for name in ("features", "labels", "sources", "owners")}
    ids = [np.pad(part["ids"], ((0, 0), (0, width - part["ids"].shape[1]))) for part in parts]
    return {name: np.concatenate(table) for name, table in {**tables, "ids": ids}.items()}


if __name__ == "__main__":
    main()
