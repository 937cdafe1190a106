"""What the service and the process of its embedded index say to each other: frames of MessagePack.

A frame is its length in four bytes, then an array: a number and a request, or the number and its answer.
"""

import struct
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from enginehouse.errors import Conflict, EnginehouseError, InvalidRequest, NotFound, StoreError, StoreUnavailable
from enginehouse.stores.vectors.base import Filter, Find, Key, NativeId, Page, Point, Shape

__all__ = [
    "WRITES",
    "Answer",
    "Ask",
    "Count",
    "Create",
    "Delete",
    "Describe",
    "Drop",
    "Look",
    "LookAll",
    "Problem",
    "Question",
    "Read",
    "Search",
    "Upsert",
    "decode_answer",
    "decode_ask",
    "frame",
    "split",
]

_LENGTH = struct.Struct("<I")


class _Request(Struct, frozen=True, array_like=True, tag=True):
    key: Key


class Create(_Request, frozen=True, array_like=True, tag=True):
    """Make a collection."""

    shape: Shape


class Drop(_Request, frozen=True, array_like=True, tag=True):
    """Delete a collection."""


class Describe(_Request, frozen=True, array_like=True, tag=True):
    """What it was made as."""


class Look(_Request, frozen=True, array_like=True, tag=True):
    """How it is."""


class LookAll(_Request, frozen=True, array_like=True, tag=True):
    """How all of the key's scope are; its name means nothing."""


class Upsert(_Request, frozen=True, array_like=True, tag=True):
    """Put points in."""

    points: list[Point]


class Search(_Request, frozen=True, array_like=True, tag=True):
    """The nearest."""

    find: Find


class Read(_Request, frozen=True, array_like=True, tag=True):
    """A page of points."""

    page: Page


class Count(_Request, frozen=True, array_like=True, tag=True):
    """How many."""

    filter: Filter | None


class Delete(_Request, frozen=True, array_like=True, tag=True):
    """Take points out."""

    ids: list[NativeId] | None
    filter: Filter | None


Question: TypeAlias = Create | Drop | Describe | Look | LookAll | Upsert | Search | Read | Count | Delete
WRITES = (Upsert, Delete)
"""Requests that change a collection's points."""


class Ask(Struct, frozen=True, array_like=True):
    """A request under its number."""

    number: int
    question: Question


class Problem(Struct, frozen=True, array_like=True):
    """One of our errors, on its way to the other process."""

    kind: str
    message: str
    param: str | None

    @classmethod
    def of(cls, error: EnginehouseError) -> "Problem":
        """An error that can travel."""
        return cls(type(error).__name__, error.message, error.param)

    def error(self) -> EnginehouseError:
        """The error again."""
        return _KINDS.get(self.kind, StoreError)(self.message, param=self.param)


_KINDS = {kind.__name__: kind for kind in (Conflict, InvalidRequest, NotFound, StoreError, StoreUnavailable)}


class Answer(Struct, frozen=True, array_like=True):
    """What came of a request: a problem, or a value whose type the request says."""

    number: int
    problem: Problem | None
    value: msgspec.Raw = msgspec.Raw(msgspec.msgpack.encode(None))


decode_ask = msgspec.msgpack.Decoder(Ask).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
_encode = msgspec.msgpack.Encoder().encode


def frame(message: Any) -> bytes:
    """A message as it is sent."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


def split(buffer: bytearray) -> list[bytes]:
    """Take the whole frames out of what has come so far; what is left over stays in the buffer."""
    bodies: list[bytes] = []
    start = 0
    while len(buffer) - start >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(buffer, start)
        end = start + _LENGTH.size + length
        if len(buffer) < end:
            break
        bodies.append(bytes(buffer[start + _LENGTH.size : end]))
        start = end
    del buffer[:start]
    return bodies
