"""Open-loop arrivals keep their distances."""

from hypothesis import given
from hypothesis import strategies as st

from bench.schedule import Schedule

schedules = st.builds(
    Schedule.at_rate, st.integers(min_value=0, max_value=2**62), st.floats(min_value=0.1, max_value=200_000)
)


@given(schedules, st.integers(min_value=0, max_value=10**7))
def test_a_request_is_due_from_its_time_on(schedule, number):
    assert schedule.due(schedule.time(number)) == number + 1
    assert schedule.due(schedule.time(number) - 1) == number


@given(schedules, st.integers(min_value=1, max_value=2**40))
def test_nothing_is_due_before_the_start(schedule, earlier):
    assert schedule.due(schedule.start - earlier) == 0


def test_a_second_holds_as_many_as_the_rate():
    schedule = Schedule.at_rate(5_000, 200)
    assert schedule.due(5_000 + 10**9 - 1) == 200
