"""Trials, alarms and rests of scopes."""

import random

import pytest

from enginehouse.core.cache.semantic.edit import EditKind
from enginehouse.core.cache.semantic.monitor import Level, Monitor

SCOPE, OTHER = b"one", b"other"
DAY = 86_400.0


def taught(monitor, *labels, scope=SCOPE, now=0.0):
    return [monitor.learn(scope, wrong=wrong, max_error=0.01, now=now) for wrong in labels]


def test_equal_content_is_served_from_the_first_day_the_rest_is_earned():
    monitor = Monitor(trial=3)
    assert not monitor.on_trial(SCOPE, EditKind.EQUAL)
    for _ in range(3):
        assert monitor.on_trial(SCOPE, EditKind.KNOWN)
        taught(monitor, False)
    assert not monitor.on_trial(SCOPE, EditKind.KNOWN)
    assert monitor.on_trial(OTHER, EditKind.KNOWN)


def test_wrong_answers_close_together_make_it_strict_and_then_off_and_a_rest_brings_it_back():
    monitor = Monitor(trial=0)
    assert taught(monitor, True, True) == [False, True]
    assert monitor.level(SCOPE, 0) is Level.STRICT
    assert taught(monitor, True, True) == [False, True]
    assert monitor.level(SCOPE, 0) is Level.OFF
    assert monitor.counts() == {"strict": 0, "off": 1}
    assert monitor.level(SCOPE, DAY - 1) is Level.OFF
    assert monitor.level(SCOPE, DAY) is Level.STRICT


def test_a_single_wrong_one_among_many_is_within_the_promise():
    monitor = Monitor(trial=0)
    assert not any(taught(monitor, *([False] * 50), True, *([False] * 50)))
    assert monitor.level(SCOPE, 0) is Level.OPEN


def test_all_scopes_together_are_watched_too():
    monitor = Monitor(trial=0)
    for number in range(2):
        taught(monitor, True, scope=bytes([number]))
    assert monitor.level(OTHER, 0) is Level.STRICT
    assert (monitor.everyone.labels, monitor.everyone.wrong) == (2, 2)


@pytest.mark.parametrize(("rate", "most"), [(0.0, 0), (0.01, 25)])
def test_within_the_promise_alarms_are_rare(rate, most):
    """At the bound itself a label in twenty, at the very most, may set it off; below it far fewer."""
    chance, alarms = random.Random(5), 0
    for _ in range(100):
        monitor = Monitor(trial=0)
        alarms += sum(taught(monitor, *(chance.random() < rate for _ in range(100))))
    assert alarms <= most


def test_drift_is_noticed_soon():
    chance, waits = random.Random(6), []
    for _ in range(30):
        monitor = Monitor(trial=0)
        taught(monitor, *([False] * 300))
        waits.append(next(n for n in range(1, 1000) if taught(monitor, chance.random() < 0.2)[0]))
    assert sum(waits) / len(waits) < 20
