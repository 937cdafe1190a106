"""OpenAI's Responses, after the public API reference and the types of the official client; nothing is stored."""

from collections.abc import Iterable, Mapping

import msgspec

from enginehouse.dialects.base import Asked, Head
from enginehouse.dialects.openai.responses_reader import ResponsesReader, read_responses_answer
from enginehouse.dialects.openai.responses_request import read_responses_request, write_responses_request
from enginehouse.dialects.openai.responses_writer import ResponsesWriter, write_responses_answer
from enginehouse.dialects.openai.shapes import error_json
from enginehouse.errors import EnginehouseError
from enginehouse.types.answer import Event
from enginehouse.types.generation import Generation

__all__ = ["OpenAIResponses"]


class OpenAIResponses:
    """Satisfies `Codec`. A head that knows its `generation` lets a response repeat what it was asked."""

    media_type = "text/event-stream; charset=utf-8"
    statuses: Mapping[str, int] = {}

    def read_request(self, body: bytes) -> Asked:
        """What a client asks for; earlier responses, conversations and prompts of OpenAI's store are refused."""
        return read_responses_request(body)

    def write_request(self, generation: Generation, *, stream: bool) -> bytes:
        """A request to a server."""
        return write_responses_request(generation, stream=stream)

    def reader(self) -> ResponsesReader:
        """For one stream of an engine."""
        return ResponsesReader()

    def writer(self, head: Head) -> ResponsesWriter:
        """For one stream to a client."""
        return ResponsesWriter(head)

    def read_answer(self, body: bytes) -> list[Event]:
        """The events of a whole answer."""
        return read_responses_answer(body)

    def write_answer(self, events: Iterable[Event], head: Head) -> bytes:
        """A whole answer."""
        return write_responses_answer(events, head)

    def write_error(self, error: EnginehouseError, status: int) -> bytes:
        """An error's body."""
        return msgspec.json.encode(error_json(error, status))
