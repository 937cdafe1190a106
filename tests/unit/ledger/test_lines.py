"""Lines of the journal are read whoever has written them, and say all of a record."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.ledger.record import (
    PriceRow,
    UsageRecord,
    clean,
    columns_of,
    from_line,
    id_at,
    line_of,
    named,
    new_id,
)
from enginehouse.stores.sql.usage import COLUMNS, RECORDS
from tests.ledger_contract import record

PRICE = PriceRow(id="p1", model="m", source="settings", input_per_1k="0.001")
ONE = UsageRecord(
    id="019a", request_id="r", time=7, user_id="ann", key_id="k", tenant="t", tier="basic", model="m", version="v",
    deployment="d", engine="e", provider="p", upstream_model="um", face="openai", operation="chat", stream=True,
    outcome="failed", error="x", cache="exact", tags=("a", "b"), digest="00ff", input_tokens=1,
    cached_input_tokens=2, output_tokens=3, reasoning_tokens=4, estimated=True, input_cost=5, output_cost=6,
    cost=11, price=PRICE, slots=2, queue_us=8, load_us=9, ttft_us=10, upstream_us=11, total_us=12, reserved=True,
)  # fmt: skip
BY_NAME = (
    b'{"id":"019a","request_id":"r","time":7,"user_id":"ann","key_id":"k","tenant":"t","tier":"basic","model":"m",'
    b'"version":"v","deployment":"d","engine":"e","provider":"p","upstream_model":"um","face":"openai",'
    b'"operation":"chat","stream":true,"outcome":"failed","error":"x","cache":"exact","tags":["a","b"],'
    b'"digest":"00ff","input_tokens":1,"cached_input_tokens":2,"output_tokens":3,"reasoning_tokens":4,'
    b'"estimated":true,"input_cost":5,"output_cost":6,"cost":11,"price":{"id":"p1","model":"m","source":"settings",'
    b'"since":"","input_per_1k":"0.001","cached_input_per_1k":null,"output_per_1k":null,"per_hour":null},"slots":2,'
    b'"queue_us":8,"load_us":9,"ttft_us":10,"upstream_us":11,"total_us":12,"reserved":true}'
)
"""As the journals of 0.1 have it."""
FIRST = (
    b'[1,["a","b"],{"id":"p1","model":"m","source":"settings","since":"","input_per_1k":"0.001",'
    b'"cached_input_per_1k":null,"output_per_1k":null,"per_hour":null},true,"019a","r",7,"ann","k","t","basic","m",'
    b'"v","d","e","p","um","openai","chat",true,"failed","x","exact",1,2,3,4,true,5,6,11,2,8,9,10,11,12,"00ff"]'
)


@pytest.mark.parametrize("line", [BY_NAME, FIRST])
def test_every_form_that_was_ever_written_is_read(line):
    assert from_line(line) == ONE


def test_what_is_written_is_the_newest_form():
    assert line_of(ONE) == FIRST


def test_what_an_older_line_does_not_say_is_what_it_was_before_there_was_a_word_for_it():
    old = msgspec.json.decode(named(record(digest="")))
    for name in ("digest", "reserved", "slots"):
        del old[name]
    assert from_line(msgspec.json.encode(old)) == record(id=old["id"])


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", FIRST.replace(b"[1,", b"[2,", 1), FIRST[:-1], b"null"])
def test_a_form_that_nobody_knows_is_refused_and_not_guessed_at(line):
    with pytest.raises(msgspec.MsgspecError):
        from_line(line)


@given(st.text(), st.lists(st.text(), max_size=3), st.none() | st.integers(0, 10**18))
def test_a_record_comes_back_as_it_was(text, tags, cost):
    one = record(user_id=clean(text), tags=tuple(map(clean, tags)), cost=cost)
    assert from_line(line_of(one)) == from_line(named(one)) == one


def test_a_row_has_each_value_in_its_column():
    rows = zip(*columns_of([ONE, record(price=None)]), strict=True)
    row, plain = [dict(zip(COLUMNS, one, strict=True)) for one in rows]
    assert row.keys() == {column.name for column in RECORDS.columns}
    assert (row.pop("tags"), row.pop("price_id")) == ('["a","b"]', "p1")
    assert row == {name: getattr(ONE, name) for name in row}
    assert (plain["tags"], plain["price_id"]) == ("[]", None)


def test_ids_are_in_the_order_of_time_and_never_twice():
    ids = [id_at(microseconds) for microseconds in range(0, 3_000_000, 1000)]
    assert sorted(set(ids)) == ids
    assert {len(one) for one in (*ids, new_id(), new_id(1.5))} == {32}
    assert new_id(1.5)[:12] == id_at(1_500_999)[:12] == f"{1500:012x}"
    assert abs(int(new_id()[:12], 16) / 1000 - time.time()) < 60
    assert len({id_at(5) for _ in range(1000)}) == 1000
