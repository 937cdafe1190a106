"""Keyed digests are HMAC-SHA256, however they are made; of a long question a digest takes its place."""

import hmac

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.types.keyed import Keyed, brief


@given(st.binary(max_size=64), st.binary(max_size=200), st.lists(st.binary(max_size=200), max_size=3))
def test_they_are_what_hmac_says(key, beginning, asked):
    keyed = Keyed(key, beginning)
    for rest in asked:
        assert keyed.digest(rest) == hmac.digest(key, beginning + rest, "sha256")


def test_what_is_short_is_itself_and_what_is_long_a_digest_that_stays_one():
    short, long = b"{" + b"x" * 16_383, b"{" + b"x" * 16_384
    assert brief(short) is short
    assert brief(long) == b"blake3 " + blake3(long).digest()
    assert brief(brief(long)) == brief(long)
    assert brief(long + b" ") != brief(long)
