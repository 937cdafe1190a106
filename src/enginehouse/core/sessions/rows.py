"""Sessions and messages as the database keeps them."""

from typing import Any

import msgspec

from enginehouse.core.sessions.conversation import Content, Message, Owner, Session, Status
from enginehouse.types import Usage
from enginehouse.types.generation import Json, Role

__all__ = ["encode_parts", "encoded", "message_from", "message_row", "session_from", "session_row"]

_parts = msgspec.json.Decoder(Content)
_usage = msgspec.json.Decoder(Usage)
_text = msgspec.json.Decoder(str)
_object = msgspec.json.Decoder(Json)


def encoded(value: Any) -> str:
    """As JSON; a database that takes no NUL takes it so."""
    return msgspec.json.encode(value).decode()


def encode_parts(parts: Content) -> str:
    """What a message holds, as JSON."""
    return encoded(parts)


def session_from(row: dict[str, Any]) -> Session:
    """A session of its row."""
    return Session(
        key=row["key"],
        id=row["id"],
        owner=Owner(row["tenant"], row["user_id"]),
        title=row["title"],
        model=row["model"],
        system=_text.decode(row["system"]),
        metadata=_object.decode(row["metadata"]),
        created=row["created"],
        updated=row["updated"],
        leaf=row["leaf"],
        messages=row["messages"],
        bytes=row["bytes"],
        version=row["version"],
    )


def session_row(session: Session) -> dict[str, Any]:
    """The row of a session."""
    return {
        "key": session.key,
        "id": session.id,
        "tenant": session.owner.tenant,
        "user_id": session.owner.user,
        "title": session.title,
        "model": session.model,
        "system": encoded(session.system),
        "metadata": encoded(session.metadata),
        "created": session.created,
        "updated": session.updated,
        "leaf": session.leaf,
        "messages": session.messages,
        "bytes": session.bytes,
        "version": session.version,
    }


def message_from(row: dict[str, Any]) -> Message:
    """A message of its row."""
    return Message(
        id=row["id"],
        number=row["number"],
        parent=row["parent"],
        depth=row["depth"],
        role=Role(row["role"]),
        name=row["name"],
        parts=_parts.decode(row["parts"]),
        status=Status(row["status"]),
        model=row["model"],
        usage=None if row["usage"] is None else _usage.decode(row["usage"]),
        finish_reason=row["finish_reason"],
        error=row["error"],
        summary=None if row["summary"] is None else _text.decode(row["summary"]),
        created=row["created"],
        finished=row["finished"],
    )


def message_row(message: Message, session: str) -> dict[str, Any]:
    """The row of a message of the session of this key."""
    return {
        "id": message.id,
        "session": session,
        "number": message.number,
        "parent": message.parent,
        "depth": message.depth,
        "role": message.role.value,
        "name": message.name,
        "parts": encode_parts(message.parts),
        "status": message.status.value,
        "model": message.model,
        "usage": None if message.usage is None else encoded(message.usage),
        "finish_reason": message.finish_reason,
        "error": message.error,
        "summary": None if message.summary is None else encoded(message.summary),
        "created": message.created,
        "finished": message.finished,
    }
