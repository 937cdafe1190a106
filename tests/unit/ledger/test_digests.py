"""Digests tell repeats, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.ledger.digests import Digests, canonical
from enginehouse.types import Principal

ANN, BOB = Principal(user="ann"), Principal(user="bob")
DIGESTS = Digests(b"s" * 32, enabled=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def digest(question=b"q", principal=ANN, digests=DIGESTS):
    return digests.of(principal, lambda: question)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_how_a_body_is_written_does_not_matter(fields):
    backwards = dict(reversed(fields.items()))
    assert canonical(json.dumps(fields).encode()) == canonical(json.dumps(backwards, indent=3).encode())


@given(st.binary())
def test_what_is_no_json_stays_itself_or_becomes_json(body):
    found = canonical(body)
    assert found == body or canonical(found) == found


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"messages": [1], "stream": True, "model": "a", "user": "x"}, {"messages": [1], "model": "b"}, True),
        ({"messages": [1], "temperature": 0}, {"messages": [1], "temperature": 1}, False),
        ({"messages": [1, 2]}, {"messages": [2, 1]}, False),
        ({"messages": [{"stream": 1}]}, {"messages": [{}]}, False),
    ],
)
def test_what_changes_the_answer_counts(one, other, same):
    assert (canonical(json.dumps(one).encode()) == canonical(json.dumps(other).encode())) is same


def test_a_body_that_leans_on_a_session_is_no_repeat_of_anything():
    assert canonical(b'{"input": "go on", "previous_response_id": "r1"}') == b""
    assert digest(b"") == ""


def test_a_long_body_counts_as_it_was_written():
    body = json.dumps({"model": "m", "text": "x" * 300_000}).encode()
    assert canonical(body) == body
    assert canonical(body.replace(b"model", b"session_id")) == b""


def test_repeats_are_told_within_a_tenant_only():
    team = [Principal(user=name, tenant="t") for name in ("ann", "bob")]
    assert digest() == digest()
    assert digest() != digest(b"other")
    assert digest() != digest(principal=BOB)
    assert digest(principal=team[0]) == digest(principal=team[1]) != digest()
    assert digest(principal=Principal(user="x", tenant="ann")) != digest()


def test_it_is_keyed_and_says_nothing_of_the_question():
    assert digest() != digest(digests=Digests(b"t" * 32, enabled=True))
    assert len(digest()) == len(digest(b"x" * 10_000)) == 32


def test_switched_off_it_does_not_even_look():
    def never():
        raise AssertionError("asked")

    digests = Digests(b"s", enabled=False)
    assert digests.of(ANN, never) == ""
    digests.adopt(enabled=True)
    assert digest(digests=digests)
