"""What every dialect offers to faces and engines: one codec for requests, whole answers, streams and errors."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from enginehouse.errors import EnginehouseError
from enginehouse.types.answer import Event
from enginehouse.types.generation import Generation

__all__ = ["Asked", "Codec", "Head", "Residence", "StreamReader", "StreamWriter"]


class Residence(StrEnum):
    """What a request that wants no answer wants done with the model; only Ollama's clients ask so."""

    LOAD = "load"
    UNLOAD = "unload"


class Asked(Struct, frozen=True, kw_only=True):
    """A request as a client wrote it, understood."""

    generation: Generation
    stream: bool
    wants_usage: bool = True
    """Whether a stream shall tell the tokens; only OpenAI's chat and text completions have to be asked."""
    residence: Residence | None = None
    """Set when nothing is to be generated: `generation` then names the model and holds neither turns nor prompt."""


class Head(Struct, frozen=True, kw_only=True):
    """What an answer says of itself, as the face wants it said."""

    id: str
    """Unique, without the dialect's prefix."""
    model: str
    """As the caller named it."""
    created: float
    """Unix seconds."""
    wants_usage: bool = True
    generation: Generation | None = None
    """What is answered: OpenAI's Responses repeat some of it, and tell defaults when it is not given."""


class StreamReader(Protocol):
    """Events out of an engine's stream, however its bytes are cut into chunks."""

    ended: bool
    """Whether the stream has come to its proper end; what follows is not looked at."""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are complete with this chunk.

        Raises:
            EnginehouseError: the engine reports an error inside the stream.
            UpstreamDied: what it sends is not this dialect.
        """
        ...

    def close(self) -> list[Event]:
        """The last events, when no more bytes come.

        Raises:
            UpstreamDied: the stream broke off before its end.
        """
        ...


class StreamWriter(Protocol):
    """A stream as this dialect's clients expect it; every call gives whole frames, or nothing."""

    def write(self, event: Event) -> bytes:
        """The frames of one event."""
        ...

    def close(self) -> bytes:
        """The end of a stream that went well.

        Raises:
            UpstreamDied: a choice has not finished; such a stream must end with `fail`.
        """
        ...

    def fail(self, error: EnginehouseError, status: int) -> bytes:
        """The end of a stream that went wrong."""
        ...

    def ping(self) -> bytes:
        """What keeps a silent connection open and says nothing."""
        ...


class Codec(Protocol):
    """One dialect, both ways."""

    media_type: str
    """Of its streams."""
    statuses: Mapping[str, int]
    """Error codes whose HTTP status its clients expect to differ from the service's own."""

    def read_request(self, body: bytes) -> Asked:
        """What a client asks for.

        Raises:
            InvalidRequest: not JSON, a field missing, wrong, or not to be understood; `param` names it.
        """
        ...

    def write_request(self, generation: Generation, *, stream: bool) -> bytes:
        """A request to a server.

        Raises:
            InvalidRequest: this dialect cannot say what is asked; `param` names it.
        """
        ...

    def reader(self) -> StreamReader:
        """For one stream of an engine."""
        ...

    def writer(self, head: Head) -> StreamWriter:
        """For one stream to a client."""
        ...

    def read_answer(self, body: bytes) -> list[Event]:
        """The events of a whole answer.

        Raises:
            UpstreamDied: not an answer in this dialect.
        """
        ...

    def write_answer(self, events: Iterable[Event], head: Head) -> bytes:
        """A whole answer.

        Raises:
            UpstreamDied: a choice has not finished.
        """
        ...

    def write_error(self, error: EnginehouseError, status: int) -> bytes:
        """An error's body."""
        ...
