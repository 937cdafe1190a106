"""Names of requests that bring none: unlike each other, and near each other where they are of one time."""

import time

from enginehouse.api.wire import read_request_id
from enginehouse.types.ids import ordered_hex, random_hex


def test_no_two_are_alike_and_none_can_be_foretold():
    names = [ordered_hex() for _ in range(3000)]
    assert {len(name) for name in names} == {32}
    assert len({name[12:] for name in names}) == len(names)
    assert len({name[12:20] for name in names}) > 2990
    assert all(int(name, 16) for name in names)


def test_their_beginning_is_the_time_they_were_bought_at():
    before = time.time_ns() // 1_000_000
    names = [ordered_hex() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    bought = sorted({int(name[:12], 16) for name in names[300:]})
    assert len(bought) <= 4
    assert before <= bought[0] <= bought[-1] <= after


def test_a_request_without_a_name_is_given_one_of_these():
    given = [read_request_id([]) for _ in range(600)]
    assert len({name[:8] for name in given}) <= 2
    assert read_request_id([(b"x-request-id", b"mine")]) == "mine"
    assert len({random_hex()[:8] for _ in range(100)}) > 90
