"""Percentiles out of buckets are those of the sorted list, within the error the buckets allow."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.histogram import Histogram

durations = st.lists(st.integers(min_value=0, max_value=2**60), min_size=1, max_size=200)


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(durations, st.floats(min_value=0.001, max_value=1))
def test_percentile_is_nearest_rank_within_half_a_per_mille(values, share):
    exact = sorted(values)[ceil(share * len(values)) - 1]
    assert filled(values).percentile(share) == pytest.approx(exact, rel=0.0005, abs=0)


@given(st.integers(min_value=0, max_value=2**11))
def test_short_durations_are_exact(value):
    assert filled([value]).percentile(0.5) == value


@given(durations, st.floats(min_value=0.001, max_value=1), st.floats(min_value=0.001, max_value=1))
def test_percentiles_grow(values, one, other):
    histogram = filled(values)
    low, high = sorted((one, other))
    assert histogram.percentile(low) <= histogram.percentile(high)


@given(durations)
def test_the_highest_percentile_never_passes_the_longest_duration(values):
    assert filled(values).percentile(1) <= max(values)


def test_spread_is_in_milliseconds():
    spread = filled([1_000_000] * 98 + [2_000_000, 50_000_000]).spread()
    assert spread is not None
    assert spread.count == 100
    assert spread.p50 == pytest.approx(1, rel=0.0005)
    assert spread.p99 == pytest.approx(2, rel=0.0005)
    assert spread.p999 == pytest.approx(50, rel=0.0005)
    assert spread.mean == pytest.approx(1.5)
    assert spread.max == 50


def test_nothing_recorded_has_no_spread():
    assert Histogram().spread() is None
    assert Histogram().percentile(0.5) == 0


def test_a_negative_duration_counts_as_zero():
    assert filled([-5]).percentile(1) == 0


def test_how_many_were_no_longer_than_this():
    histogram = Histogram()
    for value in (0, 1000, 1001, 5_000_000, 9_000_000_000):
        histogram.record(value)
    assert [histogram.within(limit) for limit in (0, 1000, 6_000_000, 10**12)] == [1, 2, 4, 5]
