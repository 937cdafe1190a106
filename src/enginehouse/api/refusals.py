"""Errors in the shape that a path's callers expect, whoever refuses: the face, the framework or the front door."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

import msgspec
from msgspec import Struct

from enginehouse.api.wire import Scope, status_of
from enginehouse.dialects.anthropic import shapes as anthropic
from enginehouse.dialects.openai import shapes as openai
from enginehouse.errors import EnginehouseError

__all__ = ["SHAPES", "Shape", "asks_as_anthropic", "refusal", "shape_of"]

_MODEL_CACHE = frozenset({"/models", "/stats", "/cleanup", "/predict"})


class OpenAIFault(Struct):
    """What was wrong; a program may act on `code`."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(Struct):
    """An error as OpenAI's clients read it; the service's own routes tell it so too."""

    error: OpenAIFault


class AnthropicFault(Struct):
    """What was wrong; a program may act on `type`."""

    type: str
    message: str


class AnthropicError(Struct):
    """An error as Anthropic's clients read it."""

    type: Literal["error"]
    error: AnthropicFault


class OllamaError(Struct):
    """An error as Ollama's clients read it."""

    error: str


class ModelCacheError(Struct):
    """An error as the model cache's clients read it; the codes are the same as everywhere, in capitals."""

    status: Literal["error"]
    error: str
    code: str
    timestamp: datetime


class Shape(Struct, frozen=True, kw_only=True):
    """How one family of clients is told what went wrong."""

    body: type[Struct]
    """What the OpenAPI page shows."""
    write: Callable[[EnginehouseError, int], Any]
    """The body of an error that goes out with this status."""
    statuses: Mapping[str, int] = MappingProxyType({})
    """Error codes whose HTTP status these clients expect to differ from the service's own."""


def _ollama(error: EnginehouseError, status: int) -> Any:
    del status
    return {"error": error.message}


def _model_cache(error: EnginehouseError, status: int) -> Any:
    del status
    now = datetime.now(UTC)
    return msgspec.to_builtins(
        ModelCacheError(status="error", error=error.message, code=error.code.upper(), timestamp=now)
    )


_OPENAI = Shape(body=OpenAIError, write=openai.error_json)
_ANTHROPIC = Shape(body=AnthropicError, write=anthropic.error_json, statuses=anthropic.STATUSES)
_OLLAMA = Shape(body=OllamaError, write=_ollama)
_CACHE = Shape(body=ModelCacheError, write=_model_cache)
SHAPES = (_OPENAI, _ANTHROPIC, _OLLAMA, _CACHE)


def asks_as_anthropic(scope: Scope) -> bool:
    """Whether an Anthropic client asks; where two dialects have the same path, this tells them apart."""
    return any(name == b"anthropic-version" for name, _ in scope["headers"])


def shape_of(path: str, *, to_anthropic: bool = False) -> Shape:
    """Whose clients ask at a path, whether there is a route or not.

    Args:
        to_anthropic: an Anthropic client does, which counts where others ask at the same path.
    """
    if to_anthropic and (path == "/v1/models" or path.startswith("/v1/models/")):
        return _ANTHROPIC
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return _ANTHROPIC
    if path.startswith("/api/") and not path.startswith("/api/v1/"):
        return _OLLAMA
    if path in _MODEL_CACHE or path.startswith("/models/"):
        return _CACHE
    return _OPENAI


def refusal(scope: Scope, error: EnginehouseError, status: int | None = None) -> tuple[int, Any]:
    """The status and the body that tell an error to who asks.

    Args:
        status: the error's own when left out.
    """
    shape = shape_of(scope["path"], to_anthropic=asks_as_anthropic(scope))
    status = shape.statuses.get(error.code, status_of(error)) if status is None else status
    return status, shape.write(error, status)
