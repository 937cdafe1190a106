"""Collections as callers have them: each tenant, and each user without one, has names of its own."""

import hashlib
import re
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from enginehouse.core.vectors.batch import Asker, Batch, Embed
from enginehouse.core.vectors.filters import checked_filter
from enginehouse.core.vectors.ids import OwnId, native, own
from enginehouse.core.vectors.points import checked_vector
from enginehouse.errors import InvalidRequest
from enginehouse.stores.vectors.base import (
    Collection,
    Distance,
    Find,
    Found,
    IndexKind,
    Key,
    NativeId,
    Page,
    Quantization,
    Shape,
    State,
    VectorStore,
    numbers,
)
from enginehouse.types import Principal

__all__ = ["MAX_LIMIT", "Hit", "New", "Pages", "Query", "Vectors", "scope_of"]

MAX_LIMIT = 10_000
"""Points that one answer may hold."""
_MAX_SIZE = 65_536
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_FIELD_LENGTH = 256


class New(Struct, frozen=True, kw_only=True):
    """A collection to be made."""

    name: str
    vector_size: int | None
    """None takes what the embedding model gives."""
    distance: Distance
    embedding_model: str | None = None
    quantization: Quantization | None = None
    payload_indexes: dict[str, IndexKind] = {}


class Query(Struct, frozen=True, kw_only=True):
    """A search, by a vector or by a text that becomes one."""

    vector: Sequence[float] | None
    text: str | None
    limit: int
    offset: int = 0
    threshold: float | None = None
    filter: Any = None
    payload: bool | list[str] = True
    vectors: bool = False
    exact: bool = False
    ef: int | None = None


class Pages(Struct, frozen=True, kw_only=True):
    """Points in order, a page at a time."""

    limit: int
    offset: OwnId | None = None
    filter: Any = None
    payload: bool | list[str] = True
    vectors: bool = False


class Hit(Struct, frozen=True, kw_only=True):
    """A point as its owner knows it."""

    id: OwnId
    score: float | None
    payload: Mapping[str, Any] | None
    vector: list[float] | None


class Vectors:
    """What callers may do with collections.

    Args:
        store: where they are.
        embed: turns texts into vectors.
        max_payload: most bytes of a payload, as JSON.
    """

    def __init__(self, store: VectorStore, embed: Embed, max_payload: int) -> None:
        self._store, self._embed, self._max_payload = store, embed, max_payload
        self.points: Counter[str] = Counter(written=0, found=0, deleted=0)
        """How many points were written, found and deleted."""

    async def create(self, new: New, asker: Asker) -> State:
        """Make a collection.

        Raises:
            InvalidRequest: its name, size or indexes cannot be.
            Conflict: there is one.
        """
        key = _key(asker.principal, new.name)
        _check_indexes(new.payload_indexes)
        size = await self._size(new, asker)
        shape = Shape(
            size=size,
            distance=new.distance,
            quantization=new.quantization,
            indexes=new.payload_indexes,
            embedding_model=new.embedding_model,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        await self._store.create(key, shape)
        return await self._store.state(key)

    async def states(self, principal: Principal) -> list[State]:
        """The caller's collections."""
        return await self._store.states(scope_of(principal))

    async def state(self, principal: Principal, name: str) -> State:
        """One of the caller's collections.

        Raises:
            NotFound: there is none of that name.
        """
        return await self._store.state(_key(principal, name))

    async def drop(self, principal: Principal, name: str) -> None:
        """Delete one with all its points.

        Raises:
            NotFound: there is none of that name.
        """
        await self._store.drop(_key(principal, name))

    async def batch(self, principal: Principal, name: str) -> Batch:
        """An empty batch for a collection.

        Raises:
            NotFound: there is none of that name.
        """
        return Batch(await self._store.shape(_key(principal, name)), self._max_payload)

    async def upsert(self, name: str, batch: Batch, asker: Asker) -> tuple[int, int]:
        """Store a batch, over points that have the same ids; how many points, and the tokens their texts were.

        Raises:
            InvalidRequest: the model's vectors do not fit the collection.
            EnginehouseError: a text could not be embedded, or the store refuses; then nothing has changed.
        """
        tokens = await batch.embed(self._embed, asker)
        points = batch.points()
        if points:
            await self._store.collection(_key(asker.principal, name)).upsert(points)
        self.points["written"] += len(points)
        return len(points), tokens

    async def search(self, name: str, query: Query, asker: Asker) -> tuple[list[Hit], int]:
        """The nearest points, best first, and the tokens the text was.

        Raises:
            InvalidRequest: vector or filter cannot be.
            NotFound: there is no such collection.
        """
        key = _key(asker.principal, name)
        _check_limit(query.limit)
        where = None if query.filter is None else checked_filter(query.filter)
        shape = await self._store.shape(key)
        vector, tokens = await self._vector(query, shape, asker)
        find = Find(
            vector=vector,
            limit=query.limit,
            offset=query.offset,
            threshold=query.threshold,
            filter=where,
            payload=query.payload or [],
            vectors=query.vectors,
            exact=query.exact,
            ef=query.ef,
        )
        found = await self._store.collection(key).search(find)
        self.points["found"] += len(found)
        return [_hit(point, query.payload) for point in found], tokens

    async def page(self, principal: Principal, name: str, pages: Pages) -> tuple[list[Hit], NativeId | None]:
        """A page of points, and where the next begins.

        Raises:
            InvalidRequest: limit, offset or filter cannot be.
            NotFound: there is no such collection.
        """
        _check_limit(pages.limit)
        page = Page(
            limit=pages.limit,
            after=None if pages.offset is None else native(pages.offset, "offset"),
            filter=None if pages.filter is None else checked_filter(pages.filter),
            payload=pages.payload or [],
            vectors=pages.vectors,
        )
        found, after = await self._collection(principal, name).page(page)
        return [_hit(point, pages.payload) for point in found], after

    async def every(self, principal: Principal, name: str, pages: Pages) -> AsyncGenerator[list[Hit]]:
        """All points that match, page after page.

        Raises:
            InvalidRequest: limit, offset or filter cannot be.
            NotFound: there is no such collection.
        """
        offset = pages.offset
        while True:
            page = Pages(
                limit=pages.limit, offset=offset, filter=pages.filter, payload=pages.payload, vectors=pages.vectors
            )
            hits, offset = await self.page(principal, name, page)
            yield hits
            if offset is None:
                return

    async def count(self, principal: Principal, name: str, where: Any) -> int:
        """How many points match.

        Raises:
            InvalidRequest: the filter cannot be.
            NotFound: there is no such collection.
        """
        checked = None if where is None else checked_filter(where)
        return await self._collection(principal, name).count(checked)

    async def delete(self, principal: Principal, name: str, ids: Sequence[Any] | None, where: Any) -> int:
        """Delete points by their ids or by a filter; how many there were.

        Raises:
            InvalidRequest: both or neither are given, or they cannot be.
            NotFound: there is no such collection.
        """
        if (ids is None) == (where is None):
            raise InvalidRequest("Give either ids or a filter.", param="ids")
        collection = self._collection(principal, name)
        if ids is None:
            return self._deleted(await collection.delete(checked_filter(where)))
        if len(ids) > MAX_LIMIT:
            raise InvalidRequest(f"ids: a call may name {MAX_LIMIT} at most.", param="ids")
        natives = [native(id_, f"ids[{index}]") for index, id_ in enumerate(ids)]
        return self._deleted(await collection.delete(list(dict.fromkeys(natives))))

    def _deleted(self, count: int) -> int:
        self.points["deleted"] += count
        return count

    def _collection(self, principal: Principal, name: str) -> Collection:
        return self._store.collection(_key(principal, name))

    async def _size(self, new: New, asker: Asker) -> int:
        size = new.vector_size
        if size is None:
            if new.embedding_model is None:
                raise InvalidRequest("vector_size: give it, or an embedding_model.", param="vector_size")
            size = len((await self._embed(new.embedding_model, ["size"], asker)).vectors[0])
        if not 1 <= size <= _MAX_SIZE:
            raise InvalidRequest(f"vector_size: it may be 1 to {_MAX_SIZE}.", param="vector_size")
        return size

    async def _vector(self, query: Query, shape: Shape, asker: Asker) -> tuple[bytes, int]:
        if (query.vector is None) == (query.text is None):
            raise InvalidRequest("Give either query_vector or query_text.", param="query_vector")
        if query.vector is not None:
            return checked_vector(query.vector, "query_vector", shape.size), 0
        if shape.embedding_model is None:
            raise InvalidRequest(
                "query_text: the collection has no embedding_model; send a query_vector.", param="query_text"
            )
        if not query.text:
            raise InvalidRequest("query_text: it is empty.", param="query_text")
        embedded = await self._embed(shape.embedding_model, [query.text], asker)
        return checked_vector(embedded.vectors[0], "query_text", shape.size), embedded.tokens


def scope_of(principal: Principal) -> str:
    """Whose collections a caller sees: its tenant's, or its own when it belongs to none."""
    owner = f"tenant:{principal.tenant}" if principal.tenant else f"user:{principal.user}"
    return hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _key(principal: Principal, name: str) -> Key:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "collection_name: it has 1 to 128 letters, digits, dots, dashes and underscores, and begins with "
            "none of dot and dash.",
            param="collection_name",
        )
    return Key(scope_of(principal), name)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit: it may be 1 to {MAX_LIMIT}.", param="limit")


def _check_indexes(indexes: Mapping[str, IndexKind]) -> None:
    for field in indexes:
        if not 0 < len(field) <= _FIELD_LENGTH:
            raise InvalidRequest("payload_indexes: a field's name has 1 to 256 letters.", param="payload_indexes")


def _hit(point: Found, wanted: bool | list[str]) -> Hit:
    payload = dict(point.payload or {})
    return Hit(
        id=own(point.id, payload),
        score=point.score,
        payload=None if wanted is False else payload,
        vector=None if point.vector is None else numbers(point.vector),
    )
