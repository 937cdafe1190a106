"""What an engine can do, one small protocol an ability.

An engine object stands for one *ready* deployment: it exists from the moment the engine answers until its
launcher's context ends. Callers ask `isinstance(engine, Embeds)`; there are no capability flags.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias, TypeGuard, runtime_checkable

from msgspec import Struct

from enginehouse.types.answer import Event
from enginehouse.types.generation import Dialect, Generation

__all__ = [
    "Call",
    "Carried",
    "Carrier",
    "Carries",
    "Classification",
    "Classifies",
    "Counts",
    "Embedding",
    "Embeds",
    "Engine",
    "Forwards",
    "Generates",
    "Hear",
    "Lists",
    "Pulses",
    "Ranking",
    "Reply",
    "Reranks",
    "Tokenizes",
    "forwards",
]


class Engine(Protocol):
    """What every engine has."""

    async def healthy(self) -> bool:
        """Whether it answers right now, asked of the engine itself within a few seconds."""
        ...


class Call(Struct, frozen=True, kw_only=True):
    """A request in an engine's own dialect, ready to be sent."""

    dialect: Dialect
    body: bytes
    """JSON as the caller wrote it, changed only where the face had to."""
    stream: bool
    request_id: str


class Reply(Protocol):
    """What comes back of a forwarded call: headers are in, the body is not read yet."""

    status: int
    prompt_tokens: int | None
    """Tokens of the prompt, as soon as the engine has told them; most tell them at the answer's end only."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, in whatever case they are asked for."""
        ...

    def frames(self) -> AsyncIterator[bytes]:
        """Bytes as they arrive, in the engine's own chunks.

        Raises:
            UpstreamDied: the connection broke before the body's end.
            UpstreamTimeout: nothing came for longer than allowed.
        """
        ...

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            UpstreamDied: the connection broke before the body's end.
            UpstreamTimeout: nothing came for longer than allowed.
        """
        ...


@runtime_checkable
class Forwards(Protocol):
    """Speaks a client's dialect itself, so that bytes may pass through as they are."""

    @property
    def dialects(self) -> Collection[Dialect]:
        """Those it speaks."""
        ...

    def forward(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """Send a call; leaving the context before the body's end cancels the generation upstream.

        Raises:
            UpstreamDied: no connection, or it broke before the headers came.
            UpstreamTimeout: no headers within the allowed time.
        """
        ...


def forwards(engine: Engine) -> TypeGuard[Forwards]:
    """Whether it satisfies `Forwards`; every request asks, and a class is looked at once."""
    kind = type(engine)
    if kind not in _FORWARDING:
        _FORWARDING[kind] = isinstance(engine, Forwards)
    return _FORWARDING[kind]


_FORWARDING: dict[type, bool] = {}


Hear: TypeAlias = Callable[[bytes, int], None]
"""Told of pieces of an answer, as `Carrier.send_now` says."""


class Carried(Protocol):
    """An answer that comes in without anybody's task; whoever has it has to leave it, however it ends."""

    status: int
    """0 until the head is in."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, in whatever case they are asked for; empty until the head is in."""
        ...

    @property
    def last_heard(self) -> float:
        """When anything of it last came, on the loop's clock; 0 once it has been left."""
        ...

    async def whole(self) -> bytes:
        """The body of a whole answer, of whatever status, when it has come to its proper end.

        Raises:
            Unheard: the connection broke before any byte came: it was stale, and the request may be sent anew.
            UpstreamDied: it broke within the answer, what came is no HTTP, or it is larger than 256 MiB.
            UpstreamTimeout: nothing came for longer than allowed.
        """
        ...

    def then(self, told: Callable[[], None]) -> None:
        """Tell this one, once, when a whole answer has come to its end or none will come; at once if that is so.

        It is told in the loop's own callback, unless the answer is left before.
        """
        ...

    def taken(self) -> bytes:
        """What `whole` returns or raises, of an answer that has come to its end or will not come."""
        ...

    async def over(self) -> None:
        """A streamed answer has come to its end, or was left; a refusal is then read by `whole`.

        Raises:
            Unheard, UpstreamDied, UpstreamTimeout: as of `whole`, and the first also for what is no stream.
            Exception: whatever `hear` has raised; the connection is cut.
        """
        ...

    def pause(self, full: bool) -> None:
        """The caller's side is full, or has drained: stop reading the socket, or go on. It is no silence."""
        ...

    def leave(self) -> None:
        """Have done with it, once or again: its connection is free for the next request if the answer has ended as
        it had announced, else it is cut, which tells the server to stop."""
        ...

    def done(self) -> None:
        """The same for who has heard all that there is to hear, though the message may not have ended: its end may
        be on its way, and has a moment to come."""
        ...


class Carrier(Protocol):
    """Requests in one dialect to one server; made once, and kept for as long as the engine is."""

    def send_now(
        self,
        body: bytes,
        request_id: str,
        hear: Hear | None = None,
        passed_on: Mapping[str, str] = ...,
    ) -> Carried | None:
        """Send a request on a connection that is free. None, and nothing was sent, when there is none.

        Args:
            body: in the carrier's dialect, as `Call.body`.
            request_id: sent along.
            hear: told of each piece of a streamed answer as the socket gives it, in the loop's own callback; it may
                pause, and be done. Told are bytes, and where the piece begins in them: they are all of it, from 0
                on, or one whole chunk as chunked transfer writes it, with its `types.chunked.ENDING`. Nothing else
                is told than a stream of the carrier's dialect, whose status and headers can be read by then. None
                gathers the body for `whole`; a refusal (400 and above) always is gathered.
            passed_on: further headers: those of the distributed trace.
        """
        ...

    async def send(
        self,
        body: bytes,
        request_id: str,
        hear: Hear | None = None,
        passed_on: Mapping[str, str] = ...,
    ) -> Carried:
        """The same on a new connection.

        Raises:
            UpstreamDied, UpstreamTimeout: there is none to be had.
        """
        ...


@runtime_checkable
class Carries(Protocol):
    """Can be asked at once, where a connection to its server is free."""

    def carrier(self, dialect: Dialect) -> Carrier | None:
        """Requests of one dialect; None where that is never possible: one it does not speak, a library's client,
        connections that are used once, an answer that is changed on its way."""
        ...


@runtime_checkable
class Pulses(Protocol):
    """Can be told from a wedged engine by what it writes, since it writes while it works."""

    @property
    def silence(self) -> float:
        """Seconds in which it owed somebody an answer and wrote to nobody, since it last wrote anything."""
        ...


@runtime_checkable
class Generates(Protocol):
    """Answers a `Generation`, whatever dialect the caller and the engine speak."""

    def generate(
        self, generation: Generation, *, request_id: str
    ) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """The events of the answer as they come; inside the context the engine has taken the request.

        Leaving the context before the last event cancels the generation upstream. The iterator ends only after a
        whole answer, and raises `UpstreamDied` or `UpstreamTimeout` when the engine does not come to its end.

        Raises:
            InvalidRequest: the engine cannot be told what is asked, or refuses it as the caller's fault.
            EngineError: it refuses for another reason, cannot be reached or does not answer in time.
        """
        ...


@runtime_checkable
class Lists(Protocol):
    """Knows what else its server has."""

    async def models(self) -> Sequence[str]:
        """The server's own names of all its models.

        Raises:
            EngineError: it does not tell them.
        """
        ...


class Embedding(Struct, frozen=True, kw_only=True):
    """Vectors of one batch: `vectors` is row by row, unit length; `tokens` counts what was read."""

    vectors: Sequence[Sequence[float]]
    tokens: int
    truncated: tuple[int, ...] = ()
    """Indices of the texts that were longer than the model reads."""


@runtime_checkable
class Embeds(Protocol):
    """Turns texts into vectors."""

    async def embed(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> Embedding:
        """One vector a text (or a list of the model's own token ids), in order.

        Raises:
            InvalidRequest: a token id the model does not know.
        """
        ...


class Ranking(Struct, frozen=True, kw_only=True):
    """How well documents answer a query: `scores` one a document, in order, higher is better; `tokens` counts what
    was read."""

    scores: Sequence[float]
    tokens: int
    truncated: tuple[int, ...] = ()
    """Indices of the documents that, with the query, were longer than the model reads."""


@runtime_checkable
class Reranks(Protocol):
    """Reads a query and a document together and says how well one answers the other."""

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranking:
        """One score a document, in order.

        Raises:
            InvalidRequest: it refuses them.
            EngineError: it cannot be reached, or does not answer with scores.
        """
        ...


class Classification(Struct, frozen=True, kw_only=True):
    """What a classifier says of one batch."""

    labels: tuple[str, ...]
    """Its classes, in the order of the scores."""
    scores: Sequence[Sequence[float]]
    """Row by row, a probability for each label; they sum up to 1 where a text has exactly one label."""
    tokens: int
    """What was read, special tokens included."""
    truncated: tuple[int, ...] = ()
    """Indices of the texts of which a part was not read."""
    neutral: str | None = None
    """The label that stands for "nothing of the kind", where there is one."""
    threshold: float | None = None
    """From which probability of anything but the neutral label on its makers advise to act."""


@runtime_checkable
class Classifies(Protocol):
    """Says which of its labels fit a text."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Its classes, in the order of the scores."""
        ...

    async def classify(self, texts: Sequence[str]) -> Classification:
        """Scores of each text, in order; any text is answered, an empty one too.

        Raises:
            EngineError: the model could not be run.
        """
        ...


@runtime_checkable
class Counts(Protocol):
    """Knows how long a prompt is without answering it."""

    async def count(self, generation: Generation, *, request_id: str) -> int:
        """Tokens of the prompt, template and tools included.

        Raises:
            InvalidRequest: it cannot be told what to count.
            EngineError: it does not answer, or not with a number.
        """
        ...


@runtime_checkable
class Tokenizes(Protocol):
    """Counts as the model counts."""

    async def tokenize(self, text: str) -> Sequence[int]:
        """The model's own token ids of a text, without special tokens."""
        ...
