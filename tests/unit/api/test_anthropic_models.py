"""The list of models as Anthropic's clients read it: those who send `anthropic-version`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.anthropic_models import models_page
from enginehouse.errors import InvalidRequest
from enginehouse.testing import WHOLE, simulate
from enginehouse.types import Kind, Model
from tests.unit.api.house import open_door

ANTHROPIC = {"anthropic-version": "2023-06-01"}


def ask(method, path, headers=None):
    async def main():
        async with open_door([WHOLE]) as door:
            return await door.call(method, path, b"", **(headers or {}))

    return simulate(main())


def models(count):
    return [Model(id=f"m{at}", kind=Kind.CHAT, deployments=()) for at in range(count)]


def ids(page):
    return [one["id"] for one in page["data"]]


@given(count=st.integers(0, 30), limit=st.integers(1, 12))
def test_whoever_turns_pages_sees_each_model_once(count, limit):
    listed = models(count)
    page = models_page(listed, limit, None, None)
    seen = ids(page)
    while page["has_more"]:
        page = models_page(listed, limit, page["last_id"], None)
        assert page["first_id"] not in seen
        assert len(page["data"]) <= limit
        seen += ids(page)
    assert seen == [model.id for model in listed]


@given(count=st.integers(1, 30), limit=st.integers(1, 12))
def test_pages_can_be_turned_back(count, limit):
    listed = models(count)
    page = models_page(listed, limit, None, f"m{count - 1}")
    seen = ids(page)
    while page["has_more"]:
        page = models_page(listed, limit, None, page["first_id"])
        seen = ids(page) + seen
    assert seen == [model.id for model in listed[:-1]]


def test_no_models_are_a_page():
    assert models_page([], 20, None, None) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize(("after", "before", "param"), [("x", None, "after_id"), (None, "x", "before_id")])
def test_a_place_that_is_none_is_said(after, before, param):
    with pytest.raises(InvalidRequest, match="x") as refused:
        models_page(models(3), 20, after, before)
    assert refused.value.param == param


def test_the_header_decides_whose_list_it_is():
    theirs = ask("GET", "/v1/models", headers=ANTHROPIC).json()
    others = ask("GET", "/v1/models").json()
    assert {one["type"] for one in theirs["data"]} == {"model"}
    assert ids(theirs) == ids(others)
    assert theirs["data"][0].keys() >= {"display_name", "created_at", "lifecycle"}
    assert others["object"] == "list"


def test_one_model_and_its_absence():
    one = ask("GET", "/v1/models/tiny", headers=ANTHROPIC).json()
    assert (one["type"], one["id"], one["created_at"][-1]) == ("model", "tiny", "Z")
    absent = ask("GET", "/v1/models/tinny", headers=ANTHROPIC)
    assert (absent.status, absent.json()["error"]["type"]) == (404, "not_found_error")


def test_elsewhere_the_header_changes_nothing():
    answer = ask("GET", "/v1/nothing", headers=ANTHROPIC)
    assert answer.json()["error"]["code"] == "not_found"
