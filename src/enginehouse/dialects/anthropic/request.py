"""Requests of Anthropic's Messages, both ways."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from enginehouse.dialects.anthropic.parts import read_system, read_turns, write_system, write_turns
from enginehouse.dialects.anthropic.shapes import ANSWER_TOOL
from enginehouse.dialects.base import Asked
from enginehouse.dialects.openai.chat_request import as_turns
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
    Sampling,
    Tool,
    ToolChoice,
)

__all__ = [
    "CountTokensBody",
    "MessagesBody",
    "read_count_request",
    "read_messages_request",
    "write_count_request",
    "write_messages_request",
]

_HERE = Dialect.ANTHROPIC_MESSAGES
_MODES = {"auto": Choosing.AUTO, "any": Choosing.REQUIRED, "tool": Choosing.NAMED, "none": Choosing.NONE}
_CHOICES = {mode: choice for choice, mode in _MODES.items()}
_EFFORTS = {"minimal": "low"}
_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config")
"""What a prompt's length depends on; a request to count may say no more."""


class _Metadata(Struct):
    user_id: str | None = None


class CountTokensBody(Struct):
    """`POST /v1/messages/count_tokens`."""

    model: str
    messages: Annotated[list[Json], Meta(min_length=1)]
    system: str | list[Json] | None = None
    tools: list[Json] | None = None
    tool_choice: Json | None = None
    thinking: Json | None = None
    output_config: Json | None = None


class MessagesBody(CountTokensBody, kw_only=True):
    """`POST /v1/messages`; what is not named here goes to engines of this dialect as it is."""

    max_tokens: Annotated[int, Meta(ge=0)]
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: list[str] | None = None
    metadata: Json | None = None


class _Tool(Struct):
    name: str
    input_schema: Json
    description: str | None = None
    strict: bool | None = None
    type: str | None = None


class _Choice(Struct):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Thinking(Struct):
    type: str
    budget_tokens: int | None = None


class _Format(Struct):
    type: str
    schema: Json


class _Output(Struct):
    effort: str | None = None
    format: Json | None = None


def read_messages_request(body: bytes) -> Asked:
    """What a client of Messages asks for."""
    asked, extra = take(read_object(body), MessagesBody)
    metadata, more = take(asked.metadata or {}, _Metadata, "metadata")
    sampling = Sampling(
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        max_tokens=asked.max_tokens,
        stop=tuple(asked.stop_sequences or ()),
    )
    generation = _read_prompt(asked, extra | ({"metadata": more} if more else {}))
    generation = msgspec.structs.replace(generation, sampling=sampling, user=metadata.user_id)
    return Asked(generation=generation, stream=bool(asked.stream))


def read_count_request(body: bytes) -> Generation:
    """What a client wants the tokens of.

    Raises:
        InvalidRequest: as for a request to answer.
    """
    asked, extra = take(read_object(body), CountTokensBody)
    return _read_prompt(asked, extra)


def _read_prompt(asked: CountTokensBody, extra: Json) -> Generation:
    output, more = take(asked.output_config or {}, _Output, "output_config")
    reasoning, kept = _read_thinking(asked.thinking, output.effort)
    if more:
        extra |= {"output_config": more}
    return Generation(
        model=asked.model,
        turns=read_system(asked.system) + read_turns(asked.messages),
        tools=tuple(_read_tool(tool, f"tools.{index}") for index, tool in enumerate(asked.tools or ())),
        tool_choice=_read_choice(asked.tool_choice),
        answer=_read_format(output.format),
        reasoning=reasoning,
        dialect=_HERE,
        extra=extra | kept,
    )


def _read_tool(value: Json, at: str) -> Tool | Foreign:
    if value.get("type") not in (None, "custom"):
        return Foreign(dialect=_HERE, kind=str(value["type"]), value=value)
    tool, extra = take(value, _Tool, at)
    return Tool(
        name=tool.name,
        description=tool.description or "",
        parameters=tool.input_schema,
        strict=tool.strict,
        extra=extra,
    )


def _read_choice(value: Json | None) -> ToolChoice:
    if value is None:
        return ToolChoice()
    choice, _ = take(value, _Choice, "tool_choice")
    mode = _MODES.get(choice.type)
    if mode is None:
        raise InvalidRequest(
            f"tool_choice.type is {choice.type!r}; it may be auto, any, tool or none.", param="tool_choice.type"
        )
    if mode is Choosing.NAMED and not choice.name:
        raise InvalidRequest("tool_choice.name is missing.", param="tool_choice.name")
    single = choice.disable_parallel_tool_use
    return ToolChoice(
        mode=mode,
        name=choice.name if mode is Choosing.NAMED else "",
        parallel=None if single is None else not single,
    )


def _read_thinking(value: Json | None, effort: str | None) -> tuple[Reasoning, Json]:
    """How much to think, and the field as it was written, where our words do not hold all of it."""
    if value is None:
        return Reasoning(effort=effort), {}
    thinking, extra = take(value, _Thinking, "thinking")
    kept = {"thinking": value} if extra or thinking.type not in {"enabled", "adaptive", "disabled"} else {}
    if thinking.type == "enabled" and thinking.budget_tokens is None:
        raise InvalidRequest("thinking.budget_tokens is missing.", param="thinking.budget_tokens")
    enabled = thinking.type != "disabled"
    return Reasoning(enabled=enabled, effort=effort, budget=thinking.budget_tokens if enabled else None), kept


def _read_format(value: Json | None) -> JsonAnswer | None:
    if value is None:
        return None
    form, _ = take(value, _Format, "output_config.format")
    if form.type != "json_schema":
        raise InvalidRequest(
            f"output_config.format.type is {form.type!r}; it may be json_schema.", param="output_config.format.type"
        )
    return JsonAnswer(schema=form.schema, strict=True)


def write_messages_request(generation: Generation, *, stream: bool, max_tokens: int) -> bytes:
    """A request for an answer.

    Args:
        max_tokens: most tokens of the answer, where the caller does not say; Anthropic has to be told. A budget for
            thinking comes on top of it.

    Raises:
        InvalidRequest: several answers, log probabilities, penalties, a temperature above 1 and what else
            Anthropic does not have and would change the answer. A seed, `min_p` and `repeat_penalty` are left out.
    """
    asked = generation.sampling
    _refuse_sampling(asked)
    limit = asked.max_tokens
    fields: Json = {
        "max_tokens": max_tokens + (generation.reasoning.budget or 0) if limit is None else limit,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "stop_sequences": list(asked.stop) or None,
        "metadata": None if generation.user is None else {"user_id": generation.user},
        "stream": stream or None,
    }
    return msgspec.json.encode(_with_extra(generation, _write_prompt(generation) | compact(fields)))


def write_count_request(generation: Generation) -> bytes:
    """A request for the number of a prompt's tokens.

    Raises:
        InvalidRequest: as for a request to answer, sampling aside.
    """
    fields = _with_extra(generation, _write_prompt(generation))
    return msgspec.json.encode({name: fields[name] for name in _COUNTED if name in fields})


def _with_extra(generation: Generation, fields: Json) -> Json:
    """Back into their own dialect go fields that we do not know; where both have a part of one, they are joined."""
    extra = own_extra(generation, _HERE, generation.extra)
    shared = [name for name in ("metadata", "output_config") if name in fields and name in extra]
    joined: Json = {name: fields[name] | extra[name] for name in shared}
    return fields | extra | joined


def _write_prompt(generation: Generation) -> Json:
    binding(generation, _HERE)
    generation = as_turns(generation)
    tools = [_write_tool(generation, tool) for tool in generation.tools]
    choice = _write_choice(generation.tool_choice, tools)
    form: Json | None = None
    if generation.answer is not None and _has_format(generation):
        form = {"type": "json_schema", "schema": generation.answer.schema}
    elif generation.answer is not None and generation.tool_choice.mode is not Choosing.NAMED:
        choice = _answer_choice(generation)
        tools = [*([] if choice["type"] == "tool" else tools), _answer_tool(generation.answer)]
    fields: Json = {
        "model": generation.model,
        "messages": write_turns(generation),
        "system": write_system(generation),
        "tools": tools or None,
        "tool_choice": choice,
        "thinking": _write_thinking(generation),
        "output_config": compact({"effort": _effort(generation.reasoning), "format": form}) or None,
    }
    return compact(fields)


def _refuse_sampling(asked: Sampling) -> None:
    if asked.n > 1:
        raise refuse("several answers to one request", "n", [1])
    if asked.logprobs is not None:
        raise refuse("log probabilities", "logprobs")
    if asked.temperature is not None and asked.temperature > 1:
        raise refuse("a temperature above 1", "temperature", ["0 to 1"])
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(asked, name):
            raise refuse(f"a {name.replace('_', ' ')}", name, [0])


def _write_tool(generation: Generation, tool: Tool | Foreign) -> Json:
    if isinstance(tool, Foreign):
        if tool.dialect is not _HERE:
            raise refuse(f"a tool of type {tool.kind!r} of {tool.dialect.value}", "tools")
        return tool.value
    fields: Json = {
        "name": tool.name,
        "description": tool.description or None,
        "input_schema": tool.parameters or {"type": "object", "properties": {}},
        "strict": tool.strict,
    }
    return compact(fields) | own_extra(generation, _HERE, tool.extra)


def _write_choice(choice: ToolChoice, tools: list[Json]) -> Json | None:
    """The choice; where there are no tools Anthropic wants to hear of none."""
    if not tools and choice.mode in {Choosing.REQUIRED, Choosing.NAMED}:
        raise refuse("a call where there are no tools", "tool_choice")
    if not tools or (choice.mode is None and choice.parallel is None):
        return None
    fields: Json = {"type": _CHOICES[choice.mode or Choosing.AUTO]}
    if choice.mode is Choosing.NAMED:
        fields["name"] = choice.name
    if choice.parallel is not None and choice.mode is not Choosing.NONE:
        fields["disable_parallel_tool_use"] = not choice.parallel
    return fields


def _thinks(reasoning: Reasoning) -> bool:
    if reasoning.enabled is not None:
        return reasoning.enabled
    return reasoning.budget is not None or reasoning.effort not in (None, "none")


def _has_format(generation: Generation) -> bool:
    """Whether the answer's schema is told as such: when it binds, or when no tool could be forced in its place."""
    answer = generation.answer
    if answer is None or answer.schema is None:
        return False
    return bool(answer.strict) or _thinks(generation.reasoning) or answer.schema.get("type", "object") != "object"


def _answer_tool(answer: JsonAnswer) -> Json:
    return {
        "name": ANSWER_TOOL,
        "description": answer.description or "Gives the answer to the user. Its arguments are the whole answer.",
        "input_schema": {"type": "object"} | (answer.schema or {}),
    }


def _answer_choice(generation: Generation) -> Json:
    """The answer's tool alone, or any where the caller's own may be called too; who thinks cannot be forced."""
    if _thinks(generation.reasoning):
        raise refuse("JSON without a schema from a model that thinks", "response_format")
    if generation.tools and generation.tool_choice.mode is not Choosing.NONE:
        return {"type": "any"}
    return {"type": "tool", "name": ANSWER_TOOL}


def _write_thinking(generation: Generation) -> Json | None:
    """Thinking with a budget, or as much as the model likes; elsewhere an effort alone asks for it."""
    reasoning = generation.reasoning
    if reasoning.enabled is False or (reasoning.enabled is None and reasoning.effort == "none"):
        return {"type": "disabled"}
    if reasoning.budget is not None:
        return {"type": "enabled", "budget_tokens": reasoning.budget}
    if reasoning.enabled or (reasoning.effort is not None and generation.dialect is not _HERE):
        return {"type": "adaptive"}
    return None


def _effort(reasoning: Reasoning) -> str | None:
    effort = reasoning.effort
    return None if effort in (None, "none") or reasoning.enabled is False else _EFFORTS.get(effort, effort)
