"""Ids of points: any text or whole number is one, and comes back as it was given.

Qdrant knows whole numbers below 2⁶⁴ and UUIDs. Anything else gets a UUID of its own, always the same, and the
caller's id is kept beside the payload.
"""

from typing import Any, TypeAlias, cast
from uuid import UUID, uuid5

from enginehouse.errors import InvalidRequest
from enginehouse.stores.vectors.base import OWN_ID, NativeId

__all__ = ["MAX_ID_BYTES", "OwnId", "kept", "native", "own"]

OwnId: TypeAlias = int | str
"""An id as its caller gave it."""

MAX_ID_BYTES = 256
_LARGEST = 2**64 - 1
_NAMES = UUID("6f6a2a5e-7d0c-5f0e-9f5b-0d3c1c1a4a11")
"""The space in which ids are named; another one would be another id for everything that is stored."""


def native(id_: Any, where: str = "id") -> NativeId:
    """The id as Qdrant knows it.

    Args:
        id_: what the caller gave.
        where: what to call it in the error.

    Raises:
        InvalidRequest: neither a text nor a whole number, empty, or longer than 256 bytes.
    """
    if isinstance(id_, bool) or not isinstance(id_, int | str):
        raise InvalidRequest(f"{where}: an id is a text or a whole number.", param=where)
    if isinstance(id_, int):
        if 0 <= id_ <= _LARGEST:
            return id_
        _check_length(str(id_), where)
        return str(uuid5(_NAMES, f"int:{id_}"))
    _check_length(id_, where)
    return _uuid(id_) or str(uuid5(_NAMES, f"str:{id_}"))


def kept(id_: OwnId, native_id: NativeId, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload as it is stored: with the caller's id where Qdrant's is another."""
    return payload if id_ == native_id else {**payload, OWN_ID: id_ if isinstance(id_, str) else [str(id_)]}


def own(native_id: NativeId, payload: dict[str, Any] | None) -> OwnId:
    """The caller's id again; takes it out of the payload."""
    held = (payload or {}).pop(OWN_ID, None)
    if held is None:
        return native_id
    return int(cast("list[str]", held)[0]) if isinstance(held, list) else held


def _check_length(text: str, where: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"{where}: an id has to be valid Unicode.", param=where) from None
    if not 0 < length <= MAX_ID_BYTES:
        raise InvalidRequest(f"{where}: an id has 1 to {MAX_ID_BYTES} bytes, this one {length}.", param=where)


def _uuid(text: str) -> str | None:
    try:
        return str(UUID(text)) if len(text) in (32, 36, 45) else None
    except ValueError:
        return None
