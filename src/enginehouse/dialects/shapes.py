"""Reading JSON with care: field-precise errors, and nothing lost of what we do not know."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

from enginehouse.errors import InvalidRequest, UpstreamDied
from enginehouse.types.generation import Dialect, Generation, Json

__all__ = ["BINDING", "binding", "compact", "from_engine", "own_extra", "read_object", "refuse", "take"]

S = TypeVar("S", bound=Struct)

_AT = re.compile(r" - at `\$?\.?([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")

BINDING: dict[Dialect, frozenset[str]] = {
    Dialect.OPENAI_CHAT: frozenset({"audio", "functions", "function_call", "web_search_options"}),
    Dialect.OPENAI_COMPLETIONS: frozenset({"best_of"}),
    Dialect.OPENAI_RESPONSES: frozenset({"previous_response_id", "conversation", "prompt", "background"}),
    Dialect.ANTHROPIC_MESSAGES: frozenset({"container", "mcp_servers"}),
    Dialect.OLLAMA_CHAT: frozenset(),
    Dialect.OLLAMA_GENERATE: frozenset({"context", "template"}),
}
"""Fields without which the answer would be another one: not to be left out where they cannot be said."""


def read_object(body: bytes) -> Json:
    """A body that has to be a JSON object.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body has to be a JSON object.")
    return cast("Json", value)


def take(value: object, kind: type[S], at: str = "") -> tuple[S, Json]:
    """A shape out of a JSON value, and the fields of it that the shape does not name.

    Raises:
        InvalidRequest: it does not have this shape; `param` is the path, beginning with `at`.
    """
    try:
        shape = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        path = ".".join(part for part in (at, *_AT.findall(text), *_MISSING.findall(text)) if part)
        plain = _AT.sub("", text).replace("`object`", "an object")
        where = f"{path}: " if path else ""
        raise InvalidRequest(f"{where}{plain}.", param=path or None) from None
    known = set(kind.__struct_encode_fields__) | {kind.__struct_config__.tag_field}
    fields = cast("Json", value)
    return shape, {name: fields[name] for name in fields if name not in known}


def from_engine(data: bytes, kind: type[S]) -> S:
    """A shape out of what an engine sent.

    Raises:
        UpstreamDied: it is something else.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamDied(f"The engine sent something that cannot be read: {str(error)[:200]}") from None


def compact(fields: Json) -> Json:
    """Without what is None."""
    return {name: value for name, value in fields.items() if value is not None}


def own_extra(generation: Generation, dialect: Dialect, extra: Json) -> Json:
    """Unknown fields go back into the dialect they came from, and into no other."""
    return extra if generation.dialect is dialect else {}


def binding(generation: Generation, dialect: Dialect) -> None:
    """Refuse what would change the answer and can be said in the caller's dialect only.

    Raises:
        InvalidRequest: naming the field.
    """
    if generation.dialect is None or generation.dialect is dialect:
        return
    for name in BINDING[generation.dialect]:
        if generation.extra.get(name) not in (None, False, [], {}):
            raise refuse(f"{name} is known to {generation.dialect.value} only", name)


def refuse(what: str, param: str, allowed: Sequence[Any] = ()) -> InvalidRequest:
    """The refusal of something that the model's engine cannot be told."""
    hint = f" It may be {' or '.join(map(str, allowed))}." if allowed else ""
    return InvalidRequest(f"The engine of this model cannot do this: {what}.{hint}", param=param)
