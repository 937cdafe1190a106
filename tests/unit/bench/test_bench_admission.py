"""The measured line is a whole one."""

import tracemalloc

from bench.admission import line_cost


def test_a_short_line_is_measured():
    cost = line_cost(200, rounds=1)
    assert cost.waiters == 200
    assert cost.decisions_per_second > 0
    assert 100 < cost.bytes_per_waiter < 100_000
    assert not tracemalloc.is_tracing()
