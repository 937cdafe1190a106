"""Requests of OpenAI's chat completions, both ways."""

from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from enginehouse.dialects.base import Asked
from enginehouse.dialects.openai.parts import read_turns, write_turns
from enginehouse.dialects.openai.shapes import Penalty, Probability, StreamOptions
from enginehouse.dialects.shapes import binding, compact, own_extra, read_object, refuse, take
from enginehouse.errors import InvalidRequest
from enginehouse.types.generation import (
    Choosing,
    Dialect,
    Foreign,
    Generation,
    Json,
    JsonAnswer,
    Prompt,
    Reasoning,
    Role,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    Turn,
)

__all__ = ["as_turns", "effort_of", "read_chat_request", "write_chat_request"]

_HERE = Dialect.OPENAI_CHAT


class _Chat(Struct):
    model: str
    messages: Annotated[list[Json], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_k: int | None = None
    min_p: Probability | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=0)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    user: str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    response_format: Json | None = None
    reasoning_effort: str | None = None


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class _Tool(Struct):
    function: _Function
    type: str = "function"


class _Schema(Struct):
    name: str = "answer"
    description: str | None = None
    schema: Json | None = None
    strict: bool | None = None


def read_chat_request(body: bytes) -> Asked:
    """What a client of chat completions asks for."""
    asked, extra = take(read_object(body), _Chat)
    tools = tuple(_read_tool(tool, f"tools.{index}") for index, tool in enumerate(asked.tools or ()))
    choice, tools = _read_choice(asked, tools)
    generation = Generation(
        model=asked.model,
        turns=read_turns(asked.messages),
        tools=tools,
        tool_choice=choice,
        answer=_read_format(asked.response_format),
        reasoning=Reasoning(effort=asked.reasoning_effort),
        sampling=_read_sampling(asked),
        user=asked.user,
        dialect=_HERE,
        extra=extra,
    )
    options = asked.stream_options
    return Asked(
        generation=generation, stream=bool(asked.stream), wants_usage=bool(options and options.include_usage)
    )


def _read_sampling(asked: _Chat) -> Sampling:
    stop = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())
    limit = asked.max_completion_tokens if asked.max_completion_tokens is not None else asked.max_tokens
    return Sampling(
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        max_tokens=limit,
        stop=stop,
        seed=asked.seed,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        repeat_penalty=asked.repeat_penalty,
        n=asked.n or 1,
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
    )


def _read_tool(value: Json, at: str) -> Tool | Foreign:
    if value.get("type", "function") != "function":
        return Foreign(dialect=_HERE, kind=str(value["type"]), value=value)
    tool, extra = take(value, _Tool, at)
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=function.parameters,
        strict=function.strict,
        extra=extra,
    )


def _read_choice(asked: _Chat, tools: tuple[Tool | Foreign, ...]) -> tuple[ToolChoice, tuple[Tool | Foreign, ...]]:
    """The choice, and the tools it leaves; `allowed_tools` means the same as giving those alone."""
    parallel = asked.parallel_tool_calls
    match asked.tool_choice:
        case None:
            return ToolChoice(parallel=parallel), tools
        case "auto" | "none" | "required" as mode:
            return ToolChoice(mode=Choosing(mode), parallel=parallel), tools
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice(mode=Choosing.NAMED, name=name, parallel=parallel), tools
        case {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": allowed},
        }:
            names = {_name_of(entry) for entry in cast("list[Any]", allowed)}
            kept = tuple(tool for tool in tools if isinstance(tool, Tool) and tool.name in names)
            return ToolChoice(mode=Choosing(mode), parallel=parallel), kept
        case other:
            raise InvalidRequest(
                f"tool_choice is {other!r}; it may be auto, none, required or a function.", param="tool_choice"
            )


def _name_of(entry: Any) -> object:
    match entry:
        case {"function": {"name": name}}:
            return name
        case _:
            return None


def _read_format(value: Json | None) -> JsonAnswer | None:
    match value and value.get("type"):
        case None | "text":
            return None
        case "json_object":
            # llama.cpp takes a schema here too.
            return JsonAnswer(schema=value.get("schema") if value else None)
        case "json_schema":
            schema, _ = take(value and value.get("json_schema"), _Schema, "response_format.json_schema")
            return JsonAnswer(
                schema=schema.schema or {},
                name=schema.name,
                description=schema.description or "",
                strict=schema.strict,
            )
        case kind:
            raise InvalidRequest(
                f"response_format.type is {kind!r}; it may be text, json_object or json_schema.",
                param="response_format.type",
            )


def write_chat_request(generation: Generation, *, stream: bool, extended: bool) -> bytes:
    """A chat completion request.

    Args:
        extended: whether the server knows more than OpenAI's own: `top_k`, `min_p`, `repeat_penalty`, thoughts
            of earlier turns. Without it they are left out.
    """
    binding(generation, _HERE)
    generation = as_turns(generation)
    fields: Json = {
        "model": generation.model,
        "messages": write_turns(generation, extended=extended),
        **_write_sampling(generation, extended=extended),
        "tools": [_write_tool(generation, tool) for tool in generation.tools] or None,
        **_write_choice(generation),
        "response_format": _write_format(generation.answer),
        "reasoning_effort": effort_of(generation.reasoning),
        "user": generation.user,
        "stream": stream or None,
        "stream_options": {"include_usage": True} if stream else None,
    }
    return msgspec.json.encode(own_extra(generation, _HERE, generation.extra) | compact(fields))


def as_turns(generation: Generation) -> Generation:
    """A prompt as the one turn of a user, for dialects of conversations.

    Raises:
        InvalidRequest: the prompt cannot be said so.
    """
    prompt = generation.prompt
    if prompt is None:
        return generation
    turn = Turn(role=Role.USER, parts=(Text(text=_only_text(prompt)),))
    return msgspec.structs.replace(generation, prompt=None, turns=(*generation.turns, turn))


def _only_text(prompt: Prompt) -> str:
    if len(prompt.texts) != 1 or not isinstance(prompt.texts[0], str):
        raise refuse("several prompts, or token ids", "prompt")
    if prompt.suffix is not None:
        raise refuse("filling a gap before a suffix", "suffix")
    if prompt.echo:
        raise refuse("repeating the prompt", "echo")
    return prompt.texts[0]


def _write_sampling(generation: Generation, *, extended: bool) -> Json:
    asked = generation.sampling
    limit = "max_tokens" if extended else "max_completion_tokens"
    fields: Json = {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        limit: asked.max_tokens,
        "stop": list(asked.stop) or None,
        "seed": asked.seed,
        "presence_penalty": asked.presence_penalty,
        "frequency_penalty": asked.frequency_penalty,
        "n": asked.n if asked.n > 1 else None,
        "logprobs": True if asked.logprobs is not None else None,
        "top_logprobs": asked.logprobs or None,
    }
    if extended or generation.dialect is _HERE:
        fields |= {"top_k": asked.top_k, "min_p": asked.min_p, "repeat_penalty": asked.repeat_penalty}
    return fields


def _write_tool(generation: Generation, tool: Tool | Foreign) -> Json:
    if isinstance(tool, Foreign):
        if tool.dialect is not _HERE:
            raise refuse(f"a tool of type {tool.kind!r} of {tool.dialect.value}", "tools")
        return tool.value
    function = {
        "name": tool.name,
        "description": tool.description or None,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {"type": "function", "function": compact(function)} | own_extra(generation, _HERE, tool.extra)


def _write_choice(generation: Generation) -> Json:
    choice = generation.tool_choice
    mode: Any = choice.mode and choice.mode.value
    if choice.mode is Choosing.NAMED:
        mode = {"type": "function", "function": {"name": choice.name}}
    return {"tool_choice": mode, "parallel_tool_calls": choice.parallel}


def _write_format(answer: JsonAnswer | None) -> Json | None:
    if answer is None:
        return None
    if answer.schema is None:
        return {"type": "json_object"}
    schema = {
        "name": answer.name,
        "description": answer.description or None,
        "schema": answer.schema,
        "strict": answer.strict,
    }
    return {"type": "json_schema", "json_schema": compact(schema)}


def effort_of(reasoning: Reasoning) -> str | None:
    """OpenAI has efforts, not budgets: up to 2,048 tokens are low, up to 8,192 medium, more are high."""
    if reasoning.effort is not None:
        return reasoning.effort
    if reasoning.enabled is False:
        return "none"
    if reasoning.budget is None:
        return None
    return "low" if reasoning.budget <= 2048 else "medium" if reasoning.budget <= 8192 else "high"
