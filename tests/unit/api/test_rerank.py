"""`/v1/rerank` over fake engines: the order, the shapes, whose judgement, and what is recorded."""

import pytest

from enginehouse.errors import MissingCredentials
from enginehouse.testing import FakeReranker, simulate
from enginehouse.types import EngineName, Kind
from tests.unit.api.house import model, open_door

PATH = "/v1/rerank"
ASKED = {"model": "ranker", "query": "ab", "documents": ["x", "ab ab", "ab"]}


def ask(body, **how):
    """The answer of a door behind which `ranker` reads pairs, and what its ledger holds."""

    async def main():
        async with open_door(**how) as door:
            ranker = model("ranker", Kind.RERANK, EngineName.ONNX)
            door.catalogue.replace("settings", [*door.catalogue.models(), ranker])
            door.onnx.engine = FakeReranker()
            answer = await door.post(PATH, body)
            return answer, list(door.books.kept.values())

    return simulate(main())


def test_the_best_comes_first_and_is_told_by_its_place_in_the_request():
    answer, [record] = ask(ASKED)
    body = answer.json()
    assert body["results"] == [
        {"index": 1, "relevance_score": 2.0},
        {"index": 2, "relevance_score": 1.0},
        {"index": 0, "relevance_score": 0.0},
    ]
    assert (body["object"], body["model"], body["scoring"]) == ("list", "ranker", "model")
    assert body["usage"] == {"prompt_tokens": 14, "total_tokens": 14}
    assert body["id"].startswith("rerank-")
    assert (record.operation, record.outcome, record.input_tokens) == ("rerank", "completed", 14)


def test_as_many_as_wanted_and_with_their_words():
    documents = [{"text": "x", "title": "t"}, "ab"]
    body = {**ASKED, "documents": documents, "top_n": 1, "return_documents": True}
    answer, _ = ask(body)
    assert answer.json()["results"] == [{"index": 1, "relevance_score": 1.0, "document": {"text": "ab"}}]
    answer, _ = ask({**body, "top_n": 9})
    assert [one["document"]["text"] for one in answer.json()["results"]] == ["ab", "x"]


def test_equals_stay_in_the_callers_order():
    answer, _ = ask({**ASKED, "documents": ["ab", "abx", "xab"]})
    assert [one["index"] for one in answer.json()["results"]] == [0, 1, 2]


def test_a_model_that_only_embeds_ranks_by_cosine_and_says_so():
    """The fake's vector of a text is (its length, 1): of the same length is in the same direction."""
    answer, [record] = ask({**ASKED, "model": "vec", "documents": ["abcdefgh", "a", "cd"]})
    body = answer.json()
    assert [one["index"] for one in body["results"]] == [2, 1, 0]
    assert body["results"][0]["relevance_score"] == pytest.approx(1)
    assert body["results"][1]["relevance_score"] == pytest.approx(3 / 10**0.5)
    assert (body["scoring"], record.input_tokens, record.operation) == ("cosine", 13, "rerank")


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"documents": []}, 400, "documents"),
        ({"documents": [{"title": "t"}]}, 400, "documents[0].text"),
        ({"documents": "x"}, 400, "documents"),
        ({"query": ""}, 400, "query"),
        ({"query": None}, 400, "query"),
        ({"top_n": 0}, 400, "top_n"),
        ({"model": "tiny"}, 400, "model"),
        ({"model": "nobody"}, 404, "model"),
    ],
)
def test_what_cannot_be_ranked_is_refused_by_name(change, status, param):
    answer, _ = ask({**ASKED, **change})
    assert (answer.status, answer.json()["error"]["param"]) == (status, param)


def test_a_chat_model_is_refused_for_what_it_is():
    answer, [record] = ask({**ASKED, "model": "tiny"})
    assert (record.outcome, record.error) == ("failed", "invalid_request_error")
    assert "is a chat model; it cannot be used for rerank" in answer.json()["error"]["message"]


def test_nobody_ranks_without_a_key():
    answer, _ = ask(ASKED, keys=["k" * 32])
    assert (answer.status, answer.json()["error"]["code"]) == (401, MissingCredentials.code)
