"""What a look into the semantic cache costs, with the default embedder and a million questions in all."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import psutil
from msgspec import Struct
from numpy.typing import NDArray

from bench.cache.minds import MODEL, model_folder
from enginehouse.core.cache.semantic.block import quantised
from enginehouse.core.cache.semantic.index import Index, Stored, open_index, own_scope
from enginehouse.core.cache.semantic.mind import Mind
from enginehouse.core.cache.semantic.scorer import shipped
from enginehouse.core.cache.semantic.semantic import Semantic
from enginehouse.core.cache.semantic.signature import sign
from enginehouse.engines.onnx import open_embedder
from enginehouse.settings.schema import SemanticCacheSettings
from enginehouse.stores.vectors.rows import Row, Rows

__all__ = ["SemanticCosts", "scattered", "semantic_costs"]

Floats = NDArray[np.float32]

_SIZE, _INNER, _TOPICS = 384, 48, 40
_QUERIES = 2000
_MIB = 1024 * 1024
_NEAR = 0.35
"""How far a query is from the row it is made from; their cosine is then about 0.94."""


class SemanticCosts(Struct, frozen=True, kw_only=True):
    """What was measured."""

    search: tuple[float, float]
    """Milliseconds of a search with its signatures read: p50 and p95."""
    whole: tuple[float, float]
    """The same of embedding, search, vetoes and score together."""
    recall: float
    """Part of the searches whose first is the truly nearest of the unquantised vectors."""
    first: float
    """Milliseconds, p95, of the first look into a scope, whose rows are then read from the disk."""
    rss_mib: float
    entries: int


async def semantic_costs(entries: int, scopes: int, said: Callable[[str], None]) -> SemanticCosts:
    """Fill a table, and look into it.

    Args:
        entries: questions in all.
        scopes: they are spread over so many.
        said: told what goes on.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "questions.db"
        said("writing rows")
        queries, truth = await asyncio.to_thread(lambda: _fill(file, entries, scopes))
        async with (
            open_index(file, lasting=True, max_bytes=2**30) as index,
            open_embedder(await model_folder(), max_length=256) as embedder,
        ):
            said("looking into every scope for the first time")
            first = [await _timed(index, scope, queries[0]) for scope in range(scopes)]
            said("searching")
            searches, found = await _searched(index, queries, scopes)
            said("asking")

            async def embed(texts: Sequence[str]) -> list[list[float]]:
                return [list(vector) for vector in (await embedder.embed(list(texts))).vectors]

            settings = SemanticCacheSettings.model_validate({"deadline": 5})
            cache = Semantic(index, Mind(embed, 5), shipped(), settings)
            whole = await _asked(cache, scopes)
            rss = psutil.Process().memory_info().rss / _MIB
    hits = [one == other for one, other in zip(found, truth, strict=True)]
    return SemanticCosts(
        search=_middle(searches),
        whole=_middle(whole),
        recall=sum(hits) / len(hits),
        first=_middle(first)[1],
        rss_mib=rss,
        entries=entries,
    )


def _scope(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _place(number: int) -> bytes:
    """Where the rows of a scope are."""
    return own_scope(_scope(number), MODEL)


def _fill(file: Path, entries: int, scopes: int) -> tuple[Floats, list[str]]:
    """Rows of all scopes; queries near some of them, and which entry is truly nearest to each."""
    chance, rows = np.random.default_rng(3), Rows(file, lasting=False)
    each, queries, truth = entries // scopes, list[Floats](), list[str]()
    directions = chance.standard_normal((_INNER, _SIZE), dtype=np.float32)
    for scope in range(scopes):
        vectors = _vectors(each, directions, chance)
        rows.put([_row(scope, number, vector) for number, vector in enumerate(vectors)])
        for query in range(scope, _QUERIES, scopes):
            noise = chance.standard_normal(_SIZE, dtype=np.float32)
            near = vectors[query % each] + _NEAR * noise / np.linalg.norm(noise)
            near /= np.linalg.norm(near)
            queries.append(near)
            truth.append(f"{scope}-{int(np.einsum('ij,j->i', vectors, near).argmax())}")
    rows.close()
    return np.array(queries), truth


def scattered(count: int, chance: np.random.Generator) -> Floats:
    """So many vectors as those of texts are; each call has directions of its own."""
    return _vectors(count, chance.standard_normal((_INNER, _SIZE), dtype=np.float32), chance)


def _vectors(count: int, directions: Floats, chance: np.random.Generator) -> Floats:
    """Of unit length and in clusters, with most of what tells them apart in few directions, as those of texts."""
    topics = chance.standard_normal((_TOPICS, _INNER), dtype=np.float32)
    inner = topics[chance.integers(0, _TOPICS, count)] + 0.6 * chance.standard_normal((count, _INNER))
    vectors = np.einsum("ij,jk->ik", inner.astype(np.float32), directions, optimize=True)
    vectors += chance.standard_normal((count, _SIZE), dtype=np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _row(scope: int, number: int, vector: Floats) -> Row:
    signature = sign(f"How do I change setting {number % 97} of my device in room {number}?")
    assert signature is not None, "it has content"
    return Row(_place(scope), f"{scope}-{number}", *quantised(vector), msgspec.msgpack.encode(Stored(signature)))


async def _timed(index: Index, scope: int, query: Floats) -> float:
    began = time.perf_counter()
    await index.nearest(_place(scope), query, 5)
    return (time.perf_counter() - began) * 1000


async def _searched(index: Index, queries: Floats, scopes: int) -> tuple[list[float], list[str]]:
    times: list[float] = []
    found: list[str] = []
    order = [scope for scope in range(scopes) for _ in range(scope, _QUERIES, scopes)]
    for scope, query in zip(order, queries, strict=True):
        began = time.perf_counter()
        near = await index.nearest(_place(scope), query, 5)
        times.append((time.perf_counter() - began) * 1000)
        found.append(near[0][0])
    return times, found


async def _asked(cache: Semantic, scopes: int) -> list[float]:
    """Whole questions, embedded for real, in scopes that are full of others."""
    times: list[float] = []
    for number in range(min(_QUERIES, 500)):
        question = f"How can I change setting {number % 97} of my device in room {number}, please?"
        began = time.perf_counter()
        await cache.find(_scope(number % scopes), question)
        times.append((time.perf_counter() - began) * 1000)
    return times


def _middle(times: list[float]) -> tuple[float, float]:
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))
