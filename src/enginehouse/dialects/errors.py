"""Errors as engines tell them, in whichever dialect, to our own: one reader for every shape there is."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from enginehouse.errors import (
    ContextLengthExceeded,
    EnginehouseError,
    InvalidRequest,
    RequestTooLarge,
    UpstreamBusy,
    UpstreamRefused,
)

__all__ = ["read_error", "reported"]

_MAX_BODY = 64 * 1024
_TOO_MANY = 429

_CONTEXT = re.compile(
    r"context length|context window|prompt is too long|exceeds? the available context size|maximum context|"
    r"input length exceeds|exceed context limit|longer than the model's context",
    re.IGNORECASE,
)
"""How OpenAI, vLLM, Anthropic, llama.cpp and Ollama say that the prompt does not fit."""
_CALLERS_FAULT = ("Failed to parse", "image input is not supported", "audio input is not supported")
"""llama.cpp answers 500 to some requests that are simply wrong; these are its words for them."""


class _Detail(Struct):
    message: str = ""
    type: str | None = None
    param: Any = None
    code: int | str | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _Body(Struct):
    error: _Detail | str = ""
    message: str | None = ""
    detail: Any = None


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> EnginehouseError:
    """What a reply of status 400 or more means in our words.

    The caller's own mistakes (400, 413, 422) stay the caller's; a refusal of *our* key or a path the server does
    not have is ours, and becomes an upstream error. That we ask too much the caller has to know: it may wait.
    """
    detail = _detail(body[:_MAX_BODY])
    if (known := _callers(detail, status)) is not None:
        return known
    # An account without money is no matter of waiting, though OpenAI says 429 to it as well.
    slow_down = status == _TOO_MANY and "insufficient_quota" not in (detail.code, detail.type)
    kind = UpstreamBusy if slow_down else UpstreamRefused
    return kind(
        f"The engine answered {status}: {detail.message or 'no message'}",
        status=status,
        retry_after=_seconds(headers.get("Retry-After")),
    )


def reported(data: bytes) -> EnginehouseError:
    """What an error inside a stream means: the status line has gone out, so only its words can be judged."""
    detail = _detail(data[:_MAX_BODY])
    status = detail.code if isinstance(detail.code, int) else None
    if (known := _callers(detail, None)) is not None:
        return known
    return UpstreamRefused(f"The engine failed while generating: {detail.message or 'no message'}", status=status)


def _callers(detail: _Detail, status: int | None) -> EnginehouseError | None:
    """The error, when it is the caller's own."""
    param = detail.param if isinstance(detail.param, str) else None
    if detail.n_prompt_tokens is not None and detail.n_ctx is not None:
        return ContextLengthExceeded(
            f"The prompt has {detail.n_prompt_tokens} tokens, the model's context holds {detail.n_ctx}. "
            "Shorten the prompt or load the model with a larger context.",
            param="messages",
        )
    if detail.code == "context_length_exceeded" or _CONTEXT.search(detail.message):
        return ContextLengthExceeded(detail.message or "The prompt does not fit the model's context.", param=param)
    if status == 413 or detail.type == "request_too_large":
        return RequestTooLarge(detail.message)
    wrong = status in {400, 422} or (status is None and detail.type == "invalid_request_error")
    if wrong or detail.message.startswith(_CALLERS_FAULT):
        return InvalidRequest(detail.message or "The engine refused the request.", param=param)
    return None


def _detail(body: bytes) -> _Detail:
    try:
        parsed = msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Detail(message=body.decode("utf-8", "replace").strip()[:500])
    if isinstance(parsed.error, _Detail):
        return parsed.error
    return _Detail(message=parsed.error or parsed.message or _text(parsed.detail))


def _text(detail: object) -> str:
    """FastAPI's servers put what was wrong under `detail`."""
    return "" if detail is None else str(detail)[:500]


def _seconds(header: str | None) -> float | None:
    try:
        return float(header) if header else None
    except ValueError:
        return None
