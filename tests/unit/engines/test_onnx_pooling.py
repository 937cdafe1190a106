"""From token vectors to one vector a text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from enginehouse.engines.onnx.folder import Pooling
from enginehouse.engines.onnx.pooling import normalise, pool

STATES = np.array([[[1, 8], [3, 2], [99, 99]], [[2, 4], [4, 6], [6, 2]]], dtype=np.float32)
MASK = np.array([[1, 1, 0], [1, 1, 1]], dtype=np.int64)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Pooling.CLS, [[1, 8], [2, 4]]),
        (Pooling.LAST, [[3, 2], [6, 2]]),
        (Pooling.MAX, [[3, 8], [6, 6]]),
        (Pooling.MEAN, [[2, 5], [4, 4]]),
        (Pooling.MEAN_SQRT_LEN, [[4 / 2**0.5, 10 / 2**0.5], [12 / 3**0.5, 12 / 3**0.5]]),
        (Pooling.WEIGHTED_MEAN, [[7 / 3, 4], [28 / 6, 22 / 6]]),
    ],
)
def test_padding_counts_for_nothing(mode, expected):
    assert pool(STATES, MASK, [mode]) == pytest.approx(np.array(expected))


def test_several_modes_are_laid_end_to_end():
    assert pool(STATES, MASK, [Pooling.CLS, Pooling.LAST]).tolist() == [[1, 8, 3, 2], [2, 4, 6, 2]]


@given(arrays(np.float32, (3, 5), elements=st.floats(-1e6, 1e6, width=32)))
def test_rows_have_length_one_or_none(vectors):
    lengths = np.linalg.norm(normalise(vectors), axis=1)
    assert all(
        length == pytest.approx(1, abs=1e-4) or (length < 1 and not v.any()) or np.abs(v).max() < 1e-18
        for length, v in zip(lengths, vectors, strict=True)
    )
