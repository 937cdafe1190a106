"""Which texts run together."""

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.onnx.batches import SLACK, SPREAD, plan

lengths = st.lists(st.integers(1, 600), max_size=80)


@given(lengths, st.integers(1, 2000))
def test_every_text_runs_once(lengths, tokens):
    assert sorted(index for batch in plan(lengths, tokens) for index in batch) == list(range(len(lengths)))


@given(lengths, st.integers(1, 2000))
def test_a_batch_is_small_and_of_like_lengths(lengths, tokens):
    for batch in plan(lengths, tokens):
        sizes = [lengths[index] for index in batch]
        assert len(batch) == 1 or len(batch) * max(sizes) <= tokens
        assert max(sizes) <= min(sizes) * SPREAD + SLACK


def test_short_texts_share_a_run():
    assert list(plan([3, 4, 3, 5])) == [[0, 2, 1, 3]]


def test_a_long_text_does_not_pad_the_short_ones():
    assert list(plan([200, 3, 4])) == [[1, 2], [0]]
