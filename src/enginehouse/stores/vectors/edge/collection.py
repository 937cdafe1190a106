"""One open collection of the embedded index: its points, its log, and the graph that is built beside it.

Every change is one entry of the index's own write-ahead log before it is made, so that after a crash it is there as
a whole or not at all. A graph is built by another process on a copy; what changed meanwhile is carried over, and a
file that names the folder in use is replaced in one step.
"""

import os
import shutil
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import qdrant_edge as edge

from enginehouse.errors import InvalidRequest
from enginehouse.stores.vectors.base import (
    OWN_ID,
    Distance,
    Filter,
    Find,
    Found,
    IndexKind,
    NativeId,
    Page,
    Point,
    Quantization,
    Shape,
    numbers,
    packed,
)
from enginehouse.stores.vectors.edge.build import Build
from enginehouse.stores.vectors.edge.filters import edge_filter
from enginehouse.stores.vectors.edge.tuning import Tuning

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["EdgeCollection", "write_durably"]

_CURRENT = "current"
"""File that names the folder of the shard in use."""
_TALLY = "points"
"""File that says how many points there are when everything is written down, and `changing` in between."""
_CHANGING = "changing"
_CARRIED = 500
"""Points that are carried over to the new graph at a time, between two requests."""
_OVERSAMPLING = 2.0
_PATIENT_SHARE, _HASTY_SHARE = 0.1, 0.5
"""Parts of a collection that are not in the graph yet when it is built anew: in a quiet moment, and at any."""
_DISTANCES = {
    Distance.COSINE: edge.Distance.Cosine,
    Distance.DOT: edge.Distance.Dot,
    Distance.EUCLID: edge.Distance.Euclid,
    Distance.MANHATTAN: edge.Distance.Manhattan,
}
_INDEXES = {
    IndexKind.KEYWORD: edge.PayloadSchemaType.Keyword,
    IndexKind.INTEGER: edge.PayloadSchemaType.Integer,
    IndexKind.FLOAT: edge.PayloadSchemaType.Float,
    IndexKind.BOOL: edge.PayloadSchemaType.Bool,
    IndexKind.DATETIME: edge.PayloadSchemaType.Datetime,
    IndexKind.UUID: edge.PayloadSchemaType.Uuid,
    IndexKind.GEO: edge.PayloadSchemaType.Geo,
    IndexKind.TEXT: edge.PayloadSchemaType.Text,
}


class EdgeCollection:
    """A folder with a shard in it, open.

    Args:
        folder: where it is.
        shape: what it was made as.
        tuning: how it works.

    Raises:
        Exception, PanicException: the index cannot read it.
    """

    def __init__(self, folder: Path, shape: Shape, tuning: Tuning) -> None:
        self.shape = shape
        self._folder, self._tuning = folder, tuning
        self._place = folder / (folder / _CURRENT).read_text().strip()
        for leftover in folder.glob("shard-*"):
            if leftover != self._place:
                shutil.rmtree(leftover)
        self._shard = edge.EdgeShard.load(str(self._place), _config(shape, tuning))
        self._check_tally()
        self._unflushed = 0
        self._flush()
        self._unbuilt = (self.points - self.indexed) * self._bytes
        self._changed = time.monotonic()
        self._build: Build | None = None

    @staticmethod
    def make(folder: Path, shape: Shape, tuning: Tuning) -> None:
        """A new, empty one in an empty folder; nothing holds it open afterwards."""
        place = folder / "shard-1"
        place.mkdir()
        shard = edge.EdgeShard.create(str(place), _config(shape, tuning))
        for field, kind in shape.indexes.items():
            shard.update(edge.UpdateOperation.create_field_index(field, _INDEXES[kind]))
        shard.flush()
        shard.close()
        write_durably(folder / _TALLY, b"0")
        write_durably(folder / _CURRENT, b"shard-1")

    @property
    def points(self) -> int:
        """How many there are, without going through them."""
        return self._shard.info().points_count

    @property
    def indexed(self) -> int:
        """How many vectors are in the graph."""
        return self._shard.info().indexed_vectors_count

    @property
    def building(self) -> bool:
        """Whether a new graph is on its way."""
        return self._build is not None

    @property
    def copying(self) -> bool:
        """Whether it is being copied: then it must not change."""
        return self._build is not None and self._build.copying

    @cached_property
    def _bytes(self) -> int:
        return self.shape.size * 4

    def upsert(self, points: Sequence[Point]) -> None:
        """Put points in, all or none."""
        made = [edge.Point(point.id, numbers(point.vector), point.payload) for point in points]
        self._update(edge.UpdateOperation.upsert_points(made), [point.id for point in points])

    def search(self, find: Find) -> list[Found]:
        """The nearest, best first."""
        found = self._shard.query(
            edge.QueryRequest(
                limit=find.limit,
                offset=find.offset,
                query=edge.Query.Nearest(numbers(find.vector)),
                filter=_filter(find.filter),
                score_threshold=find.threshold,
                with_payload=_wanted(find.payload),
                with_vector=find.vectors,
                params=self._params(find),
            )
        )
        return [_found(point, point.score) for point in found]

    def page(self, page: Page) -> tuple[list[Found], NativeId | None]:
        """Points in the order of their ids, and where the next page begins."""
        found, after = self._shard.scroll(
            edge.ScrollRequest(
                offset=page.after,
                limit=page.limit,
                filter=_filter(page.filter),
                with_payload=_wanted(page.payload),
                with_vector=page.vectors,
            )
        )
        return [_found(record, None) for record in found], None if after is None else _native(after)

    def count(self, filter_: Filter | None) -> int:
        """How many match."""
        return self._shard.count(edge.CountRequest(exact=True, filter=_filter(filter_)))

    def delete(self, ids: Sequence[NativeId]) -> int:
        """Take these out; how many were there."""
        there = [
            _native(record.id)
            for record in self._shard.retrieve(cast("list[edge.PointId]", list(ids)), False, False)
        ]
        if there:
            self._update(edge.UpdateOperation.delete_points(cast("list[edge.PointId]", there)), there)
        return len(there)

    def delete_where(self, filter_: Filter) -> int:
        """Take out what matches; how many there were."""
        # By their ids: what goes is then written down once, and is the same in the copy that is being built.
        ids: list[NativeId] = []
        page = Page(limit=10_000, filter=filter_, payload=False)
        while True:
            found, after = self.page(page)
            ids += [point.id for point in found]
            if after is None:
                break
            page = Page(limit=10_000, after=after, filter=filter_, payload=False)
        if ids:
            self._update(edge.UpdateOperation.delete_points(cast("list[edge.PointId]", ids)), ids)
        return len(ids)

    def tend(self, *, may_build: bool) -> None:
        """Do what is due in the background, a little at a time.

        Args:
            may_build: whether no other collection's graph is being built.
        """
        quiet = time.monotonic() - self._changed >= self._tuning.quiet
        if self._unflushed and (quiet or self._unflushed >= self._tuning.flush_bytes):
            self._flush()
        if self._build is not None:
            self._follow(self._build)
        elif may_build and self._worth_building(quiet=quiet):
            self._flush()
            self._unbuilt = 0
            number = int(self._place.name.removeprefix("shard-")) + 1
            self._build = Build(self._place, self._folder / f"shard-{number}")

    @property
    def idle(self) -> bool:
        """Whether there is nothing to tend."""
        return self._build is None and not self._unflushed and not self._worth_building(quiet=True)

    def close(self) -> None:
        """Let go of it, with all written down."""
        if self._build is not None:
            self._build.give_up()
        self._flush()
        self._shard.close()

    def _params(self, find: Find) -> edge.SearchParams:
        quantized = edge.QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLING)
        return edge.SearchParams(
            hnsw_ef=find.ef, exact=find.exact, quantization=quantized if self.shape.quantization else None
        )

    def _check_tally(self) -> None:
        """A part of the index that is missing goes unnoticed by the index itself.

        Raises:
            ValueError: there are more or fewer points than when everything was last written down.
        """
        tally = (self._folder / _TALLY).read_text()
        if tally != _CHANGING and int(tally) != self.points:
            raise ValueError(f"it has {self.points} points and should have {int(tally)}")

    def _update(self, operation: edge.UpdateOperation, ids: Sequence[NativeId]) -> None:
        if not self._unflushed:
            write_durably(self._folder / _TALLY, _CHANGING.encode())
        self._shard.update(operation)
        self._changed = time.monotonic()
        self._unflushed += len(ids) * self._bytes
        self._unbuilt += len(ids) * self._bytes
        if self._build is not None:
            self._build.changed.update(dict.fromkeys(ids))
        if self._tuning.fsync or self._unflushed >= self._tuning.flush_bytes:
            self._flush()

    def _flush(self) -> None:
        self._shard.flush()
        write_durably(self._folder / _TALLY, str(self.points).encode())
        self._unflushed = 0

    def _worth_building(self, *, quiet: bool) -> bool:
        if self._unbuilt < self._tuning.index_bytes:
            return False
        share = _PATIENT_SHARE if quiet else _HASTY_SHARE
        return self._unbuilt >= share * self.points * self._bytes

    def _follow(self, build: Build) -> None:
        build.listen()
        if build.failed:
            build.give_up()
            self._build = None
        elif build.built:
            if build.shard is None:
                build.shard = edge.EdgeShard.load(str(build.target))
            last = len(build.changed) <= _CARRIED
            self._carry(build)
            if last:
                self._switch(build)

    def _carry(self, build: Build) -> None:
        """Bring points that changed since the copy was made into it, as they are now."""
        assert build.shard is not None
        ids = list(build.changed)[:_CARRIED]
        there = (
            {
                _native(record.id): record
                for record in self._shard.retrieve(cast("list[edge.PointId]", ids), True, True)
            }
            if ids
            else {}
        )
        points = [edge.Point(record.id, cast("Any", record.vector), record.payload) for record in there.values()]
        gone = cast("list[edge.PointId]", [id_ for id_ in ids if id_ not in there])
        if points:
            build.shard.update(edge.UpdateOperation.upsert_points(points))
        if gone:
            build.shard.update(edge.UpdateOperation.delete_points(gone))
        for id_ in ids:
            del build.changed[id_]

    def _switch(self, build: Build) -> None:
        assert build.shard is not None
        build.shard.flush()
        write_durably(self._folder / _CURRENT, build.target.name.encode())
        old, place = self._shard, self._place
        self._shard, self._place, self._build = build.shard, build.target, None
        self._flush()
        old.close()
        shutil.rmtree(place)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file in one step that a crash cannot split."""
    scratch = path.with_name(f".{path.name}.new")
    with scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _config(shape: Shape, tuning: Tuning) -> edge.EdgeConfig:
    placed = edge.Memory.Cold if shape.quantization else edge.Memory.Cached
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=shape.size, distance=_DISTANCES[shape.distance], memory=placed),
        hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=128, full_scan_threshold=_kib(tuning.index_bytes) // 2),
        quantization_config=_quantization(shape.quantization),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=_kib(tuning.index_bytes) // 2),
        max_search_threads=tuning.threads,
    )


def _kib(amount: int) -> int:
    return max(2, amount // 1024)


def _quantization(kind: Quantization | None) -> Any:
    if kind is Quantization.SCALAR:
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.99, memory=edge.Memory.Pinned)
    if kind is Quantization.BINARY:
        return edge.BinaryQuantizationConfig(memory=edge.Memory.Pinned)
    return None


def _filter(json: Filter | None) -> edge.Filter | None:
    try:
        return None if json is None else edge_filter(json)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"filter: {str(error).splitlines()[0]}", param="filter") from None


def _wanted(payload: bool | list[str]) -> bool | list[str]:
    return [*payload, OWN_ID] if isinstance(payload, list) else payload


def _found(point: edge.ScoredPoint | edge.Record, score: float | None) -> Found:
    vector = cast("Iterable[float] | None", point.vector)
    return Found(
        id=_native(point.id),
        score=score,
        payload=point.payload,
        vector=None if vector is None else packed(vector),
    )


def _native(id_: "edge.PointId") -> NativeId:
    return str(id_) if isinstance(id_, UUID) else id_
