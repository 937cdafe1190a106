"""How the mock is told to answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.mock import Manner

numbers = st.integers(min_value=0, max_value=999_999)


@given(numbers, numbers, numbers, st.integers(min_value=1, max_value=999_999))
def test_a_name_says_what_headers_say(chunks, interval, delay, burst):
    wanted = Manner(chunks=chunks, interval_ms=interval, delay_ms=delay, burst=burst)
    headers = {
        b"x-mock-chunks": b"%d" % chunks,
        b"x-mock-interval-ms": b"%d" % interval,
        b"x-mock-delay-ms": b"%d" % delay,
        b"x-mock-burst": b"%d" % burst,
    }
    assert Manner().named(f"mock-c{chunks}-i{interval}-d{delay}-b{burst}") == wanted
    assert Manner().told(headers) == wanted


@pytest.mark.parametrize("model", ["mock", "gpt-c4", "mocking-c4", "mock-x9", "mock-c4x", "mock-c"])
def test_other_names_change_nothing(model):
    usual = Manner(chunks=3)
    assert usual.named(model) == usual


def test_what_a_name_leaves_out_stays():
    assert Manner(chunks=3, delay_ms=7).named("mock-i5") == Manner(chunks=3, delay_ms=7, interval_ms=5)


@pytest.mark.parametrize(
    "headers", [{b"x-mock-burst": b"0"}, {b"x-mock-chunks": b"-1"}, {b"x-mock-chunks": b"few"}]
)
def test_what_no_answer_can_be_is_refused(headers):
    with pytest.raises(ValueError, match=r"."):
        Manner().told(headers)
