"""Which texts run together: near in length, so that little is padding, and few enough to stay small."""

from collections.abc import Iterator, Sequence

__all__ = ["BATCH_TOKENS", "plan"]

BATCH_TOKENS = 512
"""Tokens of one run, padding included. Measured on all-MiniLM-L6-v2 int8 with one thread: larger runs are
slower (they leave the processor's caches) and keep more memory; smaller ones waste the call."""

SPREAD = 1.25
"""How much longer than its shortest text a batch's longest may be."""

SLACK = 8
"""Tokens of padding that are always allowed: two short texts may differ by more than the spread."""


def plan(lengths: Sequence[int], tokens: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Batches of indices into `lengths`, shortest texts first; every index comes once.

    A text longer than `tokens` runs alone.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        longest = lengths[index]
        if batch and not fits(lengths[batch[0]], longest, len(batch) + 1, tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def fits(shortest: int, longest: int, rows: int, tokens: int) -> bool:
    """Whether a batch of these lengths is worth one run."""
    return rows * longest <= tokens and longest <= shortest * SPREAD + SLACK
