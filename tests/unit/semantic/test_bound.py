"""The statistics of the promise: exact, conservative, and only as loose as the labels allow."""

import random
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.core.cache.semantic.bound import at_most, fixed_sequence, interval, needed, upper

RUNGS = [n / 100 for n in range(1, 100)]
rates = st.floats(0.001, 0.5)
counts = st.integers(1, 400)


@given(counts, st.integers(0, 400), rates)
def test_the_tail_is_the_binomials_own(labels, wrong, rate):
    wrong = min(wrong, labels)
    exact = sum(comb(labels, k) * rate**k * (1 - rate) ** (labels - k) for k in range(wrong + 1))
    assert at_most(wrong, labels, rate) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@given(counts, st.integers(0, 400), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_bound_is_where_the_tail_says(labels, wrong, confidence):
    wrong = min(wrong, labels)
    bound = upper(wrong, labels, confidence)
    assert wrong / labels <= bound <= 1
    if wrong < labels:
        assert at_most(wrong, labels, bound) == pytest.approx(1 - confidence, rel=1e-6)


@given(counts, st.integers(0, 400))
def test_the_interval_holds_what_was_seen(labels, wrong):
    wrong = min(wrong, labels)
    low, high = interval(wrong, labels)
    assert 0 <= low <= wrong / labels <= high <= 1


def test_known_values():
    assert interval(0, 0) == (0, 1)
    assert interval(4, 40) == pytest.approx((0.027925, 0.236637), abs=1e-6)
    assert upper(0, 299) < 0.01 < upper(0, 298)
    assert [needed(rate) for rate in (0.05, 0.02, 0.01, 0.005, 0.001)] == [59, 149, 299, 598, 2995]


@given(rates, st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_the_bound_covers_the_truth_as_often_as_it_says(rate, seed):
    chance = random.Random(seed)
    draws = [sum(chance.random() < rate for _ in range(100)) for _ in range(400)]
    bounds = {wrong: upper(wrong, 100) for wrong in set(draws)}
    covered = sum(bounds[wrong] >= rate for wrong in draws)
    assert covered >= 0.95 * 400 - 4 * (0.05 * 0.95 * 400) ** 0.5


def test_a_threshold_is_too_loose_no_more_often_than_one_time_in_twenty():
    """Truth: who is given p is wrong with p/2, and p is the half of a square: at most 2 % are wrong up to 0.12."""
    chance, too_loose, found = random.Random(3), 0, 0
    for _ in range(80):
        given = [chance.random() ** 2 * 0.5 for _ in range(2000)]
        labels = [(p, chance.random() < p / 2) for p in given]
        threshold = fixed_sequence(labels, RUNGS, 0.02)
        found += threshold is not None
        too_loose += threshold is not None and threshold > 0.12
    assert found > 60
    assert too_loose <= 0.05 * 80 + 3 * (0.05 * 0.95 * 80) ** 0.5


def test_too_few_labels_show_nothing():
    assert fixed_sequence([(0.0, False)] * 298, RUNGS, 0.01) is None
    assert fixed_sequence([(0.0, False)] * 299, RUNGS, 0.01) == RUNGS[-1]
    assert fixed_sequence([], RUNGS, 0.01) is None


def test_the_walk_ends_at_the_first_rung_that_fails():
    good, bad = [(0.1, False)] * 400, [(0.3, True)] * 20
    assert fixed_sequence([*good, *bad, *([(0.5, False)] * 100_000)], RUNGS, 0.01) == pytest.approx(0.29)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=200), st.sampled_from([0.05, 0.2]))
@settings(max_examples=40, deadline=None)
def test_what_is_accepted_is_borne_out(labels, max_error):
    threshold = fixed_sequence(labels, RUNGS, max_error)
    if threshold is not None:
        served = [wrong for p, wrong in labels if p <= threshold]
        assert upper(sum(served), len(served)) <= max_error + 1e-9
