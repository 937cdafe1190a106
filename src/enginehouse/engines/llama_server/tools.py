"""Tool calls that a caller insists on, written by any model that llama.cpp runs.

With `tool_choice: required` llama.cpp itself demands that a call comes before the answer's end, but lets any number
of words come before it, and a named tool it does not heed at all: a small model writes until its tokens are used
up. So an answer that has to be a call is asked for as JSON under a schema, which no model can leave.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

import msgspec
from msgspec import Struct

from enginehouse.dialects.passing import data_of, whole_pieces
from enginehouse.engines.base import Reply
from enginehouse.engines.metadata import takes_tools
from enginehouse.errors import InvalidRequest

__all__ = ["Forced", "Forcing", "forcing_of", "knows_tools"]

Json = dict[str, Any]
_Fields = Mapping[str, msgspec.Raw]

_INSTEAD = frozenset({"response_format", "grammar", "json_schema", "tool_choice", "parallel_tool_calls"})
"""What a caller may have said of the answer's form, which is settled now."""
_BEGUN = re.compile(r'\s*\{\s*"name"\s*:\s*"(?P<name>[^"]*)"\s*,\s*"arguments"\s*:\s*(?P<arguments>.*)', re.DOTALL)


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Json | None = None


class _Tool(Struct):
    function: _Function


class _Written(Struct):
    name: str
    arguments: Json


class Forcing(Struct, frozen=True):
    """How a request stands to its tools."""

    tools: tuple[_Function, ...]
    """Those one of which has to be called; empty when the model may decide."""

    def body(self, fields: _Fields, *, known: bool) -> dict[str, msgspec.Raw]:
        """The request for a call.

        Args:
            fields: the caller's request.
            known: whether the model's template tells it of the tools; else a turn before all others does.
        """
        asked = {name: value for name, value in fields.items() if name not in _INSTEAD}
        asked["response_format"] = _raw(
            {"type": "json_schema", "json_schema": {"name": "call", "schema": self._schema()}}
        )
        if known:
            asked["tool_choice"] = _raw("none")
        else:
            del asked["tools"]
            asked["messages"] = _raw([{"role": "system", "content": self._told()}, *_list(fields["messages"])])
        return asked

    def _schema(self) -> Json:
        calls = [
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/{number}"}},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for number, tool in enumerate(self.tools)
        ]
        defined = {str(number): _moved(_arguments(tool), number) for number, tool in enumerate(self.tools)}
        return {"anyOf": calls, "$defs": defined}

    def _told(self) -> str:
        lines = [msgspec.json.encode(tool).decode() for tool in self.tools]
        return "\n".join(
            ["You answer by calling one of these functions, with arguments as their parameters say:", *lines]
        )


def forcing_of(fields: _Fields) -> Forcing | None:
    """What a chat request says of tools; None when it has none, or they are not to be called.

    Raises:
        InvalidRequest: they are none, or the one that has to be called is not among them.
    """
    if not fields.get("tools") or not _decode(fields["tools"], "tools", list[Any] | None):
        return None
    choice = _decode(fields.get("tool_choice", _raw("auto")), "tool_choice", Any)
    if choice == "none":
        return None
    if choice in (None, "auto"):
        return Forcing(())
    tools = tuple(tool.function for tool in _decode(fields["tools"], "tools", list[_Tool]))
    return Forcing(_chosen(tools, choice))


def knows_tools(properties: Json) -> bool:
    """Whether a model's chat template tells it of tools, by what the engine says of itself.

    Older engines tell only the template, which names the tools if it takes them; what tells neither is believed.
    """
    abilities = properties.get("chat_template_caps")
    if isinstance(abilities, dict) and "supports_tools" in abilities:
        return bool(cast("Json", abilities)["supports_tools"])
    template = properties.get("chat_template")
    return not isinstance(template, str) or takes_tools(template)


class Forced:
    """The answer to a request for a call: its JSON text is told as a call when it is there; satisfies `Reply`."""

    status = 200

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.headers: Mapping[str, str] = reply.headers
        self.prompt_tokens: int | None = None
        self._texts: dict[int, str] = {}

    async def frames(self) -> AsyncIterator[bytes]:
        """Whole frames; an empty item stands for life without words."""
        async for block in whole_pieces(self._reply.frames()):
            yield b"".join([self._told(frame) for frame in block.split(b"\n\n") if frame])

    async def read(self) -> bytes:
        """The whole stream as bytes."""
        return b"".join([block async for block in self.frames()])

    def _told(self, frame: bytes) -> bytes:
        data = data_of(frame)
        if data is None or data == b"[DONE]" or b'"delta"' not in data:
            return frame + b"\n\n"
        chunk = cast("Json", msgspec.json.decode(data))
        told = [{**chunk, "choices": [left]} for choice in chunk["choices"] for left in self._choice(choice)]
        return b"".join([b"data: " + msgspec.json.encode(one) + b"\n\n" for one in told])

    def _choice(self, choice: Json) -> Sequence[Json]:
        """What is left of a piece without its text, and the call before its end."""
        index, delta = choice.get("index", 0), cast("Json", choice.get("delta") or {})
        self._texts[index] = self._texts.get(index, "") + (delta.pop("content", None) or "")
        choice.pop("logprobs", None)
        if choice.get("finish_reason") is None:
            return [choice] if delta else []
        call = _call(self._texts[index])
        if call is None:
            return [choice]
        if choice["finish_reason"] == "stop":
            choice["finish_reason"] = "tool_calls"
        return [{"index": index, "delta": {"tool_calls": [call]}, "finish_reason": None}, choice]


def _call(text: str) -> Json | None:
    """A call of its text, be it cut off; None when not even the tool is known."""
    begun = _BEGUN.match(text)
    if begun is None:
        return None
    try:
        whole = msgspec.json.decode(text, type=_Written)
        name, arguments = whole.name, msgspec.json.encode(whole.arguments).decode()
    except msgspec.MsgspecError:
        name, arguments = begun["name"], begun["arguments"]
    function = {"name": name, "arguments": arguments}
    return {"index": 0, "id": f"call_{uuid4().hex[:24]}", "type": "function", "function": function}


def _chosen(tools: tuple[_Function, ...], choice: object) -> tuple[_Function, ...]:
    if choice in ("required", "any"):
        return tools
    try:
        name = msgspec.convert(choice, _Tool).function.name
    except msgspec.ValidationError:
        raise InvalidRequest(
            "tool_choice may be auto, none, required or the name of a function.", param="tool_choice"
        ) from None
    named = tuple(tool for tool in tools if tool.name == name)
    if not named:
        raise InvalidRequest(f"tool_choice names {name!r}, which is none of the tools.", param="tool_choice")
    return named


def _arguments(tool: _Function) -> Json:
    """Arguments are an object, also where nothing is said of them."""
    usual: Json = {"type": "object", "properties": {}}
    return usual | (tool.parameters or {})


def _moved(schema: Any, number: int) -> Any:
    """The schema with its references where its root now is."""
    if isinstance(schema, list):
        return [_moved(one, number) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    moved = {name: _moved(value, number) for name, value in cast("Json", schema).items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = f"#/$defs/{number}{reference[1:]}"
    return moved


def _decode(value: msgspec.Raw, name: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"{name}: {error}", param=name) from None


def _list(value: msgspec.Raw) -> list[Any]:
    return _decode(value, "messages", list[Any])


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
