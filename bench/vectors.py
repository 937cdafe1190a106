"""What collections cost in the embedded index: ingest, the building of the graph, searches and memory."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import psutil
from msgspec import Struct
from numpy.typing import NDArray

from enginehouse.errors import Conflict
from enginehouse.stores.vectors.base import Distance, Find, IndexKind, Key, Point, Quantization, Shape
from enginehouse.stores.vectors.edge.process import IndexProcess
from enginehouse.stores.vectors.edge.store import EdgeStore
from enginehouse.stores.vectors.edge.tuning import Tuning

__all__ = ["VectorCosts", "vector_costs"]

Floats = NDArray[np.float32]

_KEY = Key("bench", "docs")
_BATCH, _QUERIES, _NEAREST = 1000, 300, 10
_TOPICS, _INNER, _PARTS = 2000, 48, 10
_MIB = 1024 * 1024


class Searches(Struct, frozen=True, kw_only=True):
    """How searches went."""

    name: str
    recall: float
    """Part of the ten truly nearest that were found."""
    p50: float
    """Milliseconds."""
    p95: float


class VectorCosts(Struct, frozen=True, kw_only=True):
    """What was measured."""

    points_per_second: float | None
    """Acknowledged, while the graph was being built beside it; None when the collection was there already."""
    seconds_until_indexed: float
    """From the last point to the whole graph."""
    indexed: int
    searches: list[Searches]
    rss_mib: float
    """Of the process with the index, at the end; memory-mapped files count as far as they are in memory."""
    disk_mib: float
    reopened: float
    """Seconds from the start of a new process to its first answer."""


async def vector_costs(
    points: int, size: int, quantization: Quantization | None, kept: Path | None, said: Callable[[str], None]
) -> VectorCosts:
    """Fill a collection and search it.

    Args:
        points: how many.
        size: numbers in each vector.
        quantization: whether vectors are also kept smaller.
        kept: a folder that stays; a collection that is in it already is only searched.
        said: told what goes on.
    """
    vectors = _vectors(points, size)
    shape = Shape(
        size=size, distance=Distance.COSINE, indexes={"part": IndexKind.KEYWORD}, quantization=quantization
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = kept or Path(scratch)
        async with _opened(folder) as (process, store):
            rate = await _fill(store, shape, vectors, said)
            said("building the graph")
            began = perf_counter()
            indexed = await _indexed(store)
            took = perf_counter() - began
            said("searching")
            searches = await _searched(store, vectors)
            assert process.pid is not None
            rss = psutil.Process(process.pid).memory_info().rss / _MIB
        async with _opened(folder) as (_, store):
            began = perf_counter()
            await store.state(_KEY)
            reopened = perf_counter() - began
        disk = _size(folder) / _MIB
    return VectorCosts(
        points_per_second=rate,
        seconds_until_indexed=took,
        indexed=indexed,
        searches=searches,
        rss_mib=rss,
        disk_mib=disk,
        reopened=reopened,
    )


@asynccontextmanager
async def _opened(folder: Path) -> AsyncGenerator[tuple[IndexProcess, EdgeStore]]:
    async with IndexProcess(folder, Tuning()) as process:
        yield process, EdgeStore(process)


def _size(folder: Path) -> int:
    """Bytes that the disk really gives; files with holes look larger."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _vectors(points: int, size: int) -> Floats:
    """Of unit length, in clusters, with most of what tells them apart in few directions: like those of texts."""
    chance = np.random.default_rng(7)
    directions = chance.standard_normal((_INNER, size), dtype=np.float32)
    topics = chance.standard_normal((_TOPICS, _INNER), dtype=np.float32)
    vectors = np.empty((points, size), dtype=np.float32)
    for start in range(0, points, 50_000):
        count = min(50_000, points - start)
        inner = topics[chance.integers(0, _TOPICS, count)] + 0.6 * chance.standard_normal((count, _INNER))
        block = inner.astype(np.float32) @ directions + chance.standard_normal((count, size), dtype=np.float32)
        vectors[start : start + count] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


async def _fill(store: EdgeStore, shape: Shape, vectors: Floats, said: Callable[[str], None]) -> float | None:
    """Points a second; what the measuring itself takes to make them is left out."""
    try:
        await store.create(_KEY, shape)
    except Conflict:
        return None
    docs = store.collection(_KEY)
    spent = 0.0
    for start in range(0, len(vectors), _BATCH):
        some = [_point(number, vectors[number]) for number in range(start, min(start + _BATCH, len(vectors)))]
        began = perf_counter()
        await docs.upsert(some)
        spent += perf_counter() - began
        said(f"{start + len(some):,} points")
    return len(vectors) / spent


def _point(number: int, vector: Floats) -> Point:
    payload: dict[str, Any] = {"part": f"part-{number % _PARTS}", "number": number, "text": "a sentence " * 10}
    return Point(number, vector.tobytes(), payload)


async def _indexed(store: EdgeStore) -> int:
    """Wait until nothing is left to build; how many vectors are then in the graph."""
    still = 0
    while still < 5:
        await asyncio.sleep(1)
        state = await store.state(_KEY)
        still = 0 if state.status == "indexing" else still + 1
    return (await store.state(_KEY)).indexed


async def _searched(store: EdgeStore, vectors: Floats) -> list[Searches]:
    chance = np.random.default_rng(8)
    noise = chance.standard_normal((_QUERIES, vectors.shape[1]), dtype=np.float32) * 0.02
    queries = vectors[chance.integers(0, len(vectors), _QUERIES)] + noise
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    everything = np.arange(len(vectors))
    part = everything[everything % _PARTS == 3]
    where = {"must": [{"key": "part", "match": {"value": "part-3"}}]}
    return [
        await _measured("all points", store, queries, _nearest(queries, vectors, everything), None),
        await _measured("a filter that a tenth passes", store, queries, _nearest(queries, vectors, part), where),
    ]


def _nearest(queries: Floats, vectors: Floats, among: NDArray[np.int64]) -> list[set[int]]:
    scores = queries @ vectors[among].T
    best = np.argpartition(-scores, _NEAREST, axis=1)[:, :_NEAREST]
    return [set(among[row].tolist()) for row in best]


async def _measured(
    name: str, store: EdgeStore, queries: Floats, truth: list[set[int]], where: dict[str, Any] | None
) -> Searches:
    docs = store.collection(_KEY)
    times: list[float] = []
    found = 0
    for query, nearest in zip(queries, truth, strict=True):
        began = perf_counter()
        hits = await docs.search(Find(vector=query.tobytes(), limit=_NEAREST, filter=where))
        times.append((perf_counter() - began) * 1000)
        found += len(nearest & {hit.id for hit in hits if isinstance(hit.id, int)})
    p50, p95 = np.percentile(times, [50, 95])
    return Searches(name=name, recall=found / (len(queries) * _NEAREST), p50=float(p50), p95=float(p95))
