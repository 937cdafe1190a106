"""How chunked transfer is written."""

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.types.chunked import ENDING, OPENINGS, chunk

SIZES = st.integers(min_value=1, max_value=5000)


@given(SIZES)
def test_a_chunk_says_how_long_it_is(size):
    data = bytes(size)
    head, line, rest = chunk(data).partition(b"\r\n")
    assert (int(head, 16), line, rest) == (size, b"\r\n", data + b"\r\n")


@given(SIZES)
def test_the_bytes_of_a_small_chunk_say_how_it_begins(size):
    whole = chunk(bytes(size))
    if len(whole) < len(OPENINGS):
        assert whole == OPENINGS[len(whole)] + bytes(size) + ENDING


def test_of_other_bytes_none_do():
    whole = {len(chunk(bytes(size))) for size in range(1, len(OPENINGS))}
    others = [length for length in range(len(OPENINGS)) if length not in whole]
    assert others[:6] == [0, 1, 2, 3, 4, 5]
    assert 21 in others
    assert all(len(OPENINGS[length]) > length for length in others)
