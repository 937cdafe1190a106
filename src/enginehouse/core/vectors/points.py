"""What a point has to be before it is stored: each mistake is told with the point's index, and none gets past."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from enginehouse.core.vectors.ids import kept, native
from enginehouse.errors import InvalidRequest
from enginehouse.stores.vectors.base import OWN_ID, Point, packed

__all__ = ["PointBody", "checked_point", "checked_vector"]

_FLOAT32 = 3.4028234663852886e38
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_DEEPEST = 64


class PointBody(msgspec.Struct, kw_only=True):
    """A point as its caller sends it: with a vector, or with a text that becomes one."""

    id: int | str
    vector: list[float] | None = None
    text: str | None = None
    payload: dict[str, Any] | None = None


def checked_point(body: PointBody, vector: Sequence[float], where: str, *, size: int, max_payload: int) -> Point:
    """The point as it is stored.

    Args:
        body: what the caller sent.
        vector: its own, or the one that its text became.
        where: what to call it in errors, such as `points[3]`.
        size: numbers that the collection's vectors have.
        max_payload: most bytes of a payload, as JSON.

    Raises:
        InvalidRequest: id, vector or payload cannot be stored.
    """
    native_id = native(body.id, f"{where}.id")
    payload = body.payload or {}
    _check_payload(payload, f"{where}.payload", max_payload)
    return Point(native_id, checked_vector(vector, f"{where}.vector", size), kept(body.id, native_id, payload))


def checked_vector(vector: Sequence[float], where: str, size: int) -> bytes:
    """A vector as it is stored.

    Raises:
        InvalidRequest: it has another length, or holds a number that float32 cannot.
    """
    if len(vector) != size:
        raise InvalidRequest(
            f"{where}: it has {len(vector)} numbers, the collection's vectors have {size}.", param=where
        )
    if not (min(vector) >= -_FLOAT32 and max(vector) <= _FLOAT32 and math.isfinite(sum(vector))):
        raise InvalidRequest(f"{where}: it holds a number that is not finite in 32 bits.", param=where)
    return packed(vector)


def _check_payload(payload: Mapping[str, Any], where: str, most: int) -> None:
    if OWN_ID in payload:
        raise InvalidRequest(f"{where}: the key {OWN_ID!r} is the service's own.", param=where)
    _check_value(payload, where, _DEEPEST)
    if (length := len(msgspec.json.encode(payload))) > most:
        raise InvalidRequest(
            f"{where}: it has {length} bytes as JSON; vectors.max_payload_bytes allows {most}.", param=where
        )


def _check_value(value: Any, where: str, depth: int) -> None:
    """Only numbers can be wrong in JSON: some are larger than any store keeps."""
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        raise InvalidRequest(f"{where}: it holds a whole number of more than 64 bits.", param=where)
    if isinstance(value, dict | list):
        if depth == 0:
            raise InvalidRequest(f"{where}: it is nested deeper than {_DEEPEST}.", param=where)
        items = cast("Mapping[str, Any]", value).values() if isinstance(value, dict) else cast("list[Any]", value)
        for item in items:
            _check_value(item, where, depth - 1)
