"""M0's event names: how what happens to an answer is told, over a WebSocket and as server-sent events."""

from typing import Any

import msgspec
from msgspec import Struct

from enginehouse.core.chat import Closing, Ended, Failed, Happening, Queued, Started, Stopped, Token
from enginehouse.dialects.openai.shapes import reason_of, usage_json
from enginehouse.errors import EnginehouseError

__all__ = ["ended_json", "error_json", "message", "sse", "told"]

_encode = msgspec.json.Encoder().encode


class _Word(Struct, gc=False):
    """The data of `stream_token`, of which there are many."""

    request_id: str
    token: str
    index: int


def told(happening: Happening, request_id: str) -> tuple[str, Any]:
    """Its name and its data."""
    match happening:
        case Token():
            return "stream_token", _Word(request_id, happening.token, happening.index)
        case Queued():
            return "queued", {"request_id": request_id, "position": happening.position}
        case Started():
            return "stream_start", {"request_id": request_id, **msgspec.to_builtins(happening)}
        case Ended():
            return "stream_end", {"request_id": request_id, **ended_json(happening)}
        case Stopped():
            return "stopped", {"request_id": request_id, **_closing(happening)}
        case Failed():
            return "error", error_json(happening.error, request_id)


def ended_json(ended: Ended) -> dict[str, Any]:
    """What an answer that ended well tells of itself, beside its words."""
    finish = ended.finish and reason_of(ended.finish)
    return {**_closing(ended), "finish_reason": finish, "cached": ended.cached}


def _closing(closing: Closing) -> dict[str, Any]:
    return {
        "session_id": closing.session_id,
        "message_id": closing.message_id,
        "model": closing.model,
        "queue_position": closing.queue_position,
        "tokens": closing.tokens,
        "usage": None if closing.usage is None else usage_json(closing.usage),
        "latency_ms": round(closing.seconds * 1000, 3),
    }


def error_json(error: EnginehouseError, request_id: str | None) -> dict[str, Any]:
    """The data of `error`; `request_id` is None where no question is concerned."""
    named = {} if request_id is None else {"request_id": request_id}
    when = {} if error.retry_after is None else {"retry_after": round(error.retry_after, 3)}
    return {**named, "code": error.code, "message": error.message, "param": error.param, **when}


def message(name: str, data: Any) -> str:
    """A message of a WebSocket."""
    return _encode({"event": name, "data": data}).decode()


def sse(name: str, data: Any) -> bytes:
    """A server-sent event."""
    return f"event: {name}\ndata: ".encode() + _encode(data) + b"\n\n"
