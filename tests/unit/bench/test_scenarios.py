"""Scenarios ask for what they say, and no two requests are alike."""

import json
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.generator import requests
from bench.mock import Manner
from bench.run import most_of
from bench.scenarios import DETAILS, SCENARIOS, Scenario

each = pytest.mark.parametrize("scenario", [*SCENARIOS, *DETAILS], ids=lambda scenario: scenario.name)


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


def test_questions_come_again_where_a_cache_shall_answer():
    work = Scenario(name="", title="", model="mock", questions=3).work(9000, None, 1, 1, {})
    asked = list(islice(requests(work), 7))
    assert asked[0] == asked[3] == asked[6]
    assert len(set(asked)) == 3


def test_a_long_answer_is_waited_for_before_the_window_and_after_it():
    work = Scenario(name="", title="", model="mock", chunks=4, rate=10, lasting=3).work(9000, None, 1, 2, {})
    assert (work.warmup, work.lasting) == (3.5, 3)


def test_a_share_is_of_what_the_system_did_and_the_baseline_keeps_the_fastest_company():
    most = {"direct": 50_000.0, "enginehouse": 2000.0, "prototype:a": 3000.0}
    assert [most_of(system, most) for system in most] == [3000.0, 2000.0, 3000.0]
    work = Scenario(name="", title="", model="mock", share=0.3).work(9000, None, 1, 1, {}, rate=600.0)
    assert work.rate == 600.0
