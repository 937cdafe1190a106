"""Points on their way into a collection: checked as they come, texts embedded together, stored all or none."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from msgspec import Struct

from enginehouse.core.vectors.points import PointBody, checked_point
from enginehouse.errors import InvalidRequest
from enginehouse.stores.vectors.base import Point, Shape
from enginehouse.types import Principal

__all__ = ["MAX_POINTS", "Asker", "Batch", "Embed", "Embedded"]

MAX_POINTS = 10_000
"""Points that one call may bring."""


class Asker(Struct, frozen=True, kw_only=True):
    """Who asks, and under which id."""

    principal: Principal
    request_id: str


class Embedded(Struct, frozen=True, kw_only=True):
    """Texts as vectors, in their order."""

    vectors: Sequence[Sequence[float]]
    tokens: int
    """What they were for the model."""


Embed: TypeAlias = Callable[[str, Sequence[str], Asker], Awaitable[Embedded]]
"""Turns texts into vectors: the model's id, the texts, and who asks."""


class Batch:
    """Points of one call.

    Args:
        shape: what the collection was made as.
        max_payload: most bytes of a payload, as JSON.
    """

    def __init__(self, shape: Shape, max_payload: int) -> None:
        self._shape, self._max_payload = shape, max_payload
        self._points: list[Point | PointBody] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._points)

    def add(self, body: PointBody) -> None:
        """One more.

        Raises:
            InvalidRequest: it cannot be stored, or there are too many; the message has its index.
        """
        where = f"points[{len(self._points)}]"
        if len(self._points) == MAX_POINTS:
            raise InvalidRequest(f"points: a call may bring {MAX_POINTS} at most.", param="points")
        if (body.vector is None) == (body.text is None):
            raise InvalidRequest(f"{where}: a point has either a vector or a text.", param=where)
        if body.vector is not None:
            self._points.append(self._checked(body, body.vector, where))
            return
        if self._shape.embedding_model is None:
            raise InvalidRequest(
                f"{where}.text: the collection has no embedding_model; send a vector.", param=f"{where}.text"
            )
        if not body.text:
            raise InvalidRequest(f"{where}.text: it is empty.", param=f"{where}.text")
        self._checked(body, [0.0] * self._shape.size, where)  # id and payload, before any text is embedded
        self._points.append(body)

    async def embed(self, embed: Embed, asker: Asker) -> int:
        """Turn the texts into vectors; the tokens that took.

        Raises:
            InvalidRequest: the model's vectors do not fit the collection.
            EnginehouseError: the model cannot be asked.
        """
        texts = {index: point for index, point in enumerate(self._points) if isinstance(point, PointBody)}
        if not texts or self._shape.embedding_model is None:
            return 0
        embedded = await embed(self._shape.embedding_model, [body.text or "" for body in texts.values()], asker)
        for (index, body), vector in zip(texts.items(), embedded.vectors, strict=True):
            self._points[index] = self._checked(body, vector, f"points[{index}]")
        return embedded.tokens

    def points(self) -> list[Point]:
        """What to store; of two with one id the later counts."""
        return list({point.id: point for point in self._points if isinstance(point, Point)}.values())

    def _checked(self, body: PointBody, vector: Sequence[float], where: str) -> Point:
        return checked_point(body, vector, where, size=self._shape.size, max_payload=self._max_payload)
