"""Streams of several processes in one order: who comes back to another hears what was missed, and no more."""

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.telemetry.events import MarkedStream

OWN = "own"


def published(groups, kept=100, *, owns=()):
    """A stream of so many events at each place; `owns` says before which this process tells something itself."""
    stream = MarkedStream(kept=kept)
    for place, size in enumerate(groups):
        if place in owns:
            stream.publish(OWN)
        stream.publish_group([(place, number) for number in range(size)], (1000 + place // 2, place % 2))
    return stream


GROUPS = st.lists(st.integers(0, 3), max_size=12)


@given(GROUPS, st.sets(st.integers(0, 11)), st.integers(1, 20), st.data())
def test_a_token_of_one_resumes_at_another_without_a_gap_or_not_at_all(groups, owns, kept, data):
    there, here = published(groups), published(groups, kept, owns=owns)
    number = data.draw(st.integers(0, there.last))
    heard = [entry.event for entry in there.recent()[:number]]
    place = here.place(there.token(number))
    if place is None:
        assert not heard or kept < here.last or (0, 0) in heard
        return
    whole = [(at, one) for at, size in enumerate(groups) for one in range(size)]
    missing = [event for event in whole if event not in heard]
    again = [entry.event for entry in here.after(place) if entry.event != OWN]
    assert again[len(again) - len(missing) :] == missing
    assert {at for at, _ in again[: len(again) - len(missing)]} <= {heard[-1][0]}, "only of a place half heard"


@given(GROUPS.filter(lambda groups: sum(groups) > 0))
def test_who_has_heard_all_of_a_place_hears_nothing_of_it_again(groups):
    stream = published(groups)
    ends = [
        number for number, entry in enumerate(stream.recent(), 1) if entry.event[1] == groups[entry.event[0]] - 1
    ]
    for number in ends:
        assert published(groups).place(stream.token(number)) == number


def test_what_a_process_tells_itself_is_resumed_there_alone():
    here = published([1, 1], owns={1})
    assert here.place(here.token(2)) == 2
    assert published([1, 1], owns={1}).place(here.token(2)) is None


def test_a_place_that_is_not_known_yet_or_not_any_more_resumes_nothing():
    stream = published([1] * 6, kept=3)
    assert stream.place("1002-0") is not None
    for token in ("1000-0", "1009-0", "1003-9", "1002", "-", "1002-0-0", "1002-x", "9" * 50 + "-1", "", None):
        assert stream.place(token) is None


def test_places_without_events_are_known_too():
    stream = published([1, 0, 0, 1])
    assert [stream.place(token) for token in ("1000-0", "1000-1", "1001-0", "1001-1")] == [1, 1, 1, 2]
