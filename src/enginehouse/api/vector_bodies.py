"""Bodies of the routes about collections of vectors, and how their answers are written."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from enginehouse.core.vectors.ids import OwnId
from enginehouse.core.vectors.points import PointBody
from enginehouse.core.vectors.vectors import Hit, New, Pages, Query
from enginehouse.errors import InvalidRequest
from enginehouse.stores.vectors.base import Distance, IndexKind, Quantization, State

__all__ = [
    "CountBody",
    "CreateBody",
    "DeleteBody",
    "PointsBody",
    "ScrollBody",
    "SearchBody",
    "hit_body",
    "named",
    "new_of",
    "pages_of",
    "query_of",
    "state_body",
]

Limit = Annotated[int, Meta(ge=1, le=10_000)]
Payload = bool | list[str]


class _Strict(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A body whose misspelt fields are not passed over: a filter that is not seen would find what it should not."""


class _Of(_Strict, kw_only=True, frozen=True):
    """A body that names its collection, as either of two words."""

    collection_name: str | None = None
    name: str | None = None


class CreateBody(_Of, kw_only=True, frozen=True):
    """`POST /v1/vector/collections`."""

    vector_size: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    distance: str = "cosine"
    embedding_model: str | None = None
    quantization: Quantization | None = None
    payload_indexes: dict[str, IndexKind] = {}


class PointsBody(_Of, kw_only=True, frozen=True):
    """`POST /v1/vector/points`."""

    points: list[PointBody]


class SearchParams(_Strict, kw_only=True, frozen=True):
    """How thoroughly to search."""

    hnsw_ef: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    exact: bool = False


class SearchBody(_Of, kw_only=True, frozen=True):
    """`POST /v1/vector/search`."""

    query_vector: list[float] | None = None
    query_text: str | None = None
    limit: Limit = 10
    offset: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    score_threshold: float | None = None
    filter: dict[str, Any] | None = None
    with_payload: Payload = True
    with_vector: bool = False
    params: SearchParams = SearchParams()


class DeleteBody(_Of, kw_only=True, frozen=True):
    """`DELETE /v1/vector/points`."""

    ids: list[OwnId] | None = None
    filter: dict[str, Any] | None = None


class ScrollBody(_Of, kw_only=True, frozen=True):
    """`POST /v1/vector/points/scroll`."""

    limit: Limit = 100
    offset: OwnId | None = None
    filter: dict[str, Any] | None = None
    with_payload: Payload = True
    with_vector: bool = False


class CountBody(_Of, kw_only=True, frozen=True):
    """`POST /v1/vector/points/count`."""

    filter: dict[str, Any] | None = None


def named(body: _Of) -> str:
    """The collection's name.

    Raises:
        InvalidRequest: there is none.
    """
    name = body.collection_name or body.name
    if not name:
        raise InvalidRequest("collection_name: it is missing.", param="collection_name")
    return name


def new_of(body: CreateBody) -> New:
    """What to create.

    Raises:
        InvalidRequest: no such distance, or no name.
    """
    try:
        distance = Distance(re.sub(r"\W", "", body.distance).lower())
    except ValueError:
        known = ", ".join(Distance)
        raise InvalidRequest(f"distance: {body.distance!r} is none of {known}.", param="distance") from None
    return New(
        name=named(body),
        vector_size=body.vector_size,
        distance=distance,
        embedding_model=body.embedding_model,
        quantization=body.quantization,
        payload_indexes=body.payload_indexes,
    )


def query_of(body: SearchBody) -> Query:
    """What to search."""
    return Query(
        vector=body.query_vector,
        text=body.query_text,
        limit=body.limit,
        offset=body.offset,
        threshold=body.score_threshold,
        filter=body.filter,
        payload=body.with_payload,
        vectors=body.with_vector,
        exact=body.params.exact,
        ef=body.params.hnsw_ef,
    )


def pages_of(body: ScrollBody) -> Pages:
    """What to read."""
    return Pages(
        limit=body.limit,
        offset=body.offset,
        filter=body.filter,
        payload=body.with_payload,
        vectors=body.with_vector,
    )


def state_body(state: State) -> Mapping[str, Any]:
    """A collection, as its owner sees it."""
    shape = state.shape
    about: dict[str, Any] = {"name": state.name, "status": state.status}
    if shape is not None:
        about |= {
            "vector_size": shape.size,
            "distance": shape.distance,
            "embedding_model": shape.embedding_model,
            "quantization": shape.quantization,
            "payload_indexes": shape.indexes,
            "points_count": state.points,
            "indexed_vectors_count": state.indexed,
            "created_at": shape.created,
        }
    return about | ({"error": state.detail} if state.detail else {})


def hit_body(hit: Hit) -> Mapping[str, Any]:
    """A point; what was not asked for is left out."""
    told = {"score": hit.score, "payload": hit.payload, "vector": hit.vector}
    return {"id": hit.id, **{name: value for name, value in told.items() if value is not None}}
