"""Turns of a conversation as OpenAI's chat completions write them."""

from typing import Any

from msgspec import Struct

from enginehouse.dialects.images import image_at, url_of
from enginehouse.dialects.shapes import compact, own_extra, refuse, take
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

__all__ = ["read_turns", "write_turns"]

_HERE = Dialect.OPENAI_CHAT


class _Message(Struct):
    role: Role
    content: str | list[Json] | None = None
    name: str | None = None
    tool_calls: list[Json] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None


class _Text(Struct):
    text: str
    type: str = "text"


class _Refusal(Struct):
    refusal: str
    type: str = "refusal"


class _Url(Struct):
    url: str
    detail: str | None = None


class _Image(Struct):
    image_url: _Url | str
    type: str = "image_url"


class _Function(Struct):
    name: str
    arguments: str = ""


class _Call(Struct):
    function: _Function
    id: str = ""
    type: str = "function"


def read_turns(messages: list[Json]) -> tuple[Turn, ...]:
    """Turns out of messages; results that follow one another are one turn."""
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        turn = _read_turn(message, f"messages.{index}")
        if turn.role is Role.TOOL and turns and turns[-1].role is Role.TOOL:
            turns[-1] = Turn(role=Role.TOOL, parts=turns[-1].parts + turn.parts)
        else:
            turns.append(turn)
    return tuple(turns)


def _read_turn(message: Json, at: str) -> Turn:
    said, extra = take(message, _Message, at)
    parts = _read_content(said.content, f"{at}.content")
    if said.role is Role.TOOL:
        return Turn(role=Role.TOOL, parts=(_read_result(said, parts, extra, at),))
    if said.role is Role.ASSISTANT:
        parts = [
            *([Thinking(text=said.reasoning_content)] if said.reasoning_content else []),
            *parts,
            *([Refusal(text=said.refusal)] if said.refusal is not None else []),
            *[_read_call(call, f"{at}.tool_calls.{i}") for i, call in enumerate(said.tool_calls or ())],
        ]
    elif said.content is None:
        raise InvalidRequest(f"{at}.content is missing.", param=f"{at}.content")
    return Turn(role=said.role, parts=tuple(parts), name=said.name or "", extra=extra)


def _read_result(said: _Message, parts: list[Part], extra: Json, at: str) -> ToolResult:
    if said.tool_call_id is None:
        raise InvalidRequest(f"{at}.tool_call_id is missing.", param=f"{at}.tool_call_id")
    held = tuple(part for part in parts if isinstance(part, Text | Image | Foreign))
    return ToolResult(call_id=said.tool_call_id, name=said.name or "", parts=held, extra=extra)


def _read_content(content: str | list[Json] | None, at: str) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(text=content)]
    return [_read_part(part, f"{at}.{index}") for index, part in enumerate(content)]


def _read_part(part: Json, at: str) -> Part:
    match part.get("type"):
        case "text":
            text, extra = take(part, _Text, at)
            return Text(text=text.text, extra=extra)
        case "refusal":
            refusal, extra = take(part, _Refusal, at)
            return Refusal(text=refusal.refusal, extra=extra)
        case "image_url":
            image, extra = take(part, _Image, at)
            where = _Url(image.image_url) if isinstance(image.image_url, str) else image.image_url
            return image_at(where.url, at=f"{at}.image_url.url", detail=where.detail, extra=extra)
        case "input_audio" | "file" as kind:
            return Foreign(dialect=_HERE, kind=kind, value=part)
        case kind:
            raise InvalidRequest(f"{at}.type is {kind!r}; parts of this type are not known.", param=f"{at}.type")


def _read_call(value: Json, at: str) -> ToolCall | Foreign:
    if value.get("type") == "custom":
        return Foreign(dialect=_HERE, kind="custom", value=value)
    call, extra = take(value, _Call, at)
    return ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments, extra=extra)


def write_turns(generation: Generation, *, extended: bool) -> list[Json]:
    """Messages out of turns; one for each result of a tool."""
    messages: list[Json] = []
    for index, turn in enumerate(generation.turns):
        at = f"messages.{index}"
        if turn.role is Role.TOOL:
            messages += [_write_result(generation, part, at) for part in turn.parts]
        elif turn.role is Role.ASSISTANT:
            messages.append(_write_assistant(generation, turn, at, extended=extended))
        else:
            messages.append(_write_plain(generation, turn, at))
    return messages


def _write_plain(generation: Generation, turn: Turn, at: str) -> Json:
    role = turn.role if generation.dialect is _HERE or turn.role is not Role.DEVELOPER else Role.SYSTEM
    message: Json = {"role": role.value, "content": _write_content(generation, turn.parts, at)}
    if turn.name:
        message["name"] = turn.name
    return message | own_extra(generation, _HERE, turn.extra)


def _write_assistant(generation: Generation, turn: Turn, at: str, *, extended: bool) -> Json:
    """Thoughts go to servers that are known to take them; sealed ones mean something to their maker only."""
    content = tuple(part for part in turn.parts if isinstance(part, Text | Foreign | Image) and not _called(part))
    thoughts = "".join([part.text for part in turn.parts if isinstance(part, Thinking)])
    refusal = [part.text for part in turn.parts if isinstance(part, Refusal)]
    calls = [_write_call(generation, part) for part in turn.parts if isinstance(part, ToolCall) or _called(part)]
    message: Json = {"role": "assistant"}
    if content or not calls:
        message["content"] = _write_content(generation, content, at)
    if turn.name:
        message["name"] = turn.name
    if thoughts and (extended or generation.dialect is _HERE):
        message["reasoning_content"] = thoughts
    if refusal:
        message["refusal"] = "".join(refusal)
    if calls:
        message["tool_calls"] = calls
    return message | own_extra(generation, _HERE, turn.extra)


def _called(part: Part) -> bool:
    return isinstance(part, Foreign) and part.kind == "custom"


def _write_call(generation: Generation, call: Part) -> Json:
    if isinstance(call, Foreign):
        return _own(call, "messages")
    assert isinstance(call, ToolCall)
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function} | own_extra(generation, _HERE, call.extra)


def _write_result(generation: Generation, part: Part, at: str) -> Json:
    """OpenAI has no mark for a tool that failed; its text has to say so."""
    if not isinstance(part, ToolResult):
        raise refuse("a turn of tools holds something else than results", at)
    message: Json = {"role": "tool", "tool_call_id": part.call_id}
    message["content"] = _write_content(generation, part.parts, at)
    return message | own_extra(generation, _HERE, part.extra)


def _write_content(generation: Generation, parts: tuple[Any, ...], at: str) -> str | list[Json]:
    """A lone text is written as a string, which every server takes."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], Text) and not own_extra(generation, _HERE, parts[0].extra):
        return parts[0].text
    return [_write_part(generation, part, at) for part in parts]


def _write_part(generation: Generation, part: Part, at: str) -> Json:
    match part:
        case Text():
            return {"type": "text", "text": part.text} | own_extra(generation, _HERE, part.extra)
        case Image():
            place = compact({"url": url_of(part), "detail": part.detail})
            return {"type": "image_url", "image_url": place} | own_extra(generation, _HERE, part.extra)
        case Foreign():
            return _own(part, at)
        case Refusal():
            return {"type": "refusal", "refusal": part.text}
        case ToolCall() | ToolResult() | Thinking() | RedactedThinking():
            raise refuse(f"{type(part).__name__} in a turn of this role", at)


def _own(part: Foreign, at: str) -> Json:
    if part.dialect is not _HERE:
        raise refuse(f"a part of type {part.kind!r} of {part.dialect.value}", at)
    return part.value
