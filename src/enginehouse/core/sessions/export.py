"""A conversation as a file: all of it as JSON, or the branch that is gone on with as Markdown, for people."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from enginehouse.core.sessions.archive import Counted
from enginehouse.core.sessions.conversation import Message, Session, Status
from enginehouse.types.generation import Foreign, Image, Part, Refusal, Role, Text, ToolCall, ToolResult

__all__ = ["FORMAT", "as_json", "as_markdown", "branch_of", "message_body", "session_body", "when"]

FORMAT = "enginehouse-session-1"
_SPEAKERS = {Role.USER: "User", Role.ASSISTANT: "Assistant", Role.TOOL: "Tool"}


def when(microseconds: int | None) -> str | None:
    """A time as ISO 8601, UTC."""
    if microseconds is None:
        return None
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def session_body(session: Session) -> dict[str, Any]:
    """A session as its owner is told of it."""
    return {
        "id": session.id,
        "object": "session",
        "title": session.title,
        "model": session.model or None,
        "system": session.system or None,
        "metadata": session.metadata,
        "leaf": session.leaf,
        "message_count": session.messages,
        "bytes": session.bytes,
        "created_at": when(session.created),
        "updated_at": when(session.updated),
    }


def message_body(counted: Counted, session_id: str) -> dict[str, Any]:
    """A message as its owner is told of it."""
    message, usage = counted.message, counted.message.usage
    return {
        "id": message.id,
        "object": "session.message",
        "session_id": session_id,
        "parent": message.parent,
        "role": message.role.value,
        "name": message.name or None,
        "content": message.text,
        "parts": [msgspec.to_builtins(part) for part in message.parts],
        "status": message.status.value,
        "model": message.model or None,
        "finish_reason": message.finish_reason,
        "error": message.error,
        "usage": None if usage is None else msgspec.to_builtins(usage),
        "tokens": counted.tokens,
        "summary": message.summary,
        "created_at": when(message.created),
        "finished_at": when(message.finished),
    }


def as_json(session: Session, messages: Sequence[Counted]) -> bytes:
    """All of it, on all branches."""
    told = [message_body(counted, session.id) for counted in messages]
    return msgspec.json.encode({"format": FORMAT, "session": session_body(session), "messages": told})


def as_markdown(session: Session, messages: Iterable[Message]) -> bytes:
    """What was said on one branch, the first message first."""
    return "\n\n".join(_lines(session, messages)).encode() + b"\n"


def branch_of(session: Session, messages: Sequence[Counted]) -> list[Message]:
    """The branch that is gone on with, of all messages."""
    by_id = {counted.message.id: counted.message for counted in messages}
    branch: list[Message] = []
    at = session.leaf
    while at is not None and at in by_id:
        branch.append(by_id[at])
        at = by_id[at].parent
    return branch[::-1]


def _lines(session: Session, messages: Iterable[Message]) -> Iterator[str]:
    yield f"# {session.title or session.id}"
    yield f"{when(session.created)}, {session.messages} messages"
    if session.system:
        yield f"## System\n\n{session.system}"
    for message in messages:
        speaker = _SPEAKERS.get(message.role, message.role.value)
        marks = [message.model, "" if message.status is Status.COMPLETE else message.status.value]
        told = ", ".join(mark for mark in marks if mark)
        yield f"## {speaker}{f' ({told})' if told else ''}"
        yield from (text for part in message.parts if (text := _told(part)))


def _told(part: Part | Foreign) -> str:
    match part:
        case Text() | Refusal():
            return part.text
        case ToolCall():
            return f"Calls `{part.name}`:\n\n{_fenced(part.arguments)}"
        case ToolResult():
            return _fenced("\n".join(inner.text for inner in part.parts if isinstance(inner, Text)))
        case Image():
            return f"![image]({part.url})" if part.url and not part.url.startswith("data:") else "*an image*"
        case Foreign():
            return f"*{part.kind}*"
        case _:
            return ""


def _fenced(text: str) -> str:
    """As code, in a fence that is longer than any in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"
