"""A conversation as OpenAI's Responses write it: messages, thoughts, calls and their results, one item each."""

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

__all__ = ["read_items", "write_items"]

_HERE = Dialect.OPENAI_RESPONSES
_ROLES = {role.value: role for role in (Role.SYSTEM, Role.DEVELOPER, Role.USER, Role.ASSISTANT)}


class _Message(Struct):
    role: str
    content: str | list[Json]
    type: str = "message"


class _Call(Struct):
    call_id: str
    name: str
    type: str
    arguments: str = ""


class _Result(Struct):
    call_id: str
    output: str | list[Json]
    type: str
    name: str | None = None


class _Thought(Struct):
    type: str
    encrypted_content: str | None = None
    content: list[Json] | None = None
    summary: list[Json] | None = None


class _Words(Struct):
    text: str


class _Said(Struct):
    text: str
    type: str
    annotations: list[Json] = []
    logprobs: list[Json] | None = None


class _Input(Struct):
    text: str
    type: str


class _Refusal(Struct):
    refusal: str
    type: str


class _Image(Struct):
    type: str
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


def read_items(items: list[Json]) -> tuple[Turn, ...]:
    """Turns out of items; what the model said without a pause is one turn, with one message at most."""
    turns: list[Turn] = []
    for index, item in enumerate(items):
        turn = _read_item(item, f"input.{index}")
        if turns and _goes_on(turns[-1], turn):
            extra = turns[-1].extra or turn.extra
            turns[-1] = Turn(role=turn.role, parts=turns[-1].parts + turn.parts, extra=extra)
        else:
            turns.append(turn)
    return tuple(turns)


def _goes_on(before: Turn, turn: Turn) -> bool:
    if before.role is not turn.role or turn.role not in {Role.ASSISTANT, Role.TOOL}:
        return False
    return not (_speaks(before) and _speaks(turn))


def _speaks(turn: Turn) -> bool:
    return any(isinstance(part, Text | Refusal) for part in turn.parts)


def _read_item(item: Json, at: str) -> Turn:
    match item.get("type", "message"):
        case "message":
            return _read_message(item, at)
        case "function_call":
            call, extra = take(item, _Call, at)
            part = ToolCall(id=call.call_id, name=call.name, arguments=call.arguments, extra=extra)
            return Turn(role=Role.ASSISTANT, parts=(part,))
        case "function_call_output":
            return Turn(role=Role.TOOL, parts=(_read_result(item, at),))
        case "reasoning":
            return Turn(role=Role.ASSISTANT, parts=(_read_thought(item, at),))
        case "item_reference":
            raise InvalidRequest(f"{at} refers to an item that is not stored here; give the item itself.", param=at)
        case str(kind):
            return Turn(role=Role.ASSISTANT, parts=(Foreign(dialect=_HERE, kind=kind, value=item),))
        case kind:
            raise InvalidRequest(f"{at}.type is {kind!r}; it has to be a text.", param=f"{at}.type")


def _read_message(item: Json, at: str) -> Turn:
    said, extra = take(item, _Message, at)
    role = _ROLES.get(said.role)
    if role is None:
        raise InvalidRequest(f"{at}.role is {said.role!r}; it may be {', '.join(_ROLES)}.", param=f"{at}.role")
    return Turn(role=role, parts=_read_content(said.content, f"{at}.content"), extra=extra)


def _read_content(content: str | list[Json], at: str) -> tuple[Any, ...]:
    if isinstance(content, str):
        return (Text(text=content),)
    return tuple(_read_part(part, f"{at}.{index}") for index, part in enumerate(content))


def _read_part(part: Json, at: str) -> Part:
    match part.get("type"):
        case "output_text":
            said, extra = take(part, _Said, at)
            return Text(
                text=said.text, extra=extra | ({"annotations": said.annotations} if said.annotations else {})
            )
        case "input_text" | "text":
            text, extra = take(part, _Input, at)
            return Text(text=text.text, extra=extra)
        case "refusal":
            refusal, extra = take(part, _Refusal, at)
            return Refusal(text=refusal.refusal, extra=extra)
        case "input_image":
            return _read_image(part, at)
        case "input_file" | "input_audio" as kind:
            return Foreign(dialect=_HERE, kind=kind, value=part)
        case kind:
            raise InvalidRequest(f"{at}.type is {kind!r}; parts of this type are not known.", param=f"{at}.type")


def _read_image(part: Json, at: str) -> Image | Foreign:
    image, extra = take(part, _Image, at)
    if image.file_id is not None:
        return Foreign(dialect=_HERE, kind="input_image", value=part)
    if image.image_url is None:
        raise InvalidRequest(f"{at}.image_url is missing.", param=f"{at}.image_url")
    return image_at(image.image_url, at=f"{at}.image_url", detail=image.detail, extra=extra)


def _read_result(item: Json, at: str) -> ToolResult:
    result, extra = take(item, _Result, at)
    parts = _read_content(result.output, f"{at}.output") if result.output else ()
    held = tuple(part for part in parts if isinstance(part, Text | Image | Foreign))
    return ToolResult(call_id=result.call_id, name=result.name or "", parts=held, extra=extra)


def _read_thought(item: Json, at: str) -> Thinking | RedactedThinking:
    """The thoughts themselves, or what their maker has summed them up to, or what only it can read."""
    thought, _ = take(item, _Thought, at)
    pieces = thought.content or thought.summary or ()
    texts = [take(piece, _Words, f"{at}.content.{index}")[0].text for index, piece in enumerate(pieces)]
    extra = {name: value for name, value in item.items() if name not in {"type", "encrypted_content"}}
    if thought.encrypted_content and not texts:
        return RedactedThinking(data=thought.encrypted_content, extra=extra)
    return Thinking(text="\n\n".join(texts), signature=thought.encrypted_content, extra=extra)


def write_items(generation: Generation, turns: tuple[Turn, ...]) -> list[Json]:
    """Items out of turns."""
    items: list[Json] = []
    for index, turn in enumerate(turns):
        at = f"input.{index}"
        if turn.role is Role.TOOL:
            items += [_write_result(generation, part, at) for part in turn.parts]
        elif turn.role is Role.ASSISTANT:
            items += _write_assistant(generation, turn, at)
        else:
            content = _write_content(generation, turn.parts, at)
            message: Json = {"type": "message", "role": turn.role.value, "content": content}
            items.append(message | own_extra(generation, _HERE, turn.extra))
    return items


def _write_assistant(generation: Generation, turn: Turn, at: str) -> list[Json]:
    """The turn's items in their order; texts that follow one another are one message."""
    items: list[Json] = []
    said: list[Json] = []
    for index, part in enumerate(turn.parts):
        if isinstance(part, Text | Refusal):
            said.append(_write_said(generation, part))
            continue
        items += _message(generation, turn, said, f"{at}.{index}")
        said = []
        items += _write_other(generation, part, at)
    return items + _message(generation, turn, said, f"{at}.{len(turn.parts)}")


def _message(generation: Generation, turn: Turn, said: list[Json], at: str) -> list[Json]:
    """A lone text is written as a string; what is more than that has to have an id and a status."""
    if not said:
        return []
    message: Json = {"type": "message", "role": "assistant"}
    extra = own_extra(generation, _HERE, turn.extra)
    if (
        len(said) == 1
        and set(said[0]) == {"type", "text", "annotations"}
        and not said[0]["annotations"]
        and not extra
    ):
        return [message | {"content": said[0]["text"]}]
    named = {"id": f"msg_{at.replace('.', '_')}", "status": "completed"}
    return [message | named | {"content": said} | extra]


def _write_said(generation: Generation, part: Text | Refusal) -> Json:
    extra = own_extra(generation, _HERE, part.extra)
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text, **extra}
    return {"type": "output_text", "text": part.text, "annotations": [], **extra}


def _write_other(generation: Generation, part: Part, at: str) -> list[Json]:
    """Thoughts go back to where they came from only: others make nothing of them."""
    match part:
        case ToolCall():
            call = {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
            return [call | own_extra(generation, _HERE, part.extra)]
        case Thinking() | RedactedThinking():
            if generation.dialect is not _HERE:
                return []
            seal = part.signature if isinstance(part, Thinking) else part.data
            return [{"type": "reasoning", **compact({"encrypted_content": seal}), **part.extra}]
        case Foreign():
            return [_own(part, at)]
        case Text() | Image() | ToolResult() | Refusal():
            raise refuse(f"{type(part).__name__} in a turn of the assistant", at)


def _write_result(generation: Generation, part: Part, at: str) -> Json:
    """OpenAI has no mark for a tool that failed; its text has to say so."""
    if not isinstance(part, ToolResult):
        raise refuse("a turn of tools holds something else than results", at)
    output = _write_content(generation, part.parts, at) if part.parts else ""
    item: Json = {"type": "function_call_output", "call_id": part.call_id, "output": output}
    if part.name and generation.dialect is _HERE:
        item["name"] = part.name
    return item | own_extra(generation, _HERE, part.extra)


def _write_content(generation: Generation, parts: tuple[Any, ...], at: str) -> str | list[Json]:
    """A lone text is written as a string."""
    if len(parts) == 1 and isinstance(parts[0], Text) and not own_extra(generation, _HERE, parts[0].extra):
        return parts[0].text
    return [_write_part(generation, part, at) for part in parts]


def _write_part(generation: Generation, part: Part, at: str) -> Json:
    match part:
        case Text():
            return {"type": "input_text", "text": part.text} | own_extra(generation, _HERE, part.extra)
        case Image():
            image = {"type": "input_image", "image_url": url_of(part), "detail": part.detail or "auto"}
            return image | own_extra(generation, _HERE, part.extra)
        case Foreign():
            return _own(part, at)
        case _:
            raise refuse(f"{type(part).__name__} in a turn of this role", at)


def _own(part: Foreign, at: str) -> Json:
    if part.dialect is not _HERE:
        raise refuse(f"a part of type {part.kind!r} of {part.dialect.value}", at)
    return part.value
