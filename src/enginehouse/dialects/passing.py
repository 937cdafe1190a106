"""Bytes that pass through as they are, read on their way: what they count, what they report, and where they end."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TypeAlias

import msgspec

from enginehouse.dialects.base import Codec
from enginehouse.dialects.openai.repeating import Pattern, Repeating, Words, one_by_one
from enginehouse.errors import UpstreamDied
from enginehouse.types.answer import Event
from enginehouse.types.generation import Dialect

__all__ = ["Passage", "asking_for_usage", "data_of", "whole_pieces", "with_defaults"]

Fields: TypeAlias = dict[str, msgspec.Raw]
"""A JSON object whose values nobody has looked at."""

_MAX_PIECE = 16 * 1024 * 1024
_ASKED = frozenset({Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPLETIONS})
"""Dialects whose streams tell the tokens only when they are asked to, in a frame of its own."""
_OPTIONS = frozenset({Dialect.OLLAMA_CHAT, Dialect.OLLAMA_GENERATE})
"""Dialects that keep such parameters in an object of their own."""
_OLLAMA = {"max_tokens": "num_predict"}
_DONE = b"data: [DONE]\n\n"
_USAGE, _BLANK = b'"usage"', b"\n\n"
_RETURN = ord("\r")
"""As a number: for bytes, `in` makes an error and forgets it again before it looks for them."""


class Passage:
    """One stream in its caller's own dialect.

    Args:
        dialect: which.
        codec: of that dialect.
        wants_usage: whether the caller wants to be told the tokens; we always do.
    """

    __slots__ = ("_asked", "_closed", "_keeps_usage", "_reader", "_regrouped", "_repeating")

    def __init__(self, dialect: Dialect, codec: Codec, *, wants_usage: bool) -> None:
        self._reader = reader = codec.reader()
        self._repeating = reader if isinstance(reader, Repeating) else None
        self._closed = False
        self._asked = dialect in _ASKED
        self._keeps_usage = wants_usage or not self._asked
        self._regrouped = Regrouped(b"\n" if codec.media_type.startswith("application/x-ndjson") else b"\n\n")

    @property
    def ended(self) -> bool:
        """Whether the stream has come to its proper end."""
        return self._reader.ended or self._closed

    @property
    def pattern(self) -> Pattern | None:
        """That of the frames so far, as `Repeating` has it: whole frames of it pass through as they are."""
        repeating = self._repeating
        return None if repeating is None or self._regrouped.open else repeating.pattern

    def feed(self, chunk: bytes) -> tuple[bytes, Sequence[Event]]:
        """Whole frames for the caller, as far as they are here, with the events they tell.

        Raises:
            EnginehouseError: the engine reports an error inside the stream.
            UpstreamDied: it is not this dialect.
        """
        piece, told = self.feed_in_runs(chunk)
        return piece, one_by_one(told)

    def feed_in_runs(self, chunk: bytes) -> tuple[bytes, Sequence[Event | Words]]:
        """The same, with the words of frames in a row in one piece.

        Raises:
            EnginehouseError, UpstreamDied: as of `feed`.
        """
        piece = self._regrouped.feed(chunk)
        if not piece:
            return piece, ()
        told = self._reader.feed(piece) if self._repeating is None else self._repeating.feed_in_runs(piece)
        if self._keeps_usage or piece.find(_USAGE) < 0:
            return piece, told
        return _without_usage(piece), told

    def close(self) -> tuple[bytes, Sequence[Event]]:
        """The end for a stream whose engine has closed it without the dialect's own end.

        Raises:
            UpstreamDied: something is missing.
        """
        events = self._reader.close()
        self._closed = True
        return _DONE if self._asked else b"", events


class Regrouped:
    """Chunks regrouped so that each piece is one or more complete frames.

    Args:
        between: what ends a frame.
    """

    __slots__ = ("_between", "_held", "_rest")

    def __init__(self, between: bytes = b"\n\n") -> None:
        self._between = between
        self._rest = bytearray()
        self._held = b""

    @property
    def open(self) -> bool:
        """Whether the next byte does not begin a frame."""
        return bool(self._rest or self._held)

    def feed(self, chunk: bytes) -> bytes:
        """All frames that are whole by now; a chunk that ends where a frame ends goes through as it came.

        Raises:
            UpstreamDied: one frame is larger than 16 MiB.
        """
        if _RETURN in chunk or self._held:
            chunk = self._without_returns(chunk)
        if not self._rest and chunk.endswith(self._between):
            return chunk
        seen = max(len(self._rest) - len(self._between) + 1, 0)
        self._rest += chunk
        whole, at = b"", self._rest.rfind(self._between, seen)
        if at >= 0:
            end = at + len(self._between)
            whole = bytes(self._rest[:end])
            del self._rest[:end]
        if len(self._rest) > _MAX_PIECE:
            raise UpstreamDied("The engine sent an event larger than 16 MiB.")
        return whole

    def _without_returns(self, chunk: bytes) -> bytes:
        """Lines end with a line feed; a return at the end is perhaps the first half of an end of line."""
        data = self._held + chunk
        self._held = b"\r" if data.endswith(b"\r") else b""
        return data[: len(data) - len(self._held)].replace(b"\r\n", b"\n")


async def whole_pieces(chunks: AsyncIterator[bytes], between: bytes = b"\n\n") -> AsyncGenerator[bytes]:
    """Regroup chunks so that each item is one or more complete frames; a rest without its end is dropped.

    Raises:
        UpstreamDied: one frame is larger than 16 MiB.
    """
    regrouped = Regrouped(between)
    async for chunk in chunks:
        if piece := regrouped.feed(chunk):
            yield piece


def data_of(frame: bytes) -> bytes | None:
    """The payload of one event (several `data:` lines are joined), or None for a comment or an empty event."""
    lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def asking_for_usage(body: bytes) -> bytes:
    """The engine shall count for us even when the caller does not care; the frame is taken out again."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    given = msgspec.json.decode(fields.get("stream_options") or b"null", type=dict[str, msgspec.Raw] | None)
    options: dict[str, msgspec.Raw] = given or {}
    options["include_usage"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)


def with_defaults(fields: Fields, dialect: Dialect, defaults: Fields) -> Fields:
    """A request's fields with parameters of an answer that its caller did not give, where the dialect has them.

    Args:
        defaults: by the names of OpenAI and Anthropic: `temperature`, `top_p`, `max_tokens`.
    """
    if dialect in _OPTIONS:
        given = msgspec.json.decode(fields.get("options") or b"null", type=Fields | None)
        named = {_OLLAMA.get(name, name): value for name, value in defaults.items()}
        return fields | {"options": msgspec.Raw(msgspec.json.encode(named | (given or {})))}
    known = {"max_tokens"} if "max_completion_tokens" in fields else set[str]()
    return {name: value for name, value in defaults.items() if name not in known} | fields


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None


def _without_usage(piece: bytes) -> bytes:
    """Without the frames that only tell the tokens."""
    kept: list[bytes] = []
    done, at = 0, piece.find(_USAGE)
    while at >= 0:
        before = piece.rfind(_BLANK, done, at)
        begin = done if before < 0 else before + len(_BLANK)
        end = piece.index(_BLANK, at) + len(_BLANK)
        if _only_counts(piece[begin:end]):
            kept.append(piece[done:begin])
            done = end
        at = piece.find(_USAGE, end)
    return b"".join((*kept, piece[done:])) if kept else piece


def _only_counts(frame: bytes) -> bool:
    try:
        return not msgspec.json.decode(data_of(frame) or b"", type=_Chunk).choices
    except msgspec.MsgspecError:
        return False
