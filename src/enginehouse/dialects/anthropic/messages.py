"""Anthropic's Messages, after the public API reference and the types of the official client."""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from enginehouse.dialects.anthropic.request import (
    read_count_request,
    read_messages_request,
    write_count_request,
    write_messages_request,
)
from enginehouse.dialects.anthropic.shapes import STATUSES, error_json
from enginehouse.dialects.anthropic.stream import MessagesReader, read_messages_answer
from enginehouse.dialects.anthropic.writer import MessagesWriter, write_messages_answer
from enginehouse.dialects.base import Asked, Head
from enginehouse.dialects.shapes import from_engine
from enginehouse.errors import EnginehouseError
from enginehouse.types.answer import Event
from enginehouse.types.generation import Generation

__all__ = ["AnthropicMessages"]


class _Count(Struct):
    input_tokens: int


class AnthropicMessages:
    """Satisfies `Codec`.

    Args:
        max_tokens: most tokens of an answer, where the caller does not say; Anthropic has to be told.
    """

    media_type = "text/event-stream; charset=utf-8"
    statuses: Mapping[str, int] = STATUSES

    def __init__(self, *, max_tokens: int = 4096) -> None:
        self._max_tokens = max_tokens

    def read_request(self, body: bytes) -> Asked:
        """What a client asks for."""
        return read_messages_request(body)

    def write_request(self, generation: Generation, *, stream: bool) -> bytes:
        """A request to a server."""
        return write_messages_request(generation, stream=stream, max_tokens=self._max_tokens)

    def reader(self) -> MessagesReader:
        """For one stream of an engine."""
        return MessagesReader()

    def writer(self, head: Head) -> MessagesWriter:
        """For one stream to a client."""
        return MessagesWriter(head)

    def read_answer(self, body: bytes) -> list[Event]:
        """The events of a whole answer."""
        return read_messages_answer(body)

    def write_answer(self, events: Iterable[Event], head: Head) -> bytes:
        """A whole answer."""
        return write_messages_answer(events, head)

    def write_error(self, error: EnginehouseError, status: int) -> bytes:
        """An error's body."""
        return msgspec.json.encode(error_json(error, status))

    def read_count_request(self, body: bytes) -> Generation:
        """What a client wants the tokens of.

        Raises:
            InvalidRequest: as `read_request`.
        """
        return read_count_request(body)

    def write_count_request(self, generation: Generation) -> bytes:
        """A request for the number of a prompt's tokens.

        Raises:
            InvalidRequest: as `write_request`, sampling aside.
        """
        return write_count_request(generation)

    def read_count(self, body: bytes) -> int:
        """How many tokens a server has counted.

        Raises:
            UpstreamDied: it says something else.
        """
        return from_engine(body, _Count).input_tokens

    def write_count(self, tokens: int) -> bytes:
        """How many tokens we have counted."""
        return msgspec.json.encode({"input_tokens": tokens})
