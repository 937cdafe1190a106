"""Only what belongs to the window counts."""

from bench.load.meter import Meter


def test_nothing_counts_before_there_is_a_window():
    meter = Meter()
    meter.answered(5, 9)
    meter.failed(5, "cut")
    meter.arrived([b"5"], 9)
    assert (meter.latency.count, meter.added.count, meter.failures) == (0, 0, {})


def test_a_request_belongs_to_the_window_in_which_it_was_due():
    meter = Meter()
    meter.open(0, warmup=1, seconds=2)
    for due in (0.99, 1.0, 2.99, 3.0):
        meter.answered(round(due * 1e9), 10**10)
        meter.begun(round(due * 1e9), 10**10)
        meter.failed(round(due * 1e9), "cut")
    assert (meter.latency.count, meter.first.count, meter.failures) == (2, 2, {"cut": 2})


def test_a_chunk_belongs_to_the_window_in_which_it_arrived():
    meter = Meter()
    meter.open(0, warmup=1, seconds=2)
    meter.arrived([b"0000000999999000"], 10**9)
    meter.arrived([b"1"], 3 * 10**9)
    assert meter.added.count == 1
    assert meter.added.percentile(1) == 1000
