"""Turns of a conversation as Anthropic's Messages write them."""

import msgspec
from msgspec import Struct

from enginehouse.dialects.anthropic.shapes import arguments_of
from enginehouse.dialects.images import image_at
from enginehouse.dialects.shapes import own_extra, refuse, take
from enginehouse.errors import InvalidRequest
from enginehouse.types.generation import (
    Dialect,
    Foreign,
    Generation,
    Image,
    Json,
    Part,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)

__all__ = ["read_system", "read_turns", "write_system", "write_turns"]

_HERE = Dialect.ANTHROPIC_MESSAGES
_MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_ROLES = (Role.USER, Role.ASSISTANT, Role.SYSTEM)


class _Message(Struct):
    role: str
    content: str | list[Json]


class _Text(Struct):
    text: str
    type: str = "text"


class _Source(Struct):
    type: str
    data: str = ""
    media_type: str = ""
    url: str = ""


class _Image(Struct):
    source: _Source
    type: str = "image"


class _Thinking(Struct):
    thinking: str
    signature: str = ""
    type: str = "thinking"


class _Redacted(Struct):
    data: str
    type: str = "redacted_thinking"


class _Use(Struct):
    id: str
    name: str
    input: Json
    type: str = "tool_use"


class _Result(Struct):
    tool_use_id: str
    content: str | list[Json] | None = None
    is_error: bool | None = None
    type: str = "tool_result"


def read_system(system: str | list[Json] | None) -> tuple[Turn, ...]:
    """The system's words as the first turn."""
    if not system:
        return ()
    return (Turn(role=Role.SYSTEM, parts=_read_content(system, "system")),)


def read_turns(messages: list[Json]) -> tuple[Turn, ...]:
    """Turns out of messages; a user's message with results of tools is two turns, the results first."""
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        at = f"messages.{index}"
        said, extra = take(message, _Message, at)
        if said.role not in _ROLES:
            raise InvalidRequest(
                f"{at}.role is {said.role!r}; it may be user, assistant or system.", param=f"{at}.role"
            )
        parts = _read_content(said.content, f"{at}.content")
        results = tuple(part for part in parts if isinstance(part, ToolResult))
        rest = tuple(part for part in parts if not isinstance(part, ToolResult))
        if results:
            turns.append(Turn(role=Role.TOOL, parts=results))
        if rest or not results:
            turns.append(Turn(role=Role(said.role), parts=rest, extra=extra))
    return tuple(turns)


def _read_content(content: str | list[Json], at: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(text=content),)
    return tuple(_read_part(part, f"{at}.{index}") for index, part in enumerate(content))


def _read_part(part: Json, at: str) -> Part:
    match part.get("type"):
        case "text":
            text, extra = take(part, _Text, at)
            return Text(text=text.text, extra=extra)
        case "image":
            return _read_image(part, at)
        case "thinking":
            thinking, extra = take(part, _Thinking, at)
            return Thinking(text=thinking.thinking, signature=thinking.signature or None, extra=extra)
        case "redacted_thinking":
            redacted, extra = take(part, _Redacted, at)
            return RedactedThinking(data=redacted.data, extra=extra)
        case "tool_use":
            use, extra = take(part, _Use, at)
            arguments = msgspec.json.encode(use.input).decode()
            return ToolCall(id=use.id, name=use.name, arguments=arguments, extra=extra)
        case "tool_result":
            return _read_result(part, at)
        case str(kind):
            return Foreign(dialect=_HERE, kind=kind, value=part)
        case kind:
            raise InvalidRequest(f"{at}.type is {kind!r}; it has to name the block's type.", param=f"{at}.type")


def _read_image(part: Json, at: str) -> Image | Foreign:
    image, extra = take(part, _Image, at)
    match image.source.type:
        case "base64":
            url = f"data:{image.source.media_type};base64,{image.source.data}"
            return image_at(url, at=f"{at}.source.data", extra=extra)
        case "url":
            return image_at(image.source.url, at=f"{at}.source.url", extra=extra)
        case _:
            return Foreign(dialect=_HERE, kind="image", value=part)


def _read_result(part: Json, at: str) -> ToolResult:
    result, extra = take(part, _Result, at)
    parts = () if result.content is None else _read_content(result.content, f"{at}.content")
    held = tuple(part for part in parts if isinstance(part, Text | Image | Foreign))
    if len(held) < len(parts):
        raise InvalidRequest(f"{at}.content holds a block that a tool cannot give.", param=f"{at}.content")
    return ToolResult(call_id=result.tool_use_id, parts=held, is_error=bool(result.is_error), extra=extra)


def write_system(generation: Generation) -> str | list[Json] | None:
    """All that the system says, wherever it stands: not every model takes system turns among the others."""
    parts = [part for turn in generation.turns if _is_system(turn) for part in turn.parts]
    blocks = _write_parts(generation, parts, "system")
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks or None


def write_turns(generation: Generation) -> list[Json]:
    """Messages out of turns. Those of one speaker are merged, and results stand first in theirs, as Anthropic asks.

    Raises:
        InvalidRequest: nothing is left, or a part cannot be said.
    """
    messages: list[Json] = []
    for index, turn in enumerate(generation.turns):
        if _is_system(turn):
            continue
        role = "assistant" if turn.role is Role.ASSISTANT else "user"
        blocks = _write_parts(generation, turn.parts, f"messages.{index}")
        if blocks:
            _join(messages, role, blocks, own_extra(generation, _HERE, turn.extra))
    if not messages:
        raise refuse("a conversation in which nobody but the system speaks", "messages")
    return [message | {"content": _plain(message["content"])} for message in messages]


def _is_system(turn: Turn) -> bool:
    return turn.role in {Role.SYSTEM, Role.DEVELOPER}


def _join(messages: list[Json], role: str, blocks: list[Json], extra: Json) -> None:
    if not messages or messages[-1]["role"] != role:
        messages.append({"role": role, "content": blocks} | extra)
        return
    joined = [*messages[-1]["content"], *blocks]
    messages[-1] |= extra | {"content": sorted(joined, key=lambda block: block["type"] != "tool_result")}


def _plain(blocks: list[Json]) -> str | list[Json]:
    """A lone text is written as a string."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks


def _write_parts(generation: Generation, parts: "list[Part] | tuple[Part, ...]", at: str) -> list[Json]:
    written: list[Json] = []
    for part in parts:
        block = _write_part(generation, part, at)
        if block is not None:
            written.append(block | ({} if isinstance(part, Foreign) else own_extra(generation, _HERE, part.extra)))
    return written


def _write_part(generation: Generation, part: Part, at: str) -> Json | None:
    """One block; None for what Anthropic would refuse and need not know: empty words, thoughts without its seal."""
    match part:
        case Text() | Refusal():
            return {"type": "text", "text": part.text} if part.text else None
        case Image():
            return {"type": "image", "source": _source(part, at)}
        case ToolCall():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part, at)}
        case ToolResult():
            return _write_result(generation, part, at)
        case Foreign():
            return _own(part, at)
        case Thinking() | RedactedThinking():
            return _write_thought(part) if generation.dialect in {None, _HERE} else None


def _write_thought(part: Thinking | RedactedThinking) -> Json | None:
    if isinstance(part, RedactedThinking):
        return {"type": "redacted_thinking", "data": part.data}
    if part.signature is None:
        return None
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _source(image: Image, at: str) -> Json:
    if image.url is not None:
        return {"type": "url", "url": image.url}
    if image.media_type not in _MEDIA_TYPES:
        raise refuse(f"an image of type {image.media_type!r}", at, _MEDIA_TYPES)
    return {"type": "base64", "media_type": image.media_type, "data": image.data}


def _input(call: ToolCall, at: str) -> Json:
    arguments = arguments_of(call.arguments)
    if arguments is None:
        raise refuse(f"a call of {call.name} whose arguments are not a JSON object", at)
    return arguments


def _write_result(generation: Generation, result: ToolResult, at: str) -> Json:
    block: Json = {"type": "tool_result", "tool_use_id": result.call_id}
    if held := _write_parts(generation, result.parts, at):
        block["content"] = _plain(held)
    if result.is_error:
        block["is_error"] = True
    return block


def _own(part: Foreign, at: str) -> Json:
    if part.dialect is not _HERE:
        raise refuse(f"a part of type {part.kind!r} of {part.dialect.value}", at)
    return part.value
