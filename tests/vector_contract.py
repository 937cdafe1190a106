"""What every store of vectors does, whichever it is."""

from uuid import UUID

import pytest
from pytest import approx  # noqa: PT013 - reads better in comparisons

from enginehouse.core.vectors.filters import checked_filter
from enginehouse.errors import Conflict, NotFound
from enginehouse.stores.vectors.base import (
    Distance,
    Find,
    IndexKind,
    Key,
    Page,
    Quantization,
    Shape,
    numbers,
    packed,
)
from tests.vectors import KEY, SHAPE, point

A_UUID = str(UUID(int=77))


def where(**clauses):
    return checked_filter(clauses)


class VectorContract:
    """Derive, and give a fixture `store`."""

    @pytest.fixture
    async def docs(self, store):
        await store.create(KEY, SHAPE)
        return store.collection(KEY)

    async def test_a_collection_is_what_it_was_made_as(self, store):
        shape = Shape(
            size=3,
            distance=Distance.EUCLID,
            indexes={"year": IndexKind.INTEGER, "by.name": IndexKind.KEYWORD},
            embedding_model="m",
            quantization=Quantization.SCALAR,
            created="2026-01-01",
        )
        await store.create(KEY, shape)
        assert await store.shape(KEY) == shape
        state = await store.state(KEY)
        assert (state.name, state.status, state.shape, state.points) == ("docs", "ready", shape, 0)

    async def test_a_name_is_taken_once_a_scope(self, store):
        await store.create(KEY, SHAPE)
        with pytest.raises(Conflict):
            await store.create(KEY, SHAPE)
        other = Key("other", "docs")
        await store.create(other, SHAPE)
        await store.collection(other).upsert([point(1)])
        assert await store.collection(KEY).count(None) == 0
        assert [state.name for state in await store.states("scope")] == ["docs"]
        await store.drop(other)
        assert await store.states("other") == []

    async def test_what_is_not_there_is_told(self, store):
        docs = store.collection(KEY)
        for ask in (
            store.shape(KEY),
            store.state(KEY),
            store.drop(KEY),
            docs.upsert([point(1)]),
            docs.search(Find(vector=packed([1, 0, 0, 0]), limit=1)),
            docs.page(Page(limit=1)),
            docs.count(None),
            docs.delete([1]),
        ):
            with pytest.raises(NotFound):
                await ask

    async def test_dropped_is_gone_and_may_come_again(self, store, docs):
        await docs.upsert([point(1)])
        await store.drop(KEY)
        await store.create(KEY, SHAPE)
        assert await docs.count(None) == 0

    async def test_the_nearest_come_first(self, docs):
        await docs.upsert([point(1, [1, 0, 0, 0], a=1), point(2, [0, 1, 0, 0], a=2), point(3, [1, 1, 0, 0], a=3)])
        found = await docs.search(Find(vector=packed([1, 0.1, 0, 0]), limit=2, vectors=True))
        assert [hit.id for hit in found] == [1, 3]
        assert found[0].score == approx(0.995, abs=1e-3)
        assert found[0].payload == {"a": 1}
        assert numbers(found[0].vector) == approx([1, 0, 0, 0])

    async def test_offset_limit_and_threshold(self, docs):
        await docs.upsert([point(1, [1, 0, 0, 0]), point(2, [1, 1, 0, 0]), point(3, [0, 1, 0, 0])])
        query = packed([1, 0, 0, 0])
        assert [hit.id for hit in await docs.search(Find(vector=query, limit=1, offset=1))] == [2]
        assert [hit.id for hit in await docs.search(Find(vector=query, limit=9, threshold=0.5))] == [1, 2]
        assert [hit.id for hit in await docs.search(Find(vector=query, limit=9, exact=True, ef=64))] == [1, 2, 3]

    @pytest.mark.parametrize(
        ("distance", "score"), [("cosine", 0.6), ("dot", 3.0), ("euclid", 4.472136), ("manhattan", 6.0)]
    )
    async def test_each_distance_scores_as_it_should(self, store, distance, score):
        await store.create(KEY, Shape(size=2, distance=Distance(distance)))
        await store.collection(KEY).upsert([point(1, [3.0, 4.0])])
        (hit,) = await store.collection(KEY).search(Find(vector=packed([1.0, 0.0]), limit=1))
        assert hit.score == approx(score)

    async def test_an_upsert_replaces_the_whole_point(self, docs):
        await docs.upsert([point(1, [1, 0, 0, 0], a=1, b=2)])
        await docs.upsert([point(1, [0, 1, 0, 0], c=3)])
        ((only,), after) = await docs.page(Page(limit=10, vectors=True))
        assert (only.payload, numbers(only.vector), after) == ({"c": 3}, [0, 1, 0, 0], None)

    async def test_pages_hold_every_point_once_in_order(self, docs):
        await docs.upsert([point(number, [1, 0, 0, number + 1.0], n=number) for number in range(7)])
        await docs.upsert([point(A_UUID, [1, 0, 0, 0])])
        seen, after = [], None
        for _ in range(5):
            found, after = await docs.page(Page(limit=3, after=after))
            seen += [hit.id for hit in found]
            if after is None:
                break
        assert seen == [0, 1, 2, 3, 4, 5, 6, A_UUID]

    async def test_payload_in_parts(self, docs):
        await docs.upsert([point(1, a=1, b=2)])
        ((some,), _) = await docs.page(Page(limit=1, payload=["b"]))
        assert some.payload == {"b": 2}

    @pytest.mark.parametrize(
        ("condition", "ids"),
        [
            (where(must=[{"key": "year", "match": {"value": 2001}}]), {1}),
            (where(must=[{"key": "year", "range": {"gte": 2001, "lt": 2003}}]), {1, 2}),
            (where(must=[{"key": "tag", "match": {"any": ["x", "z"]}}]), {0, 3}),
            (where(must_not=[{"key": "tag", "match": {"value": "x"}}]), {1, 2, 3, 4}),
            (where(must=[{"key": "tag", "match": {"except": ["x"]}}]), {1, 3}),
            (where(should=[{"key": "year", "match": {"value": 2000}}, {"has_id": [4]}]), {0, 4}),
            (where(must=[{"is_empty": {"key": "tag"}}]), {2, 4}),
            (where(must=[{"is_null": {"key": "tag"}}]), {4}),
            (where(must=[{"key": "deep.er", "match": {"value": True}}]), {2}),
            (where(must=[{"key": "at", "range": {"gt": "2026-01-01T00:00:00Z"}}]), {3}),
            (where(must=[{"key": "place", "geo_radius": {"center": {"lon": 13, "lat": 52}, "radius": 9e4}}]), {4}),
            (where(must=[{"key": "list", "values_count": {"gte": 2}}]), {1}),
            (where(must=[{"nested": {"key": "items", "filter": where(must=[
                {"key": "a", "match": {"value": 1}}, {"key": "b", "match": {"value": 2}}])}}]), {0}),
            (where(min_should={"conditions": [{"key": "year", "range": {"gt": 2001}},
                                              {"key": "tag", "match": {"value": "z"}},
                                              {"has_id": [3]}], "min_count": 3}), {3}),
            (where(must=[{"should": [{"has_id": [1]}, {"has_id": [2]}]}]), {1, 2}),
        ],
    )  # fmt: skip
    async def test_filters_as_qdrant_writes_them(self, docs, condition, ids):
        await docs.upsert(
            [
                point(0, year=2000, tag="x", items=[{"a": 1, "b": 2}]),
                point(1, year=2001, tag="y", list=[1, 2], items=[{"a": 1}, {"b": 2}]),
                point(2, year=2002, deep={"er": True}),
                point(3, year=2003, tag="z", at="2026-05-05T10:00:00Z"),
                point(4, year=2004, tag=None, place={"lon": 13.41, "lat": 52.52}),
            ]
        )
        found, _ = await docs.page(Page(limit=10, filter=condition))
        assert {hit.id for hit in found} == ids
        hits = await docs.search(Find(vector=packed([1, 0, 0, 1]), limit=10, filter=condition))
        assert {hit.id for hit in hits} == ids
        assert await docs.count(condition) == len(ids)

    async def test_deleting_by_ids_and_by_filter_tells_how_many(self, docs):
        await docs.upsert([point(number, odd=number % 2) for number in range(1, 10)])
        assert await docs.delete([1, 2, 99]) == 2
        assert await docs.delete(where(must=[{"key": "odd", "match": {"value": 1}}])) == 4
        assert await docs.delete(where(must=[{"key": "odd", "match": {"value": 1}}])) == 0
        found, _ = await docs.page(Page(limit=10))
        assert [hit.id for hit in found] == [4, 6, 8]

    async def test_the_store_says_that_it_is_well(self, store):
        await store.ping()
