"""What is asked of the service, and what it answers, as the client hands it on."""

from datetime import datetime
from typing import Any, TypedDict

from msgspec import Struct

__all__ = ["Changes", "End", "Message", "Options", "Reply", "ServiceError", "Session", "Usage", "question_of"]


class Options(TypedDict, total=False):
    """How a question is asked; what is left out, or None, is as the conversation has it."""

    parent: str | None
    """The message to follow: an answer, or `root` for none, so that an edited question makes a branch of its own.
    Without a prompt, the question that is to be answered anew, or one of its answers."""
    system: str | None
    """The conversation's system prompt from now on."""
    model: str | None
    """Who answers from now on."""
    max_tokens: int | None
    """Most tokens of the answer."""
    temperature: float | None
    """How freely words are drawn, 0 to 2."""


class Changes(TypedDict, total=False):
    """What shall be different of a conversation; what is left out stays."""

    title: str
    model: str | None
    """Who answers from now on; None takes the default one."""
    system: str | None
    """The system prompt from now on."""
    metadata: dict[str, Any]
    """Notes of the caller's own."""
    leaf: str
    """An answer, whose branch is gone on with."""


def question_of(session_id: str, prompt: str | None, options: Options) -> dict[str, Any]:
    """A question as it is sent, over HTTP and over a WebSocket."""
    told = {"session_id": session_id, "prompt": prompt, **options}
    return {name: value for name, value in told.items() if value is not None}


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Closing(Struct, frozen=True, kw_only=True):
    """What every answer tells of itself in the end."""

    session_id: str
    message_id: str | None = None
    model: str | None = None
    queue_position: int = 0
    """Where the question stood in the line when it came; 0 when it had not to wait."""
    tokens: int = 0
    """How many pieces were told."""
    usage: Usage | None = None
    latency_ms: float = 0.0
    finish_reason: str | None = None
    cached: str | None = None
    """`l1` or `l2` when it came from a cache."""


class Reply(Closing, frozen=True, kw_only=True):
    """A whole answer."""

    response: str


class End(Closing, frozen=True, kw_only=True):
    """How a streamed answer ended."""

    text: str = ""
    """All of it, as far as this client has read it."""
    stopped: bool = False
    """Whether it was stopped."""


class Session(Struct, frozen=True, kw_only=True):
    """A conversation that the service keeps."""

    id: str
    title: str
    model: str | None
    """None takes the default one."""
    system: str | None
    metadata: dict[str, Any]
    leaf: str | None
    """The last message of the branch that is gone on with; None while nothing is said."""
    message_count: int
    created_at: datetime
    updated_at: datetime


class Message(Struct, frozen=True, kw_only=True):
    """What somebody said in a conversation."""

    id: str
    parent: str | None
    """The message it follows; None for a first one."""
    role: str
    content: str
    status: str
    """`complete`, `running`, `stopped`, `failed` or `interrupted`."""
    model: str | None
    created_at: datetime


class ServiceError(Exception):
    """The service refused, or an answer ended badly.

    Args:
        code: such as `model_not_found`; a program may act on it.
        message: for people.
        status: of HTTP, where there was one.
        retry_after: seconds after which the same may work.
    """

    def __init__(
        self, code: str, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after
