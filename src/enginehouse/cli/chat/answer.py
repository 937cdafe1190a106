"""One answer as it comes in: the fold of a stream's chunks, and when they came."""

from typing import Any

import msgspec
from msgspec import Struct

from enginehouse.errors import UpstreamDied

__all__ = ["Answer", "Chunk", "Figures", "Piece", "read_chunk"]


class Delta(Struct):
    """What a chunk adds to the message."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """What some servers call `reasoning_content`."""


class Choice(Struct):
    """One of the answers of a chunk; only the first is ever asked for."""

    delta: Delta | None = None
    finish_reason: str | None = None


class Count(Struct):
    """Tokens, as OpenAI counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Chunk(Struct):
    """One frame of a chat stream, as far as a terminal cares."""

    choices: list[Choice] = []
    usage: Count | None = None
    error: Any = None
    """In place of all else: what went wrong after the stream had begun."""


class Piece(Struct, frozen=True):
    """What one chunk adds for the reader."""

    text: str = ""
    thought: str = ""
    """Reasoning that comes before the answer and is no part of it."""


class Figures(Struct, frozen=True, kw_only=True):
    """What there is to say about an answer; times in seconds, None where nothing is known."""

    tokens: int
    counted: bool
    """Whether the service counted the tokens, or they are the pieces that came."""
    prompt_tokens: int | None
    ttft: float | None
    """From the question to the first piece."""
    seconds: float
    """From the question to the end."""
    rate: float | None
    """Tokens a second after the first one."""


class Answer:
    """Collects the chunks of one stream.

    Args:
        asked: when the question was sent, in seconds of the caller's clock.
    """

    def __init__(self, asked: float) -> None:
        self.finish_reason: str | None = None
        """Why the model ended; None while it has not, or when it was stopped."""
        self.count: Count | None = None
        self._asked = asked
        self._first: float | None = None
        self._last = asked
        self._texts: list[str] = []
        self._pieces = 0

    @property
    def text(self) -> str:
        """What has come so far, without the reasoning."""
        return "".join(self._texts)

    @property
    def began(self) -> bool:
        """Whether anything has come."""
        return self._first is not None

    def add(self, chunk: Chunk, now: float) -> Piece:
        """Take the next chunk and return what of it is to be shown."""
        self.count = chunk.usage or self.count
        choice = chunk.choices[0] if chunk.choices else Choice()
        self.finish_reason = choice.finish_reason or self.finish_reason
        delta = choice.delta or Delta()
        piece = Piece(delta.content or "", delta.reasoning_content or delta.reasoning or "")
        if piece.text or piece.thought:
            self._first = now if self._first is None else self._first
            self._last = now
            self._pieces += 1
            self._texts.append(piece.text)
        return piece

    def figures(self) -> Figures:
        """What there is to say about it."""
        counted = self.count.completion_tokens if self.count else None
        tokens = self._pieces if counted is None else counted
        spent = self._last - self._first if self._first is not None else 0.0
        return Figures(
            tokens=tokens,
            counted=counted is not None,
            prompt_tokens=self.count.prompt_tokens if self.count else None,
            ttft=self._first - self._asked if self._first is not None else None,
            seconds=self._last - self._asked,
            rate=(tokens - 1) / spent if tokens > 1 and spent > 0 else None,
        )


_chunks = msgspec.json.Decoder(Chunk)


def read_chunk(data: bytes) -> Chunk:
    """A frame's payload.

    Raises:
        UpstreamDied: it is no chunk of a chat stream.
    """
    try:
        return _chunks.decode(data)
    except msgspec.MsgspecError as error:
        raise UpstreamDied("The service sent a frame that cannot be read.") from error
