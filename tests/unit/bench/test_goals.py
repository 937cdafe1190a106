"""What is said of a goal on a machine that is not the one on which it was set."""

import pytest

from bench.goals import SCENARIOS_OF_GOALS, Goal, Verdict
from bench.scenarios import DETAILS, SCENARIOS


def verdict(here, bare, *, most=False, where_set=400.0):
    goal = Goal(title="", scenario="", value=lambda _: None, goal=200.0, bare=where_set, most=most)
    return Verdict(goal=goal, here=here, bare=bare, share=here / bare if bare else None)


@pytest.mark.parametrize(
    ("here", "bare", "outcome"),
    [
        (200.0, 900.0, "met"),
        (100.0, 200.0, "met in proportion"),
        (99.0, 200.0, "missed"),
        (199.0, None, "missed"),
    ],
)
def test_as_many_as_it_can(here, bare, outcome):
    assert verdict(here, bare).outcome == outcome


@pytest.mark.parametrize(
    ("here", "bare", "outcome"),
    [
        (200.0, 1.0, "met"),
        (300.0, 600.0, "met in proportion"),
        (301.0, 600.0, "missed"),
    ],
)
def test_as_little_as_it_may(here, bare, outcome):
    assert verdict(here, bare, most=True).outcome == outcome


def test_without_a_figure_of_the_place_where_it_was_set_nothing_is_in_proportion():
    assert verdict(100.0, 100.0, where_set=None).outcome == "missed"


def test_every_goal_has_its_scenario():
    assert set(SCENARIOS_OF_GOALS) <= {scenario.name for scenario in (*SCENARIOS, *DETAILS)}
