"""Responses, their items, token counts and errors as OpenAI writes them."""

from typing import Any

from msgspec import Struct

from enginehouse.dialects.base import Head
from enginehouse.dialects.openai.responses_request import repeated
from enginehouse.dialects.openai.shapes import Details, Token
from enginehouse.errors import EnginehouseError
from enginehouse.types import Usage
from enginehouse.types.answer import Finish, Finished, Score
from enginehouse.types.generation import Json

__all__ = [
    "Body",
    "Frame",
    "Item",
    "cut_short",
    "ended",
    "error_of",
    "failed",
    "item_id",
    "response_json",
    "scores_json",
    "usage_json",
]

_STATUSES = {Finish.LENGTH: "max_output_tokens", Finish.CONTENT_FILTER: "content_filter"}
"""Why a response is incomplete."""
_CODES = {400: "invalid_prompt", 422: "invalid_prompt", 429: "rate_limit_exceeded"}
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


class Counts(Struct):
    """Tokens; the shares are part of the sums."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None

    def usage(self) -> Usage:
        """The same in disjoint columns."""
        read = self.input_tokens_details or Details()
        cached, kept = read.cached_tokens or 0, read.cache_write_tokens or 0
        written = self.output_tokens_details or Details()
        reasoning = min(written.reasoning_tokens or 0, self.output_tokens)
        return Usage(
            input=max(self.input_tokens - cached - kept, 0),
            cached_input=cached,
            cache_write=kept,
            output=self.output_tokens - reasoning,
            reasoning=reasoning,
        )


class Piece(Struct):
    """A part of a message, or of thoughts."""

    type: str = ""
    text: str = ""
    refusal: str = ""
    logprobs: list[Token] | None = None


class Item(Struct):
    """One item of the output."""

    type: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    content: list[Piece] | None = None
    summary: list[Piece] | None = None
    encrypted_content: str | None = None

    def thoughts(self) -> str:
        """The thoughts themselves, or what their maker has summed them up to."""
        return "\n\n".join([piece.text for piece in self.content or self.summary or ()])


class Reason(Struct):
    """Why a response is incomplete."""

    reason: str | None = None


class Body(Struct):
    """A response."""

    id: str = ""
    model: str = ""
    status: str | None = None
    output: list[Item] | None = None
    usage: Counts | None = None
    incomplete_details: Reason | None = None
    error: Any = None


class Frame(Struct):
    """One event of a stream."""

    type: str = ""
    response: Body | None = None
    item: Item | None = None
    output_index: int = 0
    summary_index: int = 0
    content_index: int = 0
    delta: Any = None
    logprobs: list[Token] | None = None
    error: Any = None
    code: str | None = None
    message: str | None = None
    param: str | None = None


def usage_json(usage: Usage) -> Json:
    """Counts with their shares."""
    read = usage.input + usage.cached_input + usage.cache_write
    written = usage.output + usage.reasoning
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": usage.cached_input, "cache_write_tokens": usage.cache_write},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": read + written,
    }


def scores_json(scores: tuple[Score, ...], *, brief: bool = False) -> list[Json]:
    """Likelihoods; in the deltas of a stream they come `brief`, without the tokens' bytes."""
    return [
        _score(score, brief=brief) | {"top_logprobs": [_score(other, brief=brief) for other in score.top]}
        for score in scores
    ]


def _score(score: Score, *, brief: bool) -> Json:
    said: Json = {"token": score.token, "logprob": score.logprob}
    if not brief:
        said["bytes"] = list(score.bytes if score.bytes is not None else score.token.encode())
    return said


def item_id(head: Head, kind: str, index: int) -> str:
    """An item's id: the response's, and its place."""
    return f"{_PREFIXES[kind]}_{head.id}_{index}"


def response_json(head: Head) -> Json:
    """A response that has just begun."""
    said = repeated(head.generation) if head.generation else {}
    return {
        "id": f"resp_{head.id}",
        "object": "response",
        "created_at": int(head.created),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": head.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
        "metadata": {},
        **said,
        "reasoning": {"effort": None, "summary": None} | said.get("reasoning", {}),
        "text": {"format": {"type": "text"}} | said.get("text", {}),
    }


def cut_short(finished: Finished) -> bool:
    """Whether a response with this end is incomplete."""
    return finished.reason in _STATUSES


def ended(finished: Finished, output: list[Json], usage: Usage) -> Json:
    """What a response says at its end."""
    reason = _STATUSES.get(finished.reason)
    return {
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": usage_json(usage),
    }


def failed(error: EnginehouseError, status: int, output: list[Json]) -> Json:
    """What a response says that went wrong; its codes are few."""
    said = {"code": _CODES.get(status, "server_error"), "message": error.message}
    return {"status": "failed", "error": said, "output": output}


def error_of(frame: Frame) -> Json:
    """An error inside a stream: the reference has its fields side by side, the service itself sends them nested."""
    if frame.response is not None and frame.response.error:
        return {"error": frame.response.error}
    return {"error": frame.error or {"message": frame.message or "", "code": frame.code, "param": frame.param}}
