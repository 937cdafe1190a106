"""Collections on a Qdrant server, so that many replicas share them.

A collection's name there is made of whose it is and its own; what it was made as stands in its metadata.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Self, cast

import msgspec
from httpx import HTTPError
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from enginehouse.errors import Conflict, EnginehouseError, InvalidRequest, NotFound, StoreError, StoreUnavailable
from enginehouse.stores.vectors.base import (
    OWN_ID,
    Distance,
    Filter,
    Find,
    Found,
    Key,
    NativeId,
    Page,
    Point,
    Quantization,
    Shape,
    State,
    numbers,
    packed,
)

__all__ = ["ServerStore"]

_PREFIX = "enginehouse"
_METADATA = "enginehouse"
_CHUNK_NUMBERS = 500_000
"""Numbers of vectors in one call: about 8 MB of JSON, a quarter of what a server takes."""
_DISTANCES = {
    Distance.COSINE: models.Distance.COSINE,
    Distance.DOT: models.Distance.DOT,
    Distance.EUCLID: models.Distance.EUCLID,
    Distance.MANHATTAN: models.Distance.MANHATTAN,
}
_OVERSAMPLING = 2.0


class ServerStore:
    """Collections on a server; use as a context.

    Args:
        client: the connection; it is closed at the end.
    """

    def __init__(self, client: AsyncQdrantClient) -> None:
        self._client = client

    @classmethod
    def at(cls, url: str, api_key: str | None, timeout: float = 60) -> Self:
        """A server by its URL; nothing is asked yet."""
        # Not asked for its version: the server may start after us.
        return cls(
            AsyncQdrantClient(url=url, port=None, api_key=api_key, timeout=int(timeout), check_compatibility=False)
        )

    async def __aenter__(self) -> Self:
        """Open for business."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._client.close()

    async def create(self, key: Key, shape: Shape) -> None:
        """A new, empty one."""
        name = _name(key)
        with _translated(key):
            if await self._client.collection_exists(name):
                raise Conflict(f"The collection {key.name!r} exists already.", param="name")
            await self._client.create_collection(
                name,
                vectors_config=models.VectorParams(size=shape.size, distance=_DISTANCES[shape.distance]),
                quantization_config=_quantization(shape.quantization),
                metadata={_METADATA: msgspec.to_builtins(shape)},
            )
            for field, kind in shape.indexes.items():
                await self._client.create_payload_index(
                    name, field, models.PayloadSchemaType(kind.value), wait=True
                )

    async def drop(self, key: Key) -> None:
        """Delete one with all its points."""
        with _translated(key):
            if not await self._client.collection_exists(_name(key)):
                raise _unknown(key)
            await self._client.delete_collection(_name(key))

    async def shape(self, key: Key) -> Shape:
        """What one was made as."""
        return _shape(key, await self._info(key))

    async def state(self, key: Key) -> State:
        """How one is."""
        info = await self._info(key)
        try:
            shape = _shape(key, info)
        except StoreError as error:
            return State(name=key.name, status="damaged", shape=None, detail=error.message)
        healthy = info.status is not models.CollectionStatus.RED
        return State(
            name=key.name,
            status="damaged"
            if not healthy
            else "ready"
            if info.status is models.CollectionStatus.GREEN
            else "indexing",
            shape=shape,
            points=info.points_count or 0,
            indexed=info.indexed_vectors_count or 0,
            detail=None if healthy else "The server reports status red.",
        )

    async def states(self, scope: str) -> list[State]:
        """How all of one scope are, by name."""
        prefix = _name(Key(scope, ""))
        with _translated(Key(scope, "")):
            found = await self._client.get_collections()
        names = sorted(item.name.removeprefix(prefix) for item in found.collections if item.name.startswith(prefix))
        return [await self.state(Key(scope, name)) for name in names]

    def collection(self, key: Key) -> "_Collection":
        """What is done with the points of one."""
        return _Collection(self._client, key)

    async def ping(self) -> None:
        """Ask whether the server answers."""
        with _translated(Key("", "")):
            await self._client.get_collections()

    async def _info(self, key: Key) -> models.CollectionInfo:
        with _translated(key):
            if not await self._client.collection_exists(_name(key)):
                raise _unknown(key)
            return await self._client.get_collection(_name(key))


class _Collection:
    """The points of one collection, over there."""

    def __init__(self, client: AsyncQdrantClient, key: Key) -> None:
        self._client, self._key, self._name = client, key, _name(key)

    async def upsert(self, points: Sequence[Point]) -> None:
        """In as many calls as a server takes; after a failure some may be there, and repeating it is right."""
        if not points:
            return
        step = max(1, _CHUNK_NUMBERS * 4 // max(1, len(points[0].vector)))
        with _translated(self._key):
            for start in range(0, len(points), step):
                made = [
                    models.PointStruct(id=point.id, vector=numbers(point.vector), payload=point.payload)
                    for point in points[start : start + step]
                ]
                await self._client.upsert(self._name, made, wait=True)

    async def search(self, find: Find) -> list[Found]:
        quantized = models.QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLING)
        with _translated(self._key):
            answer = await self._client.query_points(
                self._name,
                query=numbers(find.vector),
                limit=find.limit,
                offset=find.offset,
                score_threshold=find.threshold,
                query_filter=_filter(find.filter),
                with_payload=_wanted(find.payload),
                with_vectors=find.vectors,
                search_params=models.SearchParams(hnsw_ef=find.ef, exact=find.exact, quantization=quantized),
            )
        return [_found(point, point.score) for point in answer.points]

    async def page(self, page: Page) -> tuple[list[Found], NativeId | None]:
        with _translated(self._key):
            records, after = await self._client.scroll(
                self._name,
                offset=page.after,
                limit=page.limit,
                scroll_filter=_filter(page.filter),
                with_payload=_wanted(page.payload),
                with_vectors=page.vectors,
            )
        return [_found(record, None) for record in records], cast("NativeId | None", after)

    async def count(self, filter: Filter | None) -> int:  # noqa: A002 - Qdrant's own word
        with _translated(self._key):
            return (await self._client.count(self._name, count_filter=_filter(filter), exact=True)).count

    async def delete(self, which: Sequence[NativeId] | Filter) -> int:
        selector: models.PointIdsList | models.FilterSelector
        with _translated(self._key):
            if isinstance(which, dict):
                there = await self.count(which)
                selector = models.FilterSelector(filter=models.Filter.model_validate(which))
            else:
                ids = list(which)
                there = len(await self._client.retrieve(self._name, ids, with_payload=False))
                selector = models.PointIdsList(points=cast("Any", ids))
            await self._client.delete(self._name, selector, wait=True)
            return there


def _name(key: Key) -> str:
    return f"{_PREFIX}-{key.scope}-{key.name}"


def _shape(key: Key, info: models.CollectionInfo) -> Shape:
    described = (info.config.metadata or {}).get(_METADATA)
    try:
        shape = msgspec.convert(described, Shape)
    except msgspec.ValidationError:
        raise StoreError(
            f"The collection {key.name!r} on the server does not say what it was made as (wants Qdrant 1.16)."
        ) from None
    real = info.config.params.vectors
    if not isinstance(real, models.VectorParams) or real.size != shape.size:
        raise StoreError(f"The collection {key.name!r} on the server is not what it was made as.")
    return shape


def _quantization(kind: Quantization | None) -> Any:
    if kind is Quantization.SCALAR:
        config = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        return models.ScalarQuantization(scalar=config)
    if kind is Quantization.BINARY:
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None


def _filter(json: Filter | None) -> models.Filter | None:
    return None if json is None else models.Filter.model_validate(json)


def _wanted(payload: bool | list[str]) -> bool | list[str]:
    return [*payload, OWN_ID] if isinstance(payload, list) else payload


def _found(point: models.ScoredPoint | models.Record, score: float | None) -> Found:
    vector = cast("list[float] | None", point.vector)
    return Found(
        id=cast("NativeId", point.id),
        score=score,
        payload=point.payload,
        vector=None if vector is None else packed(vector),
    )


@contextmanager
def _translated(key: Key) -> Generator[None]:
    """The client's errors in our words."""
    try:
        yield
    except EnginehouseError:
        raise
    except UnexpectedResponse as error:
        raise _refused(key, error) from None
    except (ResponseHandlingException, ApiException, HTTPError, OSError):
        raise StoreUnavailable("The Qdrant server does not answer.", retry_after=1) from None
    except ValueError as error:  # what the client refuses before it asks, and how its local mode refuses
        if "not found" in str(error):
            raise _unknown(key) from None
        raise InvalidRequest(f"Qdrant refuses this: {str(error)[:500]}") from None


def _refused(key: Key, error: UnexpectedResponse) -> EnginehouseError:
    told = (error.content or b"").decode("utf-8", "replace")[:500]
    match error.status_code:
        case 404:
            return _unknown(key)
        case 409:
            return Conflict(f"The collection {key.name!r} exists already.", param="name")
        case 400 | 422:
            return InvalidRequest(f"The Qdrant server refuses this: {told}")
        case 401 | 403:
            return StoreUnavailable("The Qdrant server refuses our key; set qdrant.api_key.")
        case _:
            return StoreUnavailable(f"The Qdrant server answered {error.status_code}.", retry_after=1)


def _unknown(key: Key) -> NotFound:
    return NotFound(f"There is no collection {key.name!r}.", param="collection_name")
