"""What callers may say and how much, and how conversations go."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator

from enginehouse.settings.schema.section import Section
from enginehouse.settings.values import (
    PositiveSeconds,
    RatesText,
    Seconds,
)

__all__ = ["ChatSettings", "GuardMode", "GuardSettings", "LimitSettings"]


class GuardMode(StrEnum):
    """What becomes of a request that the guard takes for an attack, mildest first."""

    OFF = "off"
    """Nobody looks."""
    SHADOW = "shadow"
    """It goes on; only the log says so."""
    FLAG = "flag"
    """It goes on; a header and the log say so."""
    BLOCK = "block"
    """It is refused with status 403."""


class GuardSettings(Section):
    """Looks at what users say, and at what tools bring, before a chat model does."""

    mode: GuardMode = GuardMode.OFF
    """What becomes of an attack on any model: `off`, `shadow` (log only), `flag` (a header too), `block` (403)."""
    by_model: dict[str, GuardMode] = Field(default={})
    """The same for single models, by id; the strictest of all that apply counts."""
    by_key: dict[str, GuardMode] = Field(default={})
    """The same for single stored API keys, by their id."""
    model: str = "guard"
    """Classifier that is asked; one of its labels has to mean harmless."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability from which a text counts as an attack; 0 takes what the classifier's makers advise."""
    on_failure: Literal["deny", "allow"] = "deny"
    """What `block` does while the classifier cannot be asked: refuse with status 503, or let requests pass."""
    timeout: PositiveSeconds = 10.0
    """Seconds the classifier may take, its load included."""


_TIERS = {"premium": "1000/hour", "standard": "100/hour", "basic": "10/hour"}


_ENDPOINTS = {
    "/v1/llm/generate": "10/minute",
    "/v1/llm/generate-embeddings": "20/minute",
    "/v1/vector/search": "100/minute",
}


class LimitSettings(Section):
    """How much one caller may ask."""

    tiers: dict[str, RatesText] = _TIERS
    """By tier, for each of its users: `100/hour, 5000 tokens/minute, 3 at once`, or `unlimited`. What is left out
    keeps its default. A tier that is not named has the limits of `standard`, or none for an admin."""
    endpoints: dict[str, RatesText] = _ENDPOINTS
    """By path, for each user who is no admin, beside all else. What is left out keeps its default."""
    on_store_failure: Literal["local", "deny"] = "local"
    """While Redis is away: `local` lets each replica count for itself, `deny` refuses requests that are limited."""
    requests: Annotated[int, Field(ge=1)] | None = None
    """Requests a window and user, whoever it is; none means no limit."""
    window: PositiveSeconds = 60.0
    """Length of that window in seconds."""
    requests_per_hour: Annotated[int, Field(ge=1)] = 100
    """Requests an hour and user on the queued chat routes."""
    chat_queue_size: Annotated[int, Field(ge=1)] = 50
    """Most requests that wait on the queued chat routes."""

    @field_validator("tiers", mode="after")
    @classmethod
    def _with_usual_tiers(cls, value: dict[str, str]) -> dict[str, str]:
        return _TIERS | value

    @field_validator("endpoints", mode="after")
    @classmethod
    def _with_usual_endpoints(cls, value: dict[str, str]) -> dict[str, str]:
        return _ENDPOINTS | value


class ChatSettings(Section):
    """Answers in conversations, and the WebSockets over which they are read."""

    grace: Seconds = 30.0
    """Seconds for which an answer goes on without a reader, and may be found again after its end."""
    max_answer_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024
    """Most bytes of one answer; a longer one is ended there, as by `max_tokens`."""
    max_chats: Annotated[int, Field(ge=1)] = 8
    """Most answers that one WebSocket reads at a time."""
    max_sockets: Annotated[int, Field(ge=1)] = 2000
    """Most WebSockets that one user has open at a replica; another one is refused."""
    max_message_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024
    """Largest message that a WebSocket takes."""
    socket_buffer: Annotated[int, Field(gt=0)] = 64 * 1024
    """Bytes that a WebSocket may have written and not sent; while there are more, its answers are not read."""
    slow_reader_timeout: PositiveSeconds = 10.0
    """Seconds for which it may have more than that; then it is cut off."""
    socket_idle_timeout: PositiveSeconds = 600.0
    """Seconds without an answer and without a message after which a WebSocket is closed."""
    socket_lifetime: PositiveSeconds = 86_400.0
    """Seconds after which a WebSocket is closed whatever it does; its answers may be read on over another one."""
