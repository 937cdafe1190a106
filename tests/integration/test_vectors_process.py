"""The process of the embedded index: its birth, its death, its background work, and who may have its folder."""

import asyncio
import os
import signal

import psutil
import pytest

from enginehouse.errors import ShuttingDown, StoreError, StoreUnavailable
from enginehouse.stores.vectors.base import Distance, Find, Key, Page, Point, Quantization, Shape, packed
from enginehouse.stores.vectors.edge.process import IndexProcess
from enginehouse.stores.vectors.edge.store import EdgeStore
from enginehouse.stores.vectors.edge.tuning import Tuning
from tests.vector_contract import VectorContract
from tests.vectors import KEY, SHAPE, point, server_store

EAGER = Tuning(index_bytes=64_000, quiet=0.1, threads=1)


async def until(condition, tries=600):
    for _ in range(tries):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not in time")


class TestEdgeInItsProcess(VectorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        return tmp_path_factory.mktemp("vectors")

    @pytest.fixture
    async def store(self, folder):
        async with IndexProcess(folder) as process:
            store = EdgeStore(process)
            yield store
            for scope in ("scope", "other"):
                for state in await store.states(scope):
                    await store.drop(Key(scope, state.name))


@pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="QDRANT_URL names no server")
class TestServer(VectorContract):
    @pytest.fixture
    async def store(self, tmp_path):
        async with server_store(tmp_path) as store:
            yield store


async def test_it_is_raised_when_it_is_needed_and_again_when_it_died(tmp_path):
    async with IndexProcess(tmp_path) as process:
        store = EdgeStore(process)
        assert process.pid is None
        await store.create(KEY, SHAPE)
        docs, first = store.collection(KEY), process.pid
        await docs.upsert([point(1)])
        os.kill(first, signal.SIGSTOP)
        asked = asyncio.gather(*(docs.count(None) for _ in range(3)), return_exceptions=True)
        await asyncio.sleep(0.05)
        os.kill(first, signal.SIGKILL)
        assert [type(error) for error in await asked] == [StoreUnavailable] * 3
        assert await docs.count(None) == 1
        assert process.pid != first


async def test_it_ends_in_order_and_answers_nobody_then(tmp_path):
    async with IndexProcess(tmp_path) as process:
        store = EdgeStore(process)
        await store.create(KEY, SHAPE)
        child = psutil.Process(process.pid)
    assert not child.is_running()
    with pytest.raises(ShuttingDown):
        await store.state(KEY)


async def test_a_folder_is_one_services(tmp_path):
    async with IndexProcess(tmp_path) as first, IndexProcess(tmp_path, patience=0.2) as second:
        await EdgeStore(first).create(KEY, SHAPE)
        with pytest.raises(StoreUnavailable, match="Another service"):
            await EdgeStore(second).state(KEY)


async def test_graphs_are_built_while_everything_goes_on(tmp_path):
    shape = Shape(size=32, distance=Distance.EUCLID, quantization=Quantization.SCALAR)
    async with IndexProcess(tmp_path, EAGER) as process:
        store = EdgeStore(process)
        await store.create(KEY, shape)
        docs = store.collection(KEY)
        seen = set()
        for number in range(60):
            await docs.upsert(
                [Point(number * 50 + i, packed([float(number * 50 + i)] * 32), {}) for i in range(50)]
            )
            if number % 3 == 0:
                assert await docs.delete([number * 50]) == 1
            (hit,) = await docs.search(Find(vector=packed([number * 50 + 7.0] * 32), limit=1))
            assert hit.id == number * 50 + 7
            seen.add((await store.state(KEY)).status)
            await asyncio.sleep(0.02)

        async def settled():
            state = await store.state(KEY)
            return state.status == "ready" and state.indexed > 2000

        await until(settled)
        assert seen >= {"indexing"}
        assert await docs.count(None) == 2980
        hits = await docs.search(Find(vector=packed([1500.0] * 32), limit=4, exact=True))
        assert {hit.id for hit in hits} == {1501, 1499, 1502, 1498}
        assert len(list((tmp_path / "scope" / "docs").glob("shard-*"))) == 1


async def test_a_search_does_not_wait_for_a_build(tmp_path):
    """The build of a graph takes seconds; the longest search beside it does not."""
    async with IndexProcess(tmp_path, EAGER) as process:
        store = EdgeStore(process)
        await store.create(KEY, Shape(size=128, distance=Distance.DOT))
        docs = store.collection(KEY)
        for start in range(0, 6000, 1000):
            await docs.upsert(
                [Point(start + i, packed([float((i * j) % 13) for j in range(128)]), {}) for i in range(1000)]
            )
        longest, building = 0.0, 0.0
        clock = asyncio.get_running_loop().time
        while (await store.state(KEY)).status == "indexing" or building == 0:
            began = clock()
            await docs.search(Find(vector=packed([1.0] * 128), limit=3))
            longest = max(longest, clock() - began)
            building += clock() - began
        assert building > 0
        assert longest < 2


async def test_a_damaged_collection_is_refused_by_its_name_and_costs_no_other(tmp_path):
    async with IndexProcess(tmp_path) as process:
        store = EdgeStore(process)
        for name in ("good", "bad"):
            await store.create(Key("scope", name), SHAPE)
            await store.collection(Key("scope", name)).upsert([point(1)])
    (status,) = (tmp_path / "scope" / "bad").glob("shard-1/segments/*/vector_storage/vectors/status.dat")
    status.write_bytes(b"")  # the index panics over it
    async with IndexProcess(tmp_path) as process:
        store = EdgeStore(process)
        with pytest.raises(StoreError, match="'bad' is damaged"):
            await store.collection(Key("scope", "bad")).page(Page(limit=1))
        assert [(state.name, state.status) for state in await store.states("scope")] == [
            ("bad", "damaged"),
            ("good", "ready"),
        ]
        assert await store.collection(Key("scope", "good")).count(None) == 1
        await store.drop(Key("scope", "bad"))
        assert len(await store.states("scope")) == 1
