"""What was kept of a benchmark, and what is said of a later one."""

import pytest

from bench.check import BARE, KEPT, compared, read_kept, times_bare


class Sample:
    def __init__(self, cpu, answers):
        self.gateway_cpu, self.answers = cpu, answers


class Measured:
    def __init__(self, system, turn, cpu, answers=1000):
        self.scenario, self.system, self.round, self.sample = "saturation", system, turn, Sample(cpu, answers)


class Report:
    def __init__(self, *measurements):
        self.measurements = measurements


def test_a_figure_is_the_median_of_what_it_is_beside_its_neighbour():
    rounds = [(0, 1.0, 3.0), (1, 2.0, 6.0), (2, 1.0, 9.0)]
    measured = [
        Measured(name, turn, cpu)
        for turn, bare, ours in rounds
        for name, cpu in ((BARE, bare), ("enginehouse", ours))
    ]
    assert times_bare(Report(*measured)) == {"saturation, enginehouse": 3.0}


def test_a_round_in_which_somebody_answered_nothing_counts_for_nothing():
    with pytest.raises(ValueError, match="nothing was answered"):
        times_bare(Report(Measured(BARE, 0, 1.0, answers=0), Measured("enginehouse", 0, 3.0)))


@pytest.mark.parametrize(("now", "worse"), [(4.4, False), (4.41, True), (2.0, False)])
def test_more_than_a_tenth_is_worse(now, worse):
    (verdict,) = compared({"saturation, enginehouse": now}, {"saturation, enginehouse": 4.0})
    assert verdict.worse is worse


def test_what_was_never_kept_is_no_loss():
    (verdict,) = compared({"new": 9.0}, {})
    assert verdict.kept is None
    assert not verdict.worse


def test_what_is_kept_can_be_read():
    assert all(ratio > 0 for ratio in read_kept(KEPT).values())
    assert read_kept(KEPT)
