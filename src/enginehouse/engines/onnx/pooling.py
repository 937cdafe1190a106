"""From token vectors to one unit vector a text: arrays in, arrays out."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from enginehouse.engines.onnx.folder import Pooling

__all__ = ["Floats", "Ints", "normalise", "pool"]

Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]


def pool(states: Floats, mask: Ints, modes: Sequence[Pooling]) -> Floats:
    """Token vectors `[text, token, size]` under a mask `[text, token]` become text vectors `[text, size]`.

    Several modes are laid end to end, so that `size` grows with their number.
    """
    return np.concatenate([pool_one(states, mask, mode) for mode in modes], axis=1)


def pool_one(states: Floats, mask: Ints, mode: Pooling) -> Floats:
    """One mode's vectors; padding is right of the text and counts for nothing."""
    rows = np.arange(len(states))
    lengths = mask.sum(axis=1)
    weights = mask.astype(np.float32)
    match mode:
        case Pooling.CLS:
            return states[:, 0]
        case Pooling.LAST:
            return states[rows, lengths - 1]
        case Pooling.MAX:
            return np.where(mask[:, :, None] > 0, states, -np.inf).max(axis=1).astype(np.float32)
        case Pooling.MEAN:
            return total(states, weights) / lengths[:, None].astype(np.float32)
        case Pooling.MEAN_SQRT_LEN:
            return total(states, weights) / np.sqrt(lengths)[:, None].astype(np.float32)
        case Pooling.WEIGHTED_MEAN:
            weights *= np.arange(1, mask.shape[1] + 1, dtype=np.float32)
            return total(states, weights) / weights.sum(axis=1, keepdims=True)


def total(states: Floats, weights: Floats) -> Floats:
    """The weighted sum over a text's tokens."""
    return np.einsum("btd,bt->bd", states, weights, optimize=False)


def normalise(vectors: Floats) -> Floats:
    """Rows of unit length; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
