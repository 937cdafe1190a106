"""Ids and filters, apart from any store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.vectors.filters import checked_filter
from enginehouse.core.vectors.ids import kept, native, own
from enginehouse.errors import InvalidRequest

IDS = st.one_of(
    st.integers(-(10**70), 10**70),
    st.text(min_size=1, max_size=64),
    st.uuids().map(str),
    st.uuids().map(lambda u: str(u).upper()),
)


@given(IDS, st.dictionaries(st.text(max_size=3), st.integers()))
def test_an_id_comes_back_and_so_does_the_payload(id_, payload):
    stored = kept(id_, native(id_), dict(payload))
    assert own(native(id_), stored) == id_
    assert stored == payload


@given(IDS, IDS)
def test_two_ids_are_one_point_only_when_they_are_one(one, other):
    same = str(one).lower() == str(other).lower() and type(one) is type(other)
    assert native(one) != native(other) or same


@pytest.mark.parametrize(
    ("filter_", "told"),
    [
        ([], "filter: it has to be an object"),
        ({}, "filter: it has to have must"),
        ({"must": None}, "filter: it has to have must"),
        ({"musst": []}, "filter: it has no 'musst'"),
        ({"must": [3]}, "filter.must[0]: it has to be an object"),
        ({"must": [{"key": "a"}]}, "filter.must[0]: a condition on a field has one of"),
        ({"must": [{"key": 1, "match": {"value": 1}}]}, "filter.must[0].key"),
        ({"must": [{"key": "a", "match": {}}]}, "filter.must[0].match: it has exactly one of"),
        ({"must": [{"key": "a", "match": {"value": 1, "any": []}}]}, "filter.must[0].match"),
        ({"must": [{"key": "a", "match": {"value": 1.5}}]}, "filter.must[0].match.value"),
        ({"must": [{"key": "a", "match": {"value": 2**63}}]}, "filter.must[0].match.value"),
        ({"must": [{"key": "a", "match": {"any": [1, "b"]}}]}, "filter.must[0].match.any"),
        ({"must": [{"key": "a", "match": {"any": [True]}}]}, "filter.must[0].match.any"),
        ({"must": [{"key": "a", "range": {"above": 1}}]}, "filter.must[0].range: it has no 'above'"),
        ({"must": [{"key": "a", "range": {}}]}, "filter.must[0].range"),
        ({"must": [{"key": "a", "range": {"gt": True}}]}, "filter.must[0].range.gt"),
        ({"must": [{"key": "a", "range": {"gt": "soon"}}]}, "filter.must[0].range.gt"),
        ({"must": [{"key": "a", "range": {"gt": "2026-01-01", "lt": 5}}]}, "filter.must[0].range.lt"),
        ({"must": [{"key": "a", "values_count": {"gt": -1}}]}, "filter.must[0].values_count.gt"),
        ({"must": [{"key": "a", "geo_radius": {"center": {"lon": 1}, "radius": 1}}]}, "geo_radius.center: 'lat'"),
        ({"must": [{"key": "a", "geo_radius": {"center": {"lon": 1, "lat": 91}, "radius": 1}}]}, "center: lon is"),
        (
            {"must": [{"key": "a", "geo_bounding_box": {"top_left": {"lon": 1, "lat": 1}}}]},
            "'bottom_right' is missing",
        ),
        ({"must": [{"key": "a", "geo_polygon": {"exterior": {"points": []}}}]}, "geo_polygon.exterior"),
        ({"must": [{"key": "a", "is_null": 1}]}, "filter.must[0].is_null"),
        ({"must": [{"key": "a", "nothing": 1}]}, "filter.must[0]: it has no 'nothing'"),
        ({"should": {"has_id": 3}}, "filter.should[0].has_id: it has to be a list"),
        ({"should": {"has_id": [1.5]}}, "filter.should[0].has_id[0]"),
        ({"should": {"has_id": [1], "key": "a"}}, "filter.should[0]"),
        ({"must_not": [{"is_empty": {}}]}, "filter.must_not[0].is_empty: 'key' is missing"),
        ({"must_not": [{"nested": {"key": "a", "filter": {}}}]}, "filter.must_not[0].nested.filter"),
        ({"min_should": {"conditions": [], "min_count": -1}}, "filter.min_should.min_count"),
        ({"must": [{"must": [{"key": "a", "match": 1}]}]}, "filter.must[0].must[0].match"),
    ],
)
def test_a_filter_that_is_none_is_told_where(filter_, told):
    with pytest.raises(InvalidRequest) as refused:
        checked_filter(filter_)
    assert told in refused.value.message
    assert refused.value.param is not None
    assert refused.value.param.startswith("filter")


def test_a_filter_has_a_bottom():
    filter_ = {"must": [{"has_id": [1]}]}
    for _ in range(30):
        filter_ = {"must": [filter_]}
    with pytest.raises(InvalidRequest, match="deep"):
        checked_filter(filter_)


def test_one_condition_alone_and_ids_of_callers():
    checked = checked_filter({"must": {"has_id": [1, "a"]}, "should": None})
    assert checked == {"must": [{"has_id": [1, native("a")]}]}
