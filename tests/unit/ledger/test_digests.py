"""Digests tell repeats, and nothing else."""

import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.cache.questions import Written
from enginehouse.core.ledger.digests import APART, Digests, canonical
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


PLAIN = {
    "model": st.text(),
    "messages": st.lists(st.fixed_dictionaries({"role": st.text(), "content": st.text() | VALUES}), max_size=3),
    "temperature": st.floats(0, 2) | st.integers(0, 2) | st.none(),
    "top_p": st.floats(0, 1),
    "max_tokens": st.integers(0, 2**63) | st.none(),
    "max_completion_tokens": st.integers(-1, 10**6),
    "n": st.integers(1, 3),
    "stop": st.text() | st.lists(st.text(), max_size=3) | st.none(),
    "seed": st.integers(-(2**63), 2**63),
    "presence_penalty": st.floats(-2, 2),
    "frequency_penalty": st.floats(-2, 2),
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
    "keep_alive": st.integers(),
    "prompt_cache_key": st.text(),
    "prompt_cache_retention": st.text(),
}


def cached_as(body):
    return Written("openai", body, lambda: None).canonical(shared=False)


@given(st.fixed_dictionaries({}, optional=PLAIN), st.booleans())
def test_the_cache_writes_a_plain_question_in_the_very_same_way(fields, ascii_only):
    assert not APART & fields.keys()
    body = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert cached_as(body) == canonical(body)


@pytest.mark.parametrize("field", sorted(APART))
def test_with_these_fields_the_two_differ(field):
    """What would make them the same again is left in neither of them."""
    body = json.dumps({"messages": [], field: {"user_id": "x"}}).encode()
    assert cached_as(body) != canonical(body)


@given(st.text(), st.text(), st.binary())
def test_a_digest_of_what_is_written_already_is_no_other(tenant, user, asked):
    one = Principal(user=user, tenant=tenant)
    scope = json.dumps(["tenant", tenant] if tenant else ["user", user], separators=(",", ":"), ensure_ascii=False)
    key = hmac.digest(b"s" * 32, b"enginehouse: digests of requests", "sha256")
    expected = hmac.digest(key, scope.encode() + b"\n" + asked, "sha256")[:16].hex() if asked else ""
    for _ in range(2):
        assert DIGESTS.of_canonical(one, asked) == expected == DIGESTS.of(one, lambda: asked)
    assert Digests(b"s" * 32, enabled=False).of_canonical(one, asked) == ""


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
