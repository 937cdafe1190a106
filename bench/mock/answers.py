"""The mock's answers as bytes, made once and sent often."""

from base64 import b64encode
from functools import lru_cache
from struct import pack
from typing import Any

import msgspec
from msgspec import Struct

__all__ = ["Frames", "chat", "completion", "embeddings", "error", "frames", "models", "response"]

_PROMPT_TOKENS = 12
_WORDS = 120
_TEXT = " ".join(f"w{n:02d}" for n in range(_WORDS))
"""Makes a whole chat answer about 700 bytes long."""
_REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found"}


class Frames(Struct, frozen=True):
    """A stream's bytes, chunked for HTTP/1.1.

    `content` wants the time of writing, in monotonic nanoseconds, by `%`: it becomes the chunk's text
    (`~0000001234567890123~`), so that who receives it knows how long it was under way.
    """

    first: bytes
    """The first content chunk, a `%` template too."""
    content: bytes
    last: bytes
    """Finish reason, usage where it was asked for, `[DONE]` and the end of the body."""


def response(body: bytes, status: int = 200) -> bytes:
    """A whole HTTP/1.1 answer with a JSON body."""
    return b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        _REASONS[status],
        len(body),
        body,
    )


def error(message: str, status: int) -> bytes:
    """A refusal in OpenAI's shape."""
    kind = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return response(msgspec.json.encode({"error": kind}), status)


@lru_cache(64)
def chat(model: str) -> bytes:
    """A chat answer with usage."""
    message = {"role": "assistant", "content": _TEXT}
    return response(_whole("chat.completion", model, {"message": message}, _usage(_WORDS)))


@lru_cache(64)
def completion(model: str) -> bytes:
    """A text completion with usage."""
    return response(_whole("text_completion", model, {"text": _TEXT}, _usage(_WORDS)))


@lru_cache(64)
def embeddings(model: str, texts: int, dimensions: int, base64: bool) -> bytes:
    """The same unit vector for every text, as numbers or as base64 of little-endian floats."""
    vector = [dimensions**-0.5] * dimensions
    packed = b64encode(pack(f"<{dimensions}f", *vector)).decode() if base64 else vector
    data = [{"object": "embedding", "index": n, "embedding": packed} for n in range(texts)]
    usage = {"prompt_tokens": texts, "total_tokens": texts}
    return response(msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage}))


def models(names: list[str]) -> bytes:
    """The model list."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "mock"} for name in names]
    return response(msgspec.json.encode({"object": "list", "data": data}))


@lru_cache(64)
def frames(model: str, chunks: int, chat: bool, usage: bool) -> Frames:
    """The frames of a stream of `chunks` content chunks."""
    kind = "chat.completion.chunk" if chat else "text_completion"
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )
    ends = [_whole(kind, model, _finish(chat), None)]
    if usage:
        ends.append(_whole(kind, model, None, _usage(chunks)))
    return Frames(
        first=head + _stamped(kind, model, chat, first=True),
        content=_stamped(kind, model, chat, first=False),
        last=_chunk(b"".join(map(_frame, [*ends, b"[DONE]"]))) + b"0\r\n\r\n",
    )


def _stamped(kind: str, model: str, chat: bool, *, first: bool) -> bytes:
    """A content chunk as a `%` template of its time; the time has a fixed width, so the length is known."""
    text = "~0000000000000000000~"
    delta = {"role": "assistant", "content": text} if first else {"content": text}
    choice: dict[str, Any] = {"delta": delta} if chat else {"text": text}
    chunk = _chunk(_frame(_whole(kind, model, choice | {"finish_reason": None}, None)))
    return chunk.replace(b"%", b"%%").replace(b"~0000000000000000000~", b"~%019d~")


def _finish(chat: bool) -> dict[str, Any]:
    return {"delta": {}} if chat else {"text": ""}


def _whole(kind: str, model: str, choice: dict[str, Any] | None, usage: dict[str, int] | None) -> bytes:
    """One JSON object of the dialect; without a choice it is the usage chunk."""
    choices = [] if choice is None else [{"index": 0, "finish_reason": "stop"} | choice]
    answer = {"id": "chatcmpl-mock", "object": kind, "created": 1_700_000_000, "model": model, "choices": choices}
    return msgspec.json.encode(answer if usage is None else answer | {"usage": usage})


def _usage(completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": _PROMPT_TOKENS,
        "completion_tokens": completion_tokens,
        "total_tokens": _PROMPT_TOKENS + completion_tokens,
    }


def _frame(data: bytes) -> bytes:
    return b"data: %s\n\n" % data


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
