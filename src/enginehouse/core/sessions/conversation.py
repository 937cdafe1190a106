"""What a conversation is: a session, and its messages as a tree, of which the newest branch is gone on with.

Every message knows the one it follows. To edit a question or to ask for another answer is to follow an earlier
message once more; what was said before stays, on a branch of its own.
"""

import os
import re
import time
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from enginehouse.errors import InvalidRequest
from enginehouse.types import Principal, Usage
from enginehouse.types.generation import Json, Part, Role, Text, Turn

__all__ = [
    "ROOT",
    "Content",
    "Message",
    "Owner",
    "Session",
    "Status",
    "check_id",
    "is_id",
    "is_message_id",
    "is_ours",
    "named_by_us",
    "new_id",
    "text_of",
    "title_of",
]

ROOT = "root"
"""The parent of a conversation's first message, in words of a request."""

Content: TypeAlias = tuple[Part, ...]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_OURS = re.compile(r"(?P<kind>[a-z]+)_[0-9a-f]{32}")
_TITLE = 80


class Status(StrEnum):
    """How far a message is."""

    COMPLETE = "complete"
    RUNNING = "running"
    """It is being written, or its writer died a moment ago."""
    STOPPED = "stopped"
    """Its reader stopped it; what is there was sent."""
    FAILED = "failed"
    """An error ended it; what is there was sent before."""
    INTERRUPTED = "interrupted"
    """Its reader or its writer went away; what is there is what is known of it."""


class Owner(Struct, frozen=True, order=True):
    """Whose a session is: a user, and its tenant if it has one. Nobody else ever sees it, admins neither."""

    tenant: str
    user: str

    @classmethod
    def of(cls, principal: Principal) -> "Owner":
        """Who is calling."""
        return cls(principal.tenant, principal.user)


class Session(Struct, frozen=True, kw_only=True):
    """A conversation; times are microseconds since 1970, UTC."""

    key: str
    """What the service calls it; never shown."""
    id: str
    """What its owner calls it: `ses_…` when the service chose it, else what the owner did. Another owner's session
    of the same id is another one."""
    owner: Owner
    title: str = ""
    model: str = ""
    """As it was last asked for; empty takes the default."""
    system: str = ""
    """Its system prompt."""
    metadata: Json = {}
    created: int
    updated: int
    leaf: str | None = None
    """Its newest message, at the end of the branch that is gone on with; None before the first."""
    messages: int = 0
    """How many it has, on all branches."""
    bytes: int = 0
    """What their contents take."""
    version: int = 0
    """Grows with every change."""

    @property
    def tag(self) -> str:
        """Under which others keep what they keep of it."""
        return f"session:{self.key}"


class Message(Struct, frozen=True, kw_only=True):
    """What somebody said in a session; times are microseconds since 1970, UTC."""

    id: str
    number: int
    """1 for the first that was made in its session, whichever branch it is on, then one more each."""
    parent: str | None
    """The message it follows; None for a first one."""
    depth: int
    """1 for a first one, then one more than its parent's."""
    role: Role
    name: str = ""
    """Who it is, where several speak in one role."""
    parts: Content = ()
    """Words, pictures, calls of tools and their results."""
    status: Status = Status.COMPLETE
    model: str = ""
    """Who answered."""
    usage: Usage | None = None
    """What the answer took, where that is known."""
    finish_reason: str | None = None
    error: str | None = None
    """Code of the error that ended it."""
    summary: str | None = None
    """What was said up to and with this message, in short, where that fell out of a later context."""
    created: int
    finished: int | None = None

    def turn(self) -> Turn:
        """As a model reads it."""
        return Turn(role=self.role, parts=self.parts, name=self.name)

    @property
    def text(self) -> str:
        """Its words."""
        return text_of(self.parts)


def text_of(parts: Content) -> str:
    """The words of a message."""
    return "".join([part.text for part in parts if isinstance(part, Text)])


def title_of(parts: Content) -> str:
    """A title from a first prompt: its first line, cut between words where it is long."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text_of(parts)).split())
    if len(words) <= _TITLE:
        return words
    return words[: _TITLE - 1].rsplit(" ", 1)[0] + "…"


def new_id(kind: str, now: float | None = None) -> str:
    """A fresh id that nobody guesses; ids of one kind sort by the time in which they were made."""
    moment = int((time.time() if now is None else now) * 1000)
    return f"{kind}_{moment:012x}{os.urandom(10).hex()}"


def is_ours(text: str, kind: str = "") -> bool:
    """Whether a text is an id that the service made, of this kind if one is given."""
    found = _OURS.fullmatch(text)
    return found is not None and kind in {"", found["kind"]}


def named_by_us(session_id: str) -> bool:
    """Whether the service chose this id: then nobody can make a session of it."""
    return is_ours(session_id, "ses")


def is_message_id(text: str) -> bool:
    """Whether a text may be a message's id."""
    return is_ours(text, "msg")


def is_id(text: str) -> bool:
    """Whether a text may be a session's id."""
    return _ID.fullmatch(text) is not None


def check_id(session_id: str) -> str:
    """An id that a caller chose.

    Raises:
        InvalidRequest: it cannot be one.
    """
    if not is_id(session_id):
        raise InvalidRequest(
            "session_id: it has 1 to 128 letters, digits and . _ : @ -, and begins with a letter or digit.",
            param="session_id",
        )
    return session_id
