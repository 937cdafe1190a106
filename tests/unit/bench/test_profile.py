"""Samples become shares of rooms and functions."""

import pytest

from bench.profile import shares

LOOP = "run (/usr/lib/runners.py:10)"
LANE = "FastPath.offer (/home/x/src/enginehouse/api/fast/lane.py:93)"
LIMITS = "Limits.now (/home/x/src/enginehouse/core/limits/limits.py:5)"
OTHER = "Limits.now (/home/x/src/enginehouse/core/limits/limits.py:6)"


def test_a_stack_counts_for_who_runs_and_once_for_each_that_called():
    rooms, functions = shares([f"{LOOP};{LANE};{LIMITS} 2", f"{LOOP};{LANE};{OTHER};{LIMITS} 1", f"{LOOP} 1"])
    assert {one.name: (one.alone, one.within) for one in rooms} == {
        "core/limits": (0.75, 0.75),
        "libraries": (0.25, 1.0),
    } | {one.name: (0.0, 0.75) for one in rooms if one.name == "api/fast"}
    assert functions[0].name == "Limits.now (core/limits/limits.py)"
    assert (functions[0].alone, functions[0].within) == pytest.approx((0.75, 0.75))


def test_who_only_calls_has_a_share_as_well():
    rooms, _ = shares([f"{LANE};{LIMITS} 3"])
    assert {one.name: one.within for one in rooms} == {"core/limits": 1.0, "api/fast": 1.0}


def test_a_thread_without_a_file_is_a_library():
    rooms, functions = shares(["native 1"])
    assert [one.name for one in rooms] == ["libraries"]
    assert [one.name for one in functions] == ["native"]
