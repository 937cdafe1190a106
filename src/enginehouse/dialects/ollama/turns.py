"""Turns of a conversation as Ollama writes them: text beside bare images, and results that name their tool."""

from msgspec import Struct

from enginehouse.dialects.images import bare_image
from enginehouse.dialects.ollama.calls import Called, arguments_of, call_json, id_of
from enginehouse.dialects.ollama.settings import own_extra
from enginehouse.dialects.shapes import refuse, take
from enginehouse.types.generation import (
    Foreign,
    Generation,
    Image,
    Json,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)

__all__ = ["content_of", "images_of", "parts_of", "read_turns", "write_turns"]


class _Message(Struct):
    role: Role
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Json] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _Open:
    """The calls of the conversation so far; who answers one names its tool, and seldom its id."""

    def __init__(self) -> None:
        self.waiting: list[ToolCall] = []

    def asked(self, turn: Turn) -> None:
        calls = [part for part in turn.parts if isinstance(part, ToolCall)]
        if calls:
            self.waiting = calls

    def answered(self, call_id: str | None, name: str | None) -> tuple[str, str]:
        """Id and name of the call that is answered: the first that waits and fits."""
        for call in self.waiting:
            if (call_id is None or call.id == call_id) and (not name or call.name == name):
                self.waiting.remove(call)
                return call.id, call.name
        return call_id or f"call_{name or 'unknown'}", name or ""


def read_turns(messages: list[Json]) -> tuple[Turn, ...]:
    """Turns out of messages; results that follow one another are one turn."""
    turns: list[Turn] = []
    calls = _Open()
    for index, message in enumerate(messages):
        turn = _read_turn(message, f"messages.{index}", calls)
        if turn.role is Role.TOOL and turns and turns[-1].role is Role.TOOL:
            turns[-1] = Turn(role=Role.TOOL, parts=turns[-1].parts + turn.parts)
        else:
            turns.append(turn)
    return tuple(turns)


def _read_turn(message: Json, at: str, calls: _Open) -> Turn:
    said, extra = take(message, _Message, at)
    if said.role is Role.TOOL:
        call_id, name = calls.answered(said.tool_call_id, said.tool_name)
        parts = parts_of(said.content, said.images, at)
        result = ToolResult(call_id=call_id, name=name, parts=parts, extra=extra)
        return Turn(role=Role.TOOL, parts=(result,))
    thoughts = [Thinking(text=said.thinking)] if said.thinking else []
    called = [_read_call(call, f"{at}.tool_calls.{i}", i) for i, call in enumerate(said.tool_calls or ())]
    content = parts_of(said.content, said.images, at, silent=bool(called))
    turn = Turn(role=said.role, parts=(*thoughts, *content, *called), extra=extra)
    calls.asked(turn)
    return turn


def parts_of(
    content: str | None, images: list[str] | None, at: str, *, silent: bool = False
) -> tuple[Text | Image, ...]:
    """Text, then images; empty text is a part only where nothing else would be.

    Raises:
        InvalidRequest: an image is not base64.
    """
    where = f"{at}.images" if at else "images"
    held = [bare_image(data, at=f"{where}.{index}") for index, data in enumerate(images or ())]
    return (*([Text(text=content or "")] if content or not (held or silent) else []), *held)


def _read_call(value: Json, at: str, index: int) -> ToolCall:
    call, extra = take(value, Called, at)
    return ToolCall(id=id_of(call, index), name=call.function.name, arguments=call.arguments(), extra=extra)


def write_turns(generation: Generation) -> list[Json]:
    """Messages out of turns; one for each result of a tool.

    Raises:
        InvalidRequest: naming the message that holds what Ollama has no word for.
    """
    messages: list[Json] = []
    names: dict[str, str] = {}
    for index, turn in enumerate(generation.turns):
        at = f"messages.{index}"
        names |= {part.id: part.name for part in turn.parts if isinstance(part, ToolCall)}
        if turn.role is Role.TOOL:
            messages += [_write_result(generation, part, names, at) for part in turn.parts]
        else:
            messages.append(_write_turn(generation, turn, at))
    return messages


def _write_turn(generation: Generation, turn: Turn, at: str) -> Json:
    """Who speaks within a role, and seals on thoughts, have no place here and change no words."""
    role = Role.SYSTEM if turn.role is Role.DEVELOPER else turn.role
    message: Json = {"role": role.value, "content": content_of(turn.parts, at)}
    if thoughts := "".join([part.text for part in turn.parts if isinstance(part, Thinking)]):
        message["thinking"] = thoughts
    if images := images_of(turn.parts, at):
        message["images"] = images
    calls = [part for part in turn.parts if isinstance(part, ToolCall)]
    if calls:
        message["tool_calls"] = [_write_call(generation, call, i, at) for i, call in enumerate(calls)]
    return own_extra(generation, turn.extra) | message


def _write_call(generation: Generation, call: ToolCall, index: int, at: str) -> Json:
    arguments = arguments_of(call.arguments)
    if arguments is None:
        raise refuse("arguments that are not a JSON object", f"{at}.tool_calls.{index}.function.arguments")
    return own_extra(generation, call.extra) | call_json(call.id, call.name, arguments, index)


def _write_result(generation: Generation, part: Part, names: dict[str, str], at: str) -> Json:
    """Ollama has no mark for a tool that failed; its text has to say so."""
    if not isinstance(part, ToolResult):
        raise refuse("a turn of tools holds something else than results", at)
    message: Json = {"role": "tool", "content": content_of(part.parts, at), "tool_call_id": part.call_id}
    if name := part.name or names.get(part.call_id):
        message["tool_name"] = name
    if images := images_of(part.parts, at):
        message["images"] = images
    return own_extra(generation, part.extra) | message


def content_of(parts: tuple[Part, ...], at: str) -> str:
    """All words, a line for each part.

    Raises:
        InvalidRequest: a part that only another dialect has.
    """
    for part in parts:
        if isinstance(part, Foreign):
            raise refuse(f"a part of type {part.kind!r} of {part.dialect.value}", at)
        if isinstance(part, ToolResult):
            raise refuse("the result of a tool in a turn of this role", at)
    return "\n".join([part.text for part in parts if isinstance(part, Text | Refusal)])


def images_of(parts: tuple[Part, ...], at: str) -> list[str]:
    """All images, as base64 alone.

    Raises:
        InvalidRequest: an image is given by its URL.
    """
    images = [part for part in parts if isinstance(part, Image)]
    for image in images:
        if image.data is None:
            raise refuse("fetching an image from a URL; send it as base64", f"{at}.images")
    return [image.data for image in images if image.data is not None]
