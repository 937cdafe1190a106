"""Requests of Ollama's `/api/chat`, both ways."""

import msgspec
from msgspec import Struct

from enginehouse.dialects.base import Asked
from enginehouse.dialects.ollama.settings import (
    Common,
    own_extra,
    read_extra,
    read_format,
    read_reasoning,
    read_sampling,
    residence_of,
    write_common,
)
from enginehouse.dialects.ollama.turns import read_turns, write_turns
from enginehouse.dialects.openai.chat_request import as_turns
from enginehouse.dialects.shapes import binding, compact, read_object, refuse, take
from enginehouse.types.generation import Choosing, Dialect, Foreign, Generation, Json, Tool

__all__ = ["OllamaChatBody", "read_chat_request", "write_chat_request"]

_HERE = Dialect.OLLAMA_CHAT


class OllamaChatBody(Common):
    """`POST /api/chat`."""

    messages: list[Json] | None = None
    tools: list[Json] | None = None


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class _Tool(Struct):
    function: _Function
    type: str = "function"


def read_chat_request(body: bytes) -> Asked:
    """What a client of `/api/chat` asks for; it streams unless told otherwise."""
    asked, extra = take(read_object(body), OllamaChatBody)
    sampling, options = read_sampling(asked)
    extra = read_extra(extra, options)
    generation = Generation(
        model=asked.model,
        turns=read_turns(asked.messages or []),
        tools=tuple(_read_tool(tool, f"tools.{index}") for index, tool in enumerate(asked.tools or ())),
        answer=read_format(asked.format),
        reasoning=read_reasoning(asked.think),
        sampling=sampling,
        dialect=_HERE,
        extra=extra,
    )
    residence = None if asked.messages else residence_of(extra)
    return Asked(generation=generation, stream=asked.stream is not False, residence=residence)


def _read_tool(value: Json, at: str) -> Tool:
    tool, extra = take(value, _Tool, at)
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=function.parameters,
        strict=function.strict,
        extra=extra,
    )


def write_chat_request(generation: Generation, *, stream: bool) -> bytes:
    """A request to `/api/chat`; without turns it loads the model.

    Raises:
        InvalidRequest: Ollama cannot be told what is asked; `param` names it.
    """
    binding(generation, _HERE)
    generation = as_turns(generation)
    fields = write_common(generation, stream=stream)
    fields["messages"] = write_turns(generation)
    if tools := _write_tools(generation):
        fields["tools"] = tools
    return msgspec.json.encode(fields)


def _write_tools(generation: Generation) -> list[Json]:
    """Ollama's models decide for themselves; only to have no tools can be said, by giving none."""
    choice = generation.tool_choice
    if choice.mode in {Choosing.REQUIRED, Choosing.NAMED}:
        raise refuse("making the model call a tool", "tool_choice", ["auto", "none"])
    if choice.mode is Choosing.NONE:
        return []
    if choice.parallel is False and generation.tools:
        raise refuse("holding the model to one tool call", "parallel_tool_calls", ["true"])
    return [_write_tool(generation, tool, f"tools.{index}") for index, tool in enumerate(generation.tools)]


def _write_tool(generation: Generation, tool: Tool | Foreign, at: str) -> Json:
    if isinstance(tool, Foreign):
        raise refuse(f"a tool of type {tool.kind!r} of {tool.dialect.value}", at)
    function: Json = {
        "name": tool.name,
        "description": tool.description or None,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return own_extra(generation, tool.extra) | {"type": "function", "function": compact(function)}
