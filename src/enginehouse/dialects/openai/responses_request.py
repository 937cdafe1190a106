"""Requests of OpenAI's Responses, both ways."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from enginehouse.dialects.base import Asked
from enginehouse.dialects.openai.chat_request import as_turns, effort_of
from enginehouse.dialects.openai.responses_items import read_items, write_items
from enginehouse.dialects.openai.shapes import Penalty, Probability
from enginehouse.dialects.shapes import binding, compact, own_extra, read_object, refuse, take
from enginehouse.errors import InvalidRequest
from enginehouse.types.generation import (
    Choosing,
    Dialect,
    Foreign,
    Generation,
    Json,
    JsonAnswer,
    Reasoning,
    Role,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    Turn,
)

__all__ = ["ResponsesBody", "read_responses_request", "repeated", "write_responses_request"]

_HERE = Dialect.OPENAI_RESPONSES
_SCORED = "message.output_text.logprobs"
"""The word in `include` that asks for log probabilities."""
_STORED = {
    "previous_response_id": "Give the whole conversation in input.",
    "conversation": "Give the whole conversation in input.",
    "prompt": "Give the prompt's text in instructions and input.",
    "background": "Wait for the answer, or stream it.",
}
"""What would want something to be kept between requests, and what to do instead."""
_REPEATED = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "prompt_cache_key",
    "reasoning", "safety_identifier", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
    "truncation", "user",
)  # fmt: skip


class ResponsesBody(Struct):
    """`POST /v1/responses`; what is not named here goes to engines of this dialect as it is."""

    model: str
    input: str | list[Json]
    instructions: str | None = None
    stream: bool | None = None
    stream_options: Json | None = None
    store: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_k: int | None = None
    min_p: Probability | None = None
    max_output_tokens: Annotated[int, Meta(ge=0)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    user: str | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    text: Json | None = None
    reasoning: Json | None = None


class _Tool(Struct):
    name: str
    type: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class _Text(Struct):
    format: Json | None = None


class _Schema(Struct):
    schema: Json
    type: str
    name: str = "answer"
    description: str | None = None
    strict: bool | None = None


class _Reasoning(Struct):
    effort: str | None = None


def read_responses_request(body: bytes) -> Asked:
    """What a client of Responses asks for. Nothing is stored, whatever `store` says.

    `seed`, `stop`, `top_k` and the penalties are no words of OpenAI's here, but of some who have taken it over.
    """
    asked, extra = take(read_object(body), ResponsesBody)
    for name, instead in _STORED.items():
        if extra.pop(name, None):
            raise InvalidRequest(f"{name}: responses are not stored here. {instead}", param=name)
    choice, tools = _read_tools(asked)
    text, more = take(asked.text or {}, _Text, "text")
    reasoning, thought = take(asked.reasoning or {}, _Reasoning, "reasoning")
    include = [name for name in asked.include or () if name != _SCORED]
    extra |= {"text": more} if more else {}
    extra |= {"reasoning": thought} if thought else {}
    extra |= {"include": include} if include else {}
    generation = Generation(
        model=asked.model,
        turns=_read_turns(asked),
        tools=tools,
        tool_choice=choice,
        answer=_read_format(text.format),
        reasoning=Reasoning(effort=reasoning.effort),
        sampling=_read_sampling(asked),
        user=asked.user,
        dialect=_HERE,
        extra=extra,
    )
    return Asked(generation=generation, stream=bool(asked.stream))


def _read_turns(asked: ResponsesBody) -> tuple[Turn, ...]:
    items: list[Json] = [{"role": "user", "content": asked.input}] if isinstance(asked.input, str) else asked.input
    if not items:
        raise InvalidRequest("input: has to hold at least one item.", param="input")
    turns = read_items(items)
    if not asked.instructions:
        return turns
    return (Turn(role=Role.SYSTEM, parts=(Text(text=asked.instructions),)), *turns)


def _read_sampling(asked: ResponsesBody) -> Sampling:
    scored = bool(asked.top_logprobs) or _SCORED in (asked.include or ())
    return Sampling(
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        max_tokens=asked.max_output_tokens,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        seed=asked.seed,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        repeat_penalty=asked.repeat_penalty,
        logprobs=(asked.top_logprobs or 0) if scored else None,
    )


def _read_tools(asked: ResponsesBody) -> tuple[ToolChoice, tuple[Tool | Foreign, ...]]:
    """The choice, and the tools it leaves; `allowed_tools` means the same as giving those alone."""
    tools = tuple(_read_tool(tool, f"tools.{index}") for index, tool in enumerate(asked.tools or ()))
    parallel = asked.parallel_tool_calls
    match asked.tool_choice:
        case None:
            return ToolChoice(parallel=parallel), tools
        case "auto" | "none" | "required" as mode:
            return ToolChoice(mode=Choosing(mode), parallel=parallel), tools
        case {"type": "function", "name": str(name)}:
            return ToolChoice(mode=Choosing.NAMED, name=name, parallel=parallel), tools
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": [*allowed]}:
            names = {_name_of(entry) for entry in allowed}
            kept = tuple(tool for tool in tools if isinstance(tool, Tool) and tool.name in names)
            return ToolChoice(mode=Choosing(mode), parallel=parallel), kept
        case other:
            raise InvalidRequest(
                f"tool_choice is {other!r}; it may be auto, none, required or a function.", param="tool_choice"
            )


def _name_of(entry: Any) -> str | None:
    match entry:
        case {"name": str(name)}:
            return name
        case _:
            return None


def _read_tool(value: Json, at: str) -> Tool | Foreign:
    if (kind := value.get("type")) != "function":
        if not isinstance(kind, str):
            raise InvalidRequest(f"{at}.type is missing.", param=f"{at}.type")
        return Foreign(dialect=_HERE, kind=kind, value=value)
    tool, extra = take(value, _Tool, at)
    return Tool(
        name=tool.name,
        description=tool.description or "",
        parameters=tool.parameters,
        strict=tool.strict,
        extra=extra,
    )


def _read_format(value: Json | None) -> JsonAnswer | None:
    match value and value.get("type"):
        case None | "text":
            return None
        case "json_object":
            return JsonAnswer()
        case "json_schema":
            form, _ = take(value, _Schema, "text.format")
            return JsonAnswer(
                schema=form.schema, name=form.name, description=form.description or "", strict=form.strict
            )
        case kind:
            raise InvalidRequest(
                f"text.format.type is {kind!r}; it may be text, json_object or json_schema.",
                param="text.format.type",
            )


def write_responses_request(generation: Generation, *, stream: bool) -> bytes:
    """A request for a response that is not stored.

    Raises:
        InvalidRequest: several answers, stop sequences, penalties, and what else Responses do not have and would
            change the answer. A seed, `top_k`, `min_p` and `repeat_penalty` are left out, and so are the thoughts
            of other dialects.
    """
    binding(generation, _HERE)
    generation = as_turns(generation)
    _refuse_sampling(generation)
    fields = _request(generation) | {"store": False, "stream": stream or None}
    return msgspec.json.encode(own_extra(generation, _HERE, generation.extra) | compact(fields))


def repeated(generation: Generation) -> Json:
    """What a response repeats of its request."""
    instructions, _ = _instructions(generation)
    fields = _settings(generation) | {"instructions": instructions}
    said = compact(own_extra(generation, _HERE, generation.extra) | compact(fields))
    return {name: said[name] for name in _REPEATED if name in said}


def _request(generation: Generation) -> Json:
    asked = generation.sampling
    own = own_extra(generation, _HERE, generation.extra)
    instructions, turns = _instructions(generation)
    scored = [_SCORED] if asked.logprobs is not None else []
    fields: Json = {
        "model": generation.model,
        "instructions": instructions,
        "input": write_items(generation, turns),
        "include": [*own.get("include", ()), *scored] or None,
    }
    return fields | _settings(generation) | (_write_borrowed(asked) if generation.dialect is _HERE else {})


def _settings(generation: Generation) -> Json:
    asked = generation.sampling
    own = own_extra(generation, _HERE, generation.extra)
    return {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "max_output_tokens": asked.max_tokens,
        "top_logprobs": asked.logprobs or None,
        "tools": [_write_tool(generation, tool) for tool in generation.tools] or None,
        "tool_choice": _write_choice(generation.tool_choice),
        "parallel_tool_calls": generation.tool_choice.parallel,
        "text": own.get("text", {}) | _write_format(generation.answer) or None,
        "reasoning": own.get("reasoning", {}) | compact({"effort": effort_of(generation.reasoning)}) or None,
        "user": generation.user,
    }


def _write_borrowed(asked: Sampling) -> Json:
    """Words that are no words of OpenAI's here; who wrote them wants them to arrive."""
    return {
        "top_k": asked.top_k,
        "min_p": asked.min_p,
        "repeat_penalty": asked.repeat_penalty,
        "seed": asked.seed,
        "stop": list(asked.stop) or None,
        "presence_penalty": asked.presence_penalty,
        "frequency_penalty": asked.frequency_penalty,
    }


def _refuse_sampling(generation: Generation) -> None:
    asked = generation.sampling
    if asked.n > 1:
        raise refuse("several answers", "n")
    if generation.dialect is _HERE:
        return
    if asked.stop:
        raise refuse("ending at a stop sequence", "stop")
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(asked, name):
            raise refuse("a penalty", name)


def _instructions(generation: Generation) -> tuple[str | None, tuple[Turn, ...]]:
    """System text that stands first is the instructions, where it is text alone."""
    first, *rest = generation.turns or (Turn(role=Role.USER, parts=()),)
    if first.role is Role.SYSTEM and rest and len(first.parts) == 1 and not first.extra:
        (part,) = first.parts
        if isinstance(part, Text) and part.text and not own_extra(generation, _HERE, part.extra):
            return part.text, tuple(rest)
    return None, generation.turns


def _write_tool(generation: Generation, tool: Tool | Foreign) -> Json:
    """Responses take a schema for strict unless they are told: other dialects' silence means that it is not."""
    if isinstance(tool, Foreign):
        if tool.dialect is not _HERE:
            raise refuse(f"a tool of type {tool.kind!r} of {tool.dialect.value}", "tools")
        return tool.value
    own = generation.dialect is _HERE
    function: Json = {
        "type": "function",
        "name": tool.name,
        "parameters": tool.parameters,
        "strict": tool.strict if own else bool(tool.strict),
    }
    if tool.description:
        function["description"] = tool.description
    return function | own_extra(generation, _HERE, tool.extra)


def _write_choice(choice: ToolChoice) -> str | Json | None:
    if choice.mode is Choosing.NAMED:
        return {"type": "function", "name": choice.name}
    return choice.mode and choice.mode.value


def _write_format(answer: JsonAnswer | None) -> Json:
    if answer is None:
        return {}
    if answer.schema is None:
        return {"format": {"type": "json_object"}}
    fields = {
        "type": "json_schema",
        "name": answer.name,
        "description": answer.description or None,
        "schema": answer.schema,
        "strict": answer.strict,
    }
    return {"format": compact(fields)}
