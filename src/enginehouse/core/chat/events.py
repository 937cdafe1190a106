"""What readers of an answer are told of it, in the order in which it happens."""

from typing import Literal, TypeAlias

from msgspec import Struct

from enginehouse.errors import EnginehouseError
from enginehouse.types import Usage
from enginehouse.types.answer import Finish

__all__ = ["Closing", "End", "Ended", "Failed", "Happening", "Queued", "Started", "Stopped", "Token"]


class Queued(Struct, frozen=True, kw_only=True):
    """It waits for a slot; told again whenever the line has moved."""

    position: int
    """1 for who goes next."""


class Started(Struct, frozen=True, kw_only=True):
    """The model answers."""

    session_id: str
    message_id: str
    """Of the answer, in the session."""
    model: str


class Token(Struct, frozen=True, gc=False):
    """More words."""

    token: str
    index: int
    """Counted from 0, without gaps."""


class Closing(Struct, frozen=True, kw_only=True):
    """What is known of an answer that has ended."""

    session_id: str
    message_id: str | None
    """None when it ended before its turn in the session came."""
    model: str | None
    """None when it ended before one answered."""
    text: str
    tokens: int
    """How many pieces of it were told."""
    usage: Usage | None
    """What it took; None when it ended before a model was asked."""
    queue_position: int
    """Where it stood in the line when it came; 0 when it had not to wait."""
    seconds: float
    """From the question to here."""


class Ended(Closing, frozen=True, kw_only=True, tag="ended"):
    """The answer is whole, and kept."""

    finish: Finish | None
    """Why it ended; None when the engine did not say."""
    cached: Literal["l1", "l2"] | None = None
    """Which cache it came from: exact or semantic."""


class Stopped(Closing, frozen=True, kw_only=True, tag="stopped"):
    """It was stopped, its slot is free, and what was told of it is kept."""


class Failed(Struct, frozen=True, kw_only=True):
    """It ended badly; what was told of it is kept."""

    error: EnginehouseError


End: TypeAlias = Ended | Stopped | Failed
Happening: TypeAlias = Queued | Started | Token | End
