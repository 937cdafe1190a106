"""One large scope: our look at signs first and at rows then, beside a search graph (HNSW) of the same bytes."""

import sys
from collections.abc import Callable
from importlib import import_module
from time import perf_counter
from typing import Any

import numpy as np
import psutil
from msgspec import Struct
from numpy.typing import NDArray

from bench.processes import ROOT, BenchError
from bench.semantic import scattered
from enginehouse.core.cache.semantic.block import Block, quantised

__all__ = ["OneScope", "one_scope"]

Floats = NDArray[np.float32]

GRAPH = ROOT / ".bench" / "usearch"
"""Where the graph's package is, if somebody has put it there: it is no dependency of ours."""
_SIZE, _QUERIES, _NEAREST, _NEAR = 384, 500, 5, 0.35
_WIDTHS = (64, 256)
"""How widely the graph is searched (`expansion_search`): its default, and wider."""
_MIB = 1024 * 1024


class OneScope(Struct, frozen=True, kw_only=True):
    """One way of searching it."""

    name: str
    recall: float
    """Part of the queries whose first is the truly nearest of the unquantised vectors."""
    p50: float
    """Milliseconds, in one thread."""
    p95: float
    built: float
    """Seconds from the rows on the disk to the first search."""
    mib: float
    """That the process takes for it."""


def one_scope(entries: int, said: Callable[[str], None]) -> list[OneScope]:
    """Search so many questions of one scope in both ways.

    Raises:
        BenchError: the graph's package is not there.
    """
    said("making vectors")
    vectors, queries, truth = _made(entries)
    said("our own")
    ours = _ours(vectors, queries, truth)
    said("the graph")
    return [ours, *_graph(vectors, queries, truth)]


def _made(entries: int) -> tuple[Floats, Floats, list[int]]:
    chance = np.random.default_rng(3)
    vectors = scattered(entries, chance)
    places = chance.integers(0, entries, _QUERIES)
    noise = chance.standard_normal((_QUERIES, _SIZE), dtype=np.float32)
    queries = vectors[places] + _NEAR * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    truth = [int((vectors @ query).argmax()) for query in queries]
    return vectors, queries, truth


def _ours(vectors: Floats, queries: Floats, truth: list[int]) -> OneScope:
    rows = [(number, *quantised(vector)) for number, vector in enumerate(vectors)]
    block, built, taken = _weighed(lambda: Block(rows))
    view = block.view()
    found = _measured(queries, truth, lambda query: view.nearest(query, _NEAREST)[0].number)
    return OneScope(name="signs, then rows", built=built, mib=taken, **found)


def _graph(vectors: Floats, queries: Floats, truth: list[int]) -> list[OneScope]:
    if not GRAPH.exists():
        raise BenchError(f"pip install --no-deps --target {GRAPH} usearch==2.26.6 numkong==7.8.6")
    sys.path.append(str(GRAPH))
    graph: Any = import_module("usearch.index").Index(ndim=_SIZE, metric="cos", dtype="i8")
    _, built, taken = _weighed(lambda: graph.add(np.arange(len(vectors)), np.ascontiguousarray(vectors), threads=1))
    ways: list[OneScope] = []
    for width in _WIDTHS:
        graph.expansion_search = width
        name = f"HNSW (usearch 2.26, int8), expansion {width}"
        found = _measured(queries, truth, lambda query: int(graph.search(query, _NEAREST, threads=1).keys[0]))
        ways.append(OneScope(name=name, built=built, mib=taken, **found))
    return ways


def _weighed(build: Callable[[], Any]) -> tuple[Any, float, float]:
    """What was built, how long it took, and what the process takes for it."""
    before, began = psutil.Process().memory_info().rss, perf_counter()
    made = build()
    return made, perf_counter() - began, (psutil.Process().memory_info().rss - before) / _MIB


def _measured(queries: Floats, truth: list[int], first: Callable[[Floats], int]) -> dict[str, float]:
    times: list[float] = []
    right = 0
    for query, nearest in zip(queries, truth, strict=True):
        began = perf_counter()
        found = first(query)
        times.append((perf_counter() - began) * 1000)
        right += found == nearest
    p50, p95 = np.percentile(times, [50, 95])
    return {"recall": right / len(queries), "p50": float(p50), "p95": float(p95)}
