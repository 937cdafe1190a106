"""Whether what a service weighs grows."""

import statistics

import pytest

from bench.flat import Flatness, Look

MIB = 2**20


def weighed(*mebibytes):
    looks = [Look(100 * turn, 10.0 * turn, int(weight * MIB)) for turn, weight in enumerate(mebibytes)]
    return Flatness(requests=1, failures=0, seconds=1.0, looks=looks)


def test_what_grows_is_no_noise():
    slope = weighed(200, 200.9, 202.1, 202.9, 204.1).slope
    assert slope.hourly == pytest.approx(360 * MIB, rel=0.05)
    assert not slope.is_noise


def test_what_goes_up_and_down_is_noise_and_so_is_what_shrinks():
    assert weighed(200, 203, 200, 203, 201).slope.is_noise
    assert weighed(204, 203, 202, 201, 200).slope.is_noise


def test_two_looks_say_nothing():
    with pytest.raises(statistics.StatisticsError):
        _ = weighed(200, 201).slope


def test_the_farthest_look_counts():
    assert weighed(100, 100, 90, 104).deviation == pytest.approx(0.1)
