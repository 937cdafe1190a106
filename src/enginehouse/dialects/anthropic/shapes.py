"""Frames, token counts, reasons and errors as Anthropic's Messages write them."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from enginehouse.dialects.errors import reported
from enginehouse.errors import EnginehouseError, UpstreamDied, UpstreamRefused
from enginehouse.types import Usage
from enginehouse.types.answer import Finish
from enginehouse.types.generation import Json

__all__ = [
    "ANSWER_TOOL",
    "STATUSES",
    "Block",
    "Counts",
    "Delta",
    "Frame",
    "Message",
    "arguments_of",
    "error_json",
    "finish_of",
    "raised",
    "reason_of",
    "usage_json",
]

ANSWER_TOOL = "enginehouse_json_answer"
"""The tool that a model is made to call where an answer has to be JSON; its arguments are the answer."""

STATUSES: Mapping[str, int] = {"queue_full": 529, "insufficient_quota": 402}
"""Statuses that Anthropic's clients expect to differ from the service's own."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUS_OF = {kind: status for status, kind in _TYPES.items() if status not in {405, 422}} | {"api_error": 500}
_FINISHES = {
    "end_turn": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "tool_use": Finish.TOOL_CALLS,
    "refusal": Finish.CONTENT_FILTER,
}
_REASONS = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "refusal",
}


class _OutputDetails(Struct):
    thinking_tokens: int | None = None


class Counts(Struct):
    """Tokens; the three inputs are disjoint already, thoughts are part of the output. None is not told."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None

    def after(self, earlier: "Counts") -> "Counts":
        """These, and the earlier where these say nothing: later frames tell sums, and only what has changed."""
        names = self.__struct_fields__
        told = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return msgspec.structs.replace(earlier, **told)

    def usage(self) -> Usage:
        """The same in disjoint columns."""
        output = self.output_tokens or 0
        details = self.output_tokens_details or _OutputDetails()
        reasoning = min(details.thinking_tokens or 0, output)
        return Usage(
            input=self.input_tokens or 0,
            cached_input=self.cache_read_input_tokens or 0,
            cache_write=self.cache_creation_input_tokens or 0,
            output=output - reasoning,
            reasoning=reasoning,
        )


class Block(Struct):
    """One block of an answer, whole or just begun."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Any = None


class _StopDetails(Struct):
    explanation: str | None = None


class Delta(Struct):
    """More of a block, or why the answer ended."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None


class Message(Struct):
    """A whole answer, or its head at the beginning of a stream."""

    type: str = "message"
    id: str = ""
    model: str = ""
    content: list[Block] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None
    usage: Counts | None = None
    error: Any = None


class Frame(Struct):
    """One event of a stream."""

    type: str
    index: int = 0
    message: Message | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: Counts | None = None


def finish_of(reason: str, *, called: bool, answered: bool) -> Finish:
    """Our word for why an answer ended; who called nothing but the tool that holds the answer has just stopped."""
    finish = _FINISHES.get(reason, Finish.STOP)
    return Finish.STOP if finish is Finish.TOOL_CALLS and answered and not called else finish


def reason_of(finish: Finish, *, refused: bool) -> str:
    """Anthropic's word for why an answer ended."""
    return "refusal" if refused and finish is Finish.STOP else _REASONS[finish]


def usage_json(usage: Usage) -> Json:
    """Counts as they stand in a whole answer and in a stream's last frame."""
    counts: Json = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached_input,
        "output_tokens": usage.output + usage.reasoning,
    }
    if usage.reasoning:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counts


def arguments_of(arguments: str) -> Json | None:
    """A call's arguments as the object that Anthropic wants, None if they are none; no text means no arguments."""
    if not arguments.strip():
        return {}
    try:
        return msgspec.json.decode(arguments, type=Json)
    except (msgspec.MsgspecError, RecursionError):
        return None


def error_json(error: EnginehouseError, status: int) -> Json:
    """An error as Anthropic's clients read it."""
    kind = _TYPES.get(STATUSES.get(error.code, status), "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.message}}


class _Fault(Struct):
    type: str = ""


class _Report(Struct):
    error: _Fault


def raised(data: bytes) -> EnginehouseError:
    """What an error that came with status 200 means; its type tells the status that it would have had."""
    error = reported(data)
    if isinstance(error, UpstreamRefused) and error.status is None:
        try:
            error.status = _STATUS_OF.get(msgspec.json.decode(data, type=_Report).error.type)
        except msgspec.MsgspecError:
            return UpstreamDied(error.message)
    return error
