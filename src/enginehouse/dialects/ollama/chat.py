"""Ollama's `/api/chat`, after its public API reference and the types of the official client."""

from collections.abc import Iterable, Mapping

import msgspec

from enginehouse.dialects.base import Asked, Head, Residence
from enginehouse.dialects.ollama.chat_request import read_chat_request, write_chat_request
from enginehouse.dialects.ollama.stream import OllamaReader, read_ollama_answer
from enginehouse.dialects.ollama.writing import OllamaWriter, in_message, write_ollama_answer, write_residence
from enginehouse.errors import EnginehouseError
from enginehouse.types.answer import Event
from enginehouse.types.generation import Generation

__all__ = ["OllamaChat"]


class OllamaChat:
    """Satisfies `Codec`."""

    media_type = "application/x-ndjson"
    statuses: Mapping[str, int] = {}

    def read_request(self, body: bytes) -> Asked:
        """What a client asks for; an empty request has a `residence`."""
        return read_chat_request(body)

    def write_request(self, generation: Generation, *, stream: bool) -> bytes:
        """A request to a server."""
        return write_chat_request(generation, stream=stream)

    def reader(self) -> OllamaReader:
        """For one stream of an engine."""
        return OllamaReader()

    def writer(self, head: Head) -> OllamaWriter:
        """For one stream to a client."""
        return OllamaWriter(head, in_message)

    def read_answer(self, body: bytes) -> list[Event]:
        """The events of a whole answer."""
        return read_ollama_answer(body)

    def write_answer(self, events: Iterable[Event], head: Head) -> bytes:
        """A whole answer."""
        return write_ollama_answer(events, head, in_message)

    def write_residence(self, residence: Residence, head: Head) -> bytes:
        """The answer to an empty request, which is one object even where a stream was asked for."""
        return write_residence(residence, head, in_message)

    def write_error(self, error: EnginehouseError, status: int) -> bytes:  # noqa: ARG002 - the status line has it
        """An error's body: words, and nothing else."""
        return msgspec.json.encode({"error": error.message})
