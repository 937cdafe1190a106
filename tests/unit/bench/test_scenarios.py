"""Scenarios ask for what they say, and no two requests are alike."""

import json
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.generator import requests
from bench.mock import Manner
from bench.scenarios import SCENARIOS, Scenario

each = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@each
def test_the_models_name_asks_for_the_scenarios_chunks(scenario):
    if scenario.stream:
        assert Manner().named(scenario.model).chunks == scenario.chunks


@each
def test_a_streams_body_asks_for_a_stream_with_usage(scenario):
    asked = json.loads(scenario.body() % 1)
    assert asked.get("stream", False) is scenario.stream
    assert asked["model"] == scenario.model


@given(st.integers(min_value=300, max_value=70_000), st.integers(min_value=0, max_value=10**12 - 1))
def test_a_body_is_as_long_as_it_says(size, number):
    body = Scenario(name="", title="", model="mock", chunks=4, body_bytes=size).body() % number
    assert len(body.encode()) == size
    assert f"{number:012d}" in json.loads(body)["messages"][0]["content"]


def test_requests_differ_and_say_their_length():
    work = SCENARIOS[0].work(port=9000, gateway=None, upstream=1, seconds=1, headers={"x-100": "5%"})
    one, other = islice(requests(work), 2)
    assert one != other
    head, _, body = one.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert b"x-100: 5%\r\n" in head
    assert len(body) == SCENARIOS[0].body_bytes
