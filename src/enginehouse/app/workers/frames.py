"""Frames between a worker and the owner, over a local socket: a length of four bytes, then msgpack.

A frame is a number, a word and a body. Under one number a worker asks, and the owner answers; what is told without
being asked has the number 0.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, cast

import msgspec

from enginehouse import errors
from enginehouse.errors import EnginehouseError

__all__ = [
    "ANSWER",
    "CANCEL",
    "CARRY",
    "FAILED",
    "LEAVE",
    "LOOK",
    "NEWS",
    "Framed",
    "packed",
    "packed_error",
    "unpacked_error",
]

ANSWER, FAILED, NEWS = "=", "!", "~"
"""What the owner says of a number: an answer, an error, or how things are meanwhile."""
LEAVE, CANCEL = "/", "-"
"""What a worker says of one: what was held is given back, or is not wanted any more."""
LOOK = "look"
"""What the owner tells by itself when something was changed: look at it now, and say that it was done."""
CARRY = "carry"
"""The same when somebody wants to read the books: hand in what is not there yet."""
_HEAD = 4

packed = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(tuple[int, str, bytes]).decode
_read_error = msgspec.msgpack.Decoder(tuple[str, dict[str, Any]]).decode


class Framed(asyncio.Protocol, ABC):
    """One end of a connection; who takes it on says what is done with what is heard."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on every whole frame."""
        data = self._rest + data if self._rest else data
        at = 0
        while (end := at + _HEAD) <= len(data):
            end += int.from_bytes(data[at:end])
            if end > len(data):
                break
            frame, at = data[at + _HEAD : end], end
            self.hear(*_read(frame))
        self._rest = data[at:]

    def say(self, number: int, word: str, body: bytes = b"") -> None:
        """Send a frame; what cannot be sent any more is dropped."""
        if self._transport is not None and not self._transport.is_closing():
            frame = packed((number, word, body))
            self._transport.write(len(frame).to_bytes(_HEAD) + frame)

    def hang_up(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.abort()

    @abstractmethod
    def hear(self, number: int, word: str, body: bytes) -> None:
        """A frame has come."""


def packed_error(error: EnginehouseError) -> bytes:
    """An error of the tree, as it can be sent."""
    return packed((type(error).__name__, vars(error)))


def unpacked_error(body: bytes) -> EnginehouseError:
    """The same error, as it can be raised."""
    name, state = _read_error(body)
    kind: type[EnginehouseError] = getattr(errors, name, EnginehouseError)
    error = kind.__new__(kind, state["message"])
    Exception.__init__(error, state["message"])
    vars(error).update(state)
    return error
