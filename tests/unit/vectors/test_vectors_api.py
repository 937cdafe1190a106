"""The routes, from the outside."""

import json
from uuid import UUID

import pytest
from qdrant_client import models

from tests.unit.vectors.door import ndjson, open_door


@pytest.fixture
async def door(tmp_path):
    async with open_door(tmp_path, max_payload=2000, max_body_bytes=200_000) as door:
        yield door


def p(id_, vector=(1, 0, 0), **payload):
    return {"id": id_, "vector": list(vector), "payload": payload}


async def test_the_examples_of_m1(door):
    vector = [0.1, 0.2] * 768
    made = await door.ok(
        "POST",
        "/collections",
        {"collection_name": "documents", "vector_size": 1536, "distance": models.Distance.COSINE.value},
    )
    assert (made["name"], made["vector_size"], made["distance"]) == ("documents", 1536, "cosine")
    point = {"id": "point_1", "vector": vector, "payload": {"text": "sample text", "metadata": "additional info"}}
    put = await door.ok("POST", "/points", {"collection_name": "documents", "points": [point]})
    assert put == {"collection_name": "documents", "status": "completed", "upserted": 1}
    asked = {"collection_name": "documents", "query_vector": vector, "limit": 10, "score_threshold": 0.7}
    (hit,) = (await door.ok("POST", "/search", asked))["results"]
    assert hit["id"] == "point_1"
    assert hit["score"] == pytest.approx(1.0)
    assert hit["payload"] == point["payload"]
    assert models.ScoredPoint(**hit, version=0).payload == point["payload"]
    assert (await door.ok("DELETE", "/points", {"collection_name": "documents", "ids": ["point_1"]}))[
        "deleted"
    ] == 1
    assert await door.ok("DELETE", "/collections/documents") == {"name": "documents", "deleted": True}
    assert await door.ok("GET", "/collections") == {"collections": []}


async def test_types_of_the_official_client_fit(door):
    await door.docs()
    structs = [models.PointStruct(id=n, vector=[1, n, 0], payload={"n": n}) for n in range(3)]
    await door.put(*[struct.model_dump() for struct in structs])
    where = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=1))])
    hits = await door.find(filter=where.model_dump(exclude_none=True))
    assert [hit["id"] for hit in hits] == [1, 2]
    assert [models.ScoredPoint(**hit, version=0).id for hit in await door.find(filter=where.model_dump())] == [1, 2]


async def test_a_collection_tells_what_it_is(door):
    made = await door.docs(distance="dot", quantization="scalar", payload_indexes={"year": "integer"})
    assert made == await door.ok("GET", "/collections/docs")
    assert made["created_at"].endswith("+00:00")
    assert made | {"created_at": ""} == {
        "name": "docs",
        "status": "ready",
        "vector_size": 3,
        "distance": "dot",
        "embedding_model": None,
        "quantization": "scalar",
        "payload_indexes": {"year": "integer"},
        "points_count": 0,
        "indexed_vectors_count": 0,
        "created_at": "",
    }
    assert "exists" in await door.no("POST", "/collections", {"name": "docs", "vector_size": 4}, status=409)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"vector_size": 3}, "collection_name"),
        ({"name": "a/b", "vector_size": 3}, "collection_name"),
        ({"name": "..", "vector_size": 3}, "collection_name"),
        ({"name": "-x", "vector_size": 3}, "collection_name"),
        ({"name": "x" * 129, "vector_size": 3}, "collection_name"),
        ({"name": "x"}, "vector_size"),
        ({"name": "x", "vector_size": 0}, "vector_size"),
        ({"name": "x", "vector_size": 65_537}, "vector_size"),
        ({"name": "x", "vector_size": 3, "distance": "near"}, "cosine, dot, euclid, manhattan"),
        ({"name": "x", "vector_size": 3, "quantization": "tiny"}, "quantization"),
        ({"name": "x", "vector_size": 3, "payload_indexes": {"a": "b"}}, "payload_indexes"),
        ({"name": "x", "vector_size": 3, "payload_indexes": {"": "text"}}, "payload_indexes"),
        ({"name": "x", "vector_size": 3, "sise": 3}, "sise"),
    ],
)
async def test_a_collection_that_cannot_be(door, body, told):
    assert told in await door.no("POST", "/collections", body)
    assert await door.ok("GET", "/collections") == {"collections": []}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (p(1, (1, 2)), "points[2].vector: it has 2 numbers, the collection's vectors have 3"),
        (p(1, (1, 2, 3, 4)), "points[2].vector"),
        (p(1, ()), "points[2].vector"),
        (p(1, (1, 2, 1e39)), "points[2].vector: it holds a number that is not finite"),
        (p(1, (1, float("nan"), 3)), "points[2]"),
        (p(1, (1, float("-inf"), 3)), "points[2]"),
        (p(1, (1, "a", 3)), "points[2].vector[1]"),
        (p(1, (1, None, 3)), "points[2].vector[1]"),
        (p(""), "points[2].id"),
        (p("é" * 129), "points[2].id: an id has 1 to 256 bytes, this one 258"),
        (p(1.5), "points[2].id"),
        (p(None), "points[2].id"),
        (p(True), "points[2].id"),
        (p(10**300), "points[2].id"),
        (p(1, big=2**64), "points[2].payload: it holds a whole number of more than 64 bits"),
        (p(1, deep=[{"x": -(2**63) - 1}]), "points[2].payload"),
        (p(1, text="x" * 2000), "points[2].payload: it has 2011 bytes"),
        (p(1, __enginehouse_id="x"), "points[2].payload"),
        ({"id": 1}, "points[2]: a point has either a vector or a text"),
        ({"id": 1, "vector": [1, 2, 3], "text": "a"}, "points[2]: a point has either"),
        ({"id": 1, "text": "a"}, "points[2].text: the collection has no embedding_model"),
        ({"vector": [1, 2, 3]}, "points[2]"),
        ("x", "points[2]"),
    ],
)
async def test_one_bad_point_and_nothing_is_stored(door, bad, told):
    await door.docs()
    await door.put(p(7, (0, 0, 1), old=True))
    points = [p(7, (1, 0, 0)), p("b"), bad, p("c")]
    assert told in await door.no("POST", "/points", {"collection_name": "docs", "points": points})
    lines = ndjson(*points)
    how = {"content_type": "application/x-ndjson"}
    assert told.partition(".")[0].partition(":")[0] in await door.no(
        "POST", "/points?collection_name=docs", lines, **how
    )
    (only,) = await door.find(with_vector=True)
    assert only == {"id": 7, "score": 0.0, "payload": {"old": True}, "vector": [0, 0, 1]}


@pytest.mark.parametrize(
    "id_",
    [
        0,
        2**64 - 1,
        2**64,
        -1,
        -(2**200),
        "a",
        "5",
        "é/?#",
        "x" * 256,
        str(UUID(int=5)),
        str(UUID(int=5)).upper(),
        "{}",
    ],
)
async def test_any_id_comes_back_as_it_was_given(door, id_):
    await door.docs()
    await door.put(p(id_, a=1))
    await door.put(p(id_, a=2))
    (hit,) = await door.find()
    assert (hit["id"], hit["payload"]) == (id_, {"a": 2})
    (bare,) = await door.find(with_payload=False)
    assert (bare["id"], "payload" in bare) == (id_, False)
    (part,) = await door.find(with_payload=["b"])
    assert (part["id"], part["payload"]) == (id_, {})
    (same,) = await door.find(filter={"must": [{"has_id": [id_]}]})
    assert same["id"] == id_
    assert (await door.ok("DELETE", "/points", {"collection_name": "docs", "ids": [id_, id_]}))["deleted"] == 1
    assert await door.count() == 0


async def test_ids_of_other_kinds_are_other_points(door):
    await door.docs()
    await door.put(p(5), p("5"), p(-5), p("-5"), p("five"))
    assert await door.count() == 5


async def test_the_uuid_of_a_text_never_changes(door):
    await door.docs()
    await door.put(p("point_1"))
    (hit,) = await door.find(filter={"must": [{"has_id": ["90ac8bf9-8e6c-5175-82a0-27f3d25f23e7"]}]})
    assert hit["id"] == "point_1"


async def test_of_two_points_with_one_id_the_later_counts(door):
    await door.docs()
    put = await door.put(p("a", n=1), p("a", n=2))
    assert put["upserted"] == 1
    assert [hit["payload"] for hit in await door.find()] == [{"n": 2}]


async def test_texts_become_vectors(door):
    made = await door.ok("POST", "/collections", {"name": "docs", "embedding_model": "colours"})
    assert made["vector_size"] == 3
    put = await door.put({"id": 1, "text": "red red"}, {"id": 2, "text": "blue sky"}, p(3, (0, 1, 0)))
    assert put["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    answer = await door.ok(
        "POST",
        "/search",
        {"collection_name": "docs", "query_text": "the blue one", "limit": 1, "with_vector": True},
    )
    assert [hit["id"] for hit in answer["results"]] == [2]
    assert answer["usage"]["prompt_tokens"] == 3
    assert "points[1].text" in await door.no(
        "POST", "/points", {"name": "docs", "points": [{"id": 1, "text": "x"}, {"id": 2, "text": ""}]}
    )


async def test_a_text_is_embedded_only_when_its_batch_is_right(door):
    await door.ok("POST", "/collections", {"name": "docs", "vector_size": 3, "embedding_model": "gone"})
    bad = [{"id": 1, "text": "red"}, {"id": 2, "vector": [1]}]
    assert "points[1].vector" in await door.no("POST", "/points", {"name": "docs", "points": bad})
    large = [{"id": 1, "text": "red", "payload": {"x": "x" * 2000}}]
    assert "points[0].payload" in await door.no("POST", "/points", {"name": "docs", "points": large})
    answer = await door.call("POST", "/points", {"name": "docs", "points": bad[:1]})
    assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_model_whose_vectors_do_not_fit_is_told(door):
    await door.ok("POST", "/collections", {"name": "docs", "vector_size": 4, "embedding_model": "colours"})
    assert "has 3 numbers" in await door.no("POST", "/points", {"name": "docs", "points": [{"id": 1, "text": "x"}]})
    assert "has 3 numbers" in await door.no("POST", "/search", {"name": "docs", "query_text": "x"})
    assert await door.count() == 0


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "query_vector"),
        ({"query_vector": [1, 0, 0], "query_text": "x"}, "either"),
        ({"query_vector": [1, 0]}, "query_vector: it has 2 numbers"),
        ({"query_vector": [1, 0, 1e40]}, "finite"),
        ({"query_text": "x"}, "embedding_model"),
        ({"query_vector": [1, 0, 0], "limit": 0}, "limit"),
        ({"query_vector": [1, 0, 0], "limit": 10_001}, "limit"),
        ({"query_vector": [1, 0, 0], "filters": {}}, "filters"),
        ({"query_vector": [1, 0, 0], "filter": {}}, "must, should"),
        ({"query_vector": [1, 0, 0], "filter": {"must": [{"key": "a["}]}}, "filter.must[0]"),
        ({"query_vector": [1, 0, 0], "filter": {"must": [{"key": "a[", "match": {"value": 1}}]}}, "filter"),
        ({"query_vector": [1, 0, 0], "params": {"ef": 3}}, "ef"),
    ],
)
async def test_a_search_that_cannot_be(door, body, told):
    await door.docs()
    assert told in await door.no("POST", "/search", {"collection_name": "docs", **body})


async def test_what_is_not_there(door):
    for method, path, body in [
        ("GET", "/collections/docs", b""),
        ("DELETE", "/collections/docs", b""),
        ("POST", "/points", {"collection_name": "docs", "points": [p(1)]}),
        ("POST", "/points?collection_name=docs", b""),
        ("POST", "/search", {"collection_name": "docs", "query_vector": [1]}),
        ("POST", "/points/scroll", {"collection_name": "docs"}),
        ("POST", "/points/count", {"collection_name": "docs"}),
        ("DELETE", "/points", {"collection_name": "docs", "ids": [1]}),
    ]:
        how = {"content_type": "application/x-ndjson"} if "?" in path else {}
        assert "docs" in await door.no(method, path, body, status=404, **how)


async def test_pages_and_counts(door):
    await door.docs()
    await door.put(*[p(f"n{number}", (1, number, 0), even=number % 2 == 0) for number in range(5)])
    seen, offset = [], None
    while True:
        body = {"collection_name": "docs", "limit": 2, "offset": offset, "with_payload": ["even"]}
        page = await door.ok("POST", "/points/scroll", body)
        seen += page["points"]
        offset = page["next_offset"]
        if offset is None:
            break
    assert {point["id"] for point in seen} == {f"n{number}" for number in range(5)}
    assert len(seen) == 5
    assert all(set(point) == {"id", "payload"} for point in seen)
    even = {"must": [{"key": "even", "match": {"value": True}}]}
    assert await door.ok("POST", "/points/count", {"collection_name": "docs", "filter": even}) == {"count": 3}
    assert (await door.ok("DELETE", "/points", {"collection_name": "docs", "filter": even}))["deleted"] == 3
    assert await door.count() == 2


@pytest.mark.parametrize(
    "body", [{}, {"ids": [1], "filter": {"must": [{"has_id": [1]}]}}, {"ids": [1.5]}, {"filter": {}}]
)
async def test_a_delete_that_cannot_be(door, body):
    await door.docs()
    await door.put(p(1))
    await door.no("DELETE", "/points", {"collection_name": "docs", **body})
    assert await door.count() == 1


async def test_ndjson_comes_in_past_the_limit_of_bodies_and_goes_out_whole(door):
    await door.docs()
    points = [p(number, (1, number, 0), text="x" * 500) for number in range(600)]
    lines = ndjson(*points)
    assert len(lines) > 200_000
    too_much = await door.call("POST", "/points", {"collection_name": "docs", "points": points})
    assert too_much.status == 413
    how = {"content_type": "application/x-ndjson; charset=utf-8"}
    put = await door.ok("POST", "/points?collection_name=docs", lines + b"\n\n", **how)
    assert put["upserted"] == 600
    answer = await door.call(
        "POST", "/points/scroll", {"collection_name": "docs", "with_vector": True}, accept="application/x-ndjson"
    )
    back = [json.loads(line) for line in answer.body.splitlines()]
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert [point["id"] for point in back] == list(range(600))
    assert back[0]["vector"] == [1, 0, 0]
    assert "collection_name" in await door.no("POST", "/points", lines, **how)
    missing = await door.call("POST", "/points/scroll", {"name": "nope"}, accept="application/x-ndjson")
    assert missing.status == 404


async def test_a_call_brings_ten_thousand_points_and_no_more(tmp_path):
    async with open_door(tmp_path) as door:
        await door.docs()
        how = {"content_type": "application/x-ndjson"}
        lines = [ndjson(p(number)) for number in range(10_001)]
        assert "10000" in await door.no("POST", "/points?collection_name=docs", b"".join(lines), **how)
        assert await door.count() == 0
        await door.ok("POST", "/points?collection_name=docs", b"".join(lines[:-1]), **how)
        assert await door.count() == 10_000


async def test_a_line_has_a_limit(door):
    await door.docs()
    how = {"content_type": "application/x-ndjson"}
    answer = await door.call("POST", "/points?collection_name=docs", b"x" * (5 << 20), **how)
    assert answer.status in (400, 413)


async def test_strangers_are_asked_who_they_are(door):
    assert (await door.call("GET", "/collections", who="nobody")).status == 401


async def test_every_route_is_on_the_page(door):
    from enginehouse.testing import Caller

    page = (await Caller(door.app, "GET", "/openapi.json", b"", {"X-API-Key": "ann"}).run()).json()["paths"]
    routes = {
        (path.removeprefix("/v1/vector"), method) for path in page for method in page[path] if "/vector" in path
    }
    assert routes == {
        ("/collections", "post"),
        ("/collections", "get"),
        ("/collections/{name}", "get"),
        ("/collections/{name}", "delete"),
        ("/points", "post"),
        ("/points", "delete"),
        ("/search", "post"),
        ("/points/scroll", "post"),
        ("/points/count", "post"),
    }
