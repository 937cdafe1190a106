"""What every store of vectors can do, and the words it is asked in.

A store keeps collections apart by `Key`: whose they are, and their name. It trusts what it is given; names, ids,
lengths and filters were checked before (`core/vectors`).
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct

__all__ = [
    "OWN_ID",
    "Collection",
    "Distance",
    "Find",
    "Found",
    "IndexKind",
    "Key",
    "NativeId",
    "Page",
    "Point",
    "Quantization",
    "Shape",
    "State",
    "VectorStore",
    "numbers",
    "packed",
]

OWN_ID = "__enginehouse_id"
"""Payload key under which the caller's own id stands, when it is none that Qdrant knows."""

NativeId: TypeAlias = int | str
"""What Qdrant takes for an id: a whole number below 2⁶⁴, or a UUID in its canonical form."""
Filter: TypeAlias = dict[str, Any]
"""A filter in Qdrant's own JSON, checked."""


class Distance(StrEnum):
    """How near two vectors are; of cosine and dot more is nearer, of the others less is."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLID = "euclid"
    MANHATTAN = "manhattan"


class Quantization(StrEnum):
    """Smaller vectors to search in; the best of what they find are compared with the real ones."""

    SCALAR = "scalar"
    """A byte a number: a quarter of the memory."""
    BINARY = "binary"
    """A bit a number: for long vectors only."""


class IndexKind(StrEnum):
    """What an indexed payload field holds."""

    KEYWORD = "keyword"
    INTEGER = "integer"
    FLOAT = "float"
    BOOL = "bool"
    DATETIME = "datetime"
    UUID = "uuid"
    GEO = "geo"
    TEXT = "text"


class Key(Struct, frozen=True):
    """Which collection: two scopes never share one, whatever its name."""

    scope: str
    """Whose it is, as letters and digits."""
    name: str


class Shape(Struct, frozen=True, kw_only=True):
    """What a collection was made as; it never changes."""

    size: int
    """Numbers in each vector."""
    distance: Distance
    quantization: Quantization | None = None
    indexes: dict[str, IndexKind] = {}
    """Payload fields that are indexed."""
    embedding_model: str | None = None
    """Model that turns texts into its vectors."""
    created: str = ""
    """When, as ISO 8601 in UTC."""


class State(Struct, frozen=True, kw_only=True):
    """How a collection is."""

    name: str
    status: Literal["ready", "indexing", "damaged"]
    shape: Shape | None
    """None when it is so damaged that not even this can be read."""
    points: int = 0
    indexed: int = 0
    """Vectors in the search graph; the others are compared one by one."""
    detail: str | None = None
    """What is wrong with it."""


class Point(Struct, frozen=True, array_like=True):
    """One vector and what belongs to it."""

    id: NativeId
    vector: bytes
    """Numbers as little-endian float32."""
    payload: dict[str, Any]


class Find(Struct, frozen=True, kw_only=True):
    """A search for the nearest."""

    vector: bytes
    limit: int
    offset: int = 0
    threshold: float | None = None
    """Worst score that is still told."""
    filter: Filter | None = None
    payload: bool | list[str] = True
    """Whether payloads come along, or which of their keys."""
    vectors: bool = False
    exact: bool = False
    """Compare with every vector instead of walking the graph."""
    ef: int | None = None
    """Breadth of the walk: more finds better and takes longer."""


class Page(Struct, frozen=True, kw_only=True):
    """Points in the order of their ids, so many at a time."""

    limit: int
    after: NativeId | None = None
    """Where to begin: what the page before gave as its next."""
    filter: Filter | None = None
    payload: bool | list[str] = True
    vectors: bool = False


class Found(Struct, frozen=True, kw_only=True):
    """A point that was found."""

    id: NativeId
    score: float | None = None
    payload: dict[str, Any] | None = None
    vector: bytes | None = None


class Collection(Protocol):
    """One collection. Each call raises NotFound when it is gone, StoreError when it is damaged, StoreUnavailable
    when the store cannot be reached, InvalidRequest when the store itself refuses a filter."""

    async def upsert(self, points: Sequence[Point]) -> None:
        """Put points in, over those that have their ids; when it returns they are there whatever happens."""
        ...

    async def search(self, find: Find) -> list[Found]:
        """The nearest, best first."""
        ...

    async def page(self, page: Page) -> tuple[list[Found], NativeId | None]:
        """A page, and where the next one begins; None after the last."""
        ...

    async def count(self, filter: Filter | None) -> int:  # noqa: A002 - Qdrant's own word
        """How many points match, exactly."""
        ...

    async def delete(self, which: Sequence[NativeId] | Filter) -> int:
        """Take points out, by their ids or by a filter; how many were there."""
        ...


class VectorStore(Protocol):
    """Where collections are."""

    async def create(self, key: Key, shape: Shape) -> None:
        """A new, empty one.

        Raises:
            Conflict: there is one.
            StoreUnavailable, StoreError: it cannot be made.
        """
        ...

    async def drop(self, key: Key) -> None:
        """Delete one with all its points, damaged or not.

        Raises:
            NotFound: there is none.
        """
        ...

    async def shape(self, key: Key) -> Shape:
        """What one was made as.

        Raises:
            NotFound: there is none.
        """
        ...

    async def state(self, key: Key) -> State:
        """How one is.

        Raises:
            NotFound: there is none.
        """
        ...

    async def states(self, scope: str) -> list[State]:
        """How all of one scope are, by name."""
        ...

    def collection(self, key: Key) -> Collection:
        """What is done with the points of one; whether there is one is seen when it is used."""
        ...

    async def ping(self) -> None:
        """Ask whether the store is well.

        Raises:
            StoreUnavailable: it is not.
        """
        ...


def packed(vector: Iterable[float]) -> bytes:
    """Numbers as little-endian float32; what float32 cannot hold becomes infinite."""
    return _little(array("f", vector)).tobytes()


def numbers(vector: bytes) -> list[float]:
    """The same, back again."""
    return _little(array("f", vector)).tolist()


def _little(values: "array[float]") -> "array[float]":
    if sys.byteorder == "big":
        values.byteswap()
    return values
