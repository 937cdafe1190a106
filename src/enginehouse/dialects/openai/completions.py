"""OpenAI's text completions, after the public API reference and the types of the official client."""

from collections.abc import Iterable, Mapping

import msgspec

from enginehouse.dialects.base import Asked, Head
from enginehouse.dialects.openai.chat_stream import ChatReader, read_chat_answer
from enginehouse.dialects.openai.completions_request import read_completions_request, write_completions_request
from enginehouse.dialects.openai.completions_stream import CompletionsWriter, write_completions_answer
from enginehouse.dialects.openai.shapes import error_json
from enginehouse.errors import EnginehouseError
from enginehouse.types.answer import Event
from enginehouse.types.generation import Generation

__all__ = ["OpenAICompletions"]


class OpenAICompletions:
    """Satisfies `Codec`.

    Args:
        extended: whether the server that requests are written for knows the words that llama.cpp, vLLM and their
            like have added (`top_k`, `min_p`, `repeat_penalty`).
    """

    media_type = "text/event-stream; charset=utf-8"
    statuses: Mapping[str, int] = {}

    def __init__(self, *, extended: bool = False) -> None:
        self._extended = extended

    def read_request(self, body: bytes) -> Asked:
        """What a client asks for."""
        return read_completions_request(body)

    def write_request(self, generation: Generation, *, stream: bool) -> bytes:
        """A request to a server."""
        return write_completions_request(generation, stream=stream, extended=self._extended)

    def reader(self) -> ChatReader:
        """For one stream of an engine; its chunks differ from chat's in a field."""
        return ChatReader()

    def writer(self, head: Head) -> CompletionsWriter:
        """For one stream to a client."""
        return CompletionsWriter(head)

    def read_answer(self, body: bytes) -> list[Event]:
        """The events of a whole answer."""
        return read_chat_answer(body)

    def write_answer(self, events: Iterable[Event], head: Head) -> bytes:
        """A whole answer."""
        return write_completions_answer(events, head)

    def write_error(self, error: EnginehouseError, status: int) -> bytes:
        """An error's body."""
        return msgspec.json.encode(error_json(error, status))
