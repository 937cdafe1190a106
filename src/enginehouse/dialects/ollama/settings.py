"""What `/api/chat` and `/api/generate` ask for alike: options, format, thinking, keep_alive."""

import math
import re
from typing import Annotated, Any

from msgspec import Meta, Struct

from enginehouse.dialects.base import Residence
from enginehouse.dialects.shapes import compact, refuse, take
from enginehouse.errors import InvalidRequest
from enginehouse.types.generation import Dialect, Generation, Json, JsonAnswer, Reasoning, Sampling

__all__ = [
    "Common",
    "keep_alive",
    "own_extra",
    "read_extra",
    "read_format",
    "read_reasoning",
    "read_sampling",
    "residence_of",
    "write_common",
]

_HERE = frozenset({Dialect.OLLAMA_CHAT, Dialect.OLLAMA_GENERATE})
_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_LEVELS = {"none": False, "minimal": "low", "xhigh": "high", "max": "high"}
"""Efforts that not every version of Ollama knows, and what it is told instead."""
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|ms|s|m|h|$)")


class Common(Struct):
    """Fields of both requests."""

    model: Annotated[str, Meta(min_length=1)]
    stream: bool | None = None
    format: str | Json | None = None
    options: Json | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class _Options(Struct):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    num_predict: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None


def read_sampling(asked: Common) -> tuple[Sampling, Json]:
    """The sampling, and the options that have no word here (`num_ctx`, `mirostat`, endless `num_predict`)."""
    options, rest = take(asked.options or {}, _Options, "options")
    limit = options.num_predict
    if limit is not None and limit < 0:
        rest["num_predict"], limit = limit, None
    sampling = Sampling(
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        min_p=options.min_p,
        max_tokens=limit,
        stop=(options.stop,) if isinstance(options.stop, str) else tuple(options.stop or ()),
        seed=options.seed,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        repeat_penalty=options.repeat_penalty,
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
    )
    return sampling, rest


def read_extra(extra: Json, options: Json) -> Json:
    """What is kept beside the generation; unknown options stay under `options`.

    Raises:
        InvalidRequest: `keep_alive` is no length of time.
    """
    keep_alive(extra)
    return extra | ({"options": options} if options else {})


def read_format(value: str | Json | None) -> JsonAnswer | None:
    """Text, any JSON, or JSON after a schema."""
    match value:
        case None | "":
            return None
        case "json":
            return JsonAnswer()
        case str():
            raise InvalidRequest(f"format is {value!r}; it may be 'json' or a JSON schema.", param="format")
        case schema:
            return JsonAnswer(schema=schema)


def read_reasoning(think: bool | str | None) -> Reasoning:
    """Whether, or how much, to think."""
    if isinstance(think, str):
        if think not in _EFFORTS:
            raise InvalidRequest(f"think is {think!r}; it may be a boolean, low, medium or high.", param="think")
        return Reasoning(effort=think)
    return Reasoning(enabled=think)


def keep_alive(extra: Json) -> float | None:
    """Seconds the model shall stay in memory after the request; infinite for a negative length, None for no wish.

    Raises:
        InvalidRequest: `keep_alive` is neither a number of seconds nor a duration as Go writes it (`1h30m`).
    """
    value = extra.get("keep_alive")
    if value is None:
        return None
    seconds = _duration(value) if isinstance(value, str) else value
    if seconds is None or isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidRequest(
            f"keep_alive is {value!r}; it may be a number of seconds or a duration like '5m'.", param="keep_alive"
        )
    return math.inf if seconds < 0 else float(seconds)


def _duration(text: str) -> float | None:
    unsigned = text.strip().removeprefix("+").removeprefix("-")
    pieces = list(_DURATION.finditer(unsigned))
    if not unsigned or "".join([piece[0] for piece in pieces]) != unsigned:
        return None
    seconds = sum(float(piece[1]) * _UNITS[piece[2]] for piece in pieces)
    return -seconds if text.strip().startswith("-") else seconds


def residence_of(extra: Json) -> Residence:
    """What an empty request asks for: it unloads with a `keep_alive` of zero, and loads with any other."""
    return Residence.UNLOAD if keep_alive(extra) == 0 else Residence.LOAD


def own_extra(generation: Generation, extra: Json) -> Json:
    """Unknown fields go back to Ollama when they came in one of its two requests."""
    return extra if generation.dialect in _HERE else {}


def write_common(generation: Generation, *, stream: bool) -> Json:
    """The fields of both requests.

    Raises:
        InvalidRequest: more than one answer is asked for.
    """
    asked = generation.sampling
    if asked.n > 1:
        raise refuse("more than one answer", "n")
    fields: Json = {
        "model": generation.model,
        "stream": stream,
        "format": _write_format(generation.answer),
        "options": _write_options(generation) or None,
        "think": _write_think(generation),
        "logprobs": True if asked.logprobs is not None else None,
        "top_logprobs": asked.logprobs or None,
    }
    return own_extra(generation, generation.extra) | compact(fields)


def _write_options(generation: Generation) -> Json:
    asked = generation.sampling
    fields: Json = {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "min_p": asked.min_p,
        "num_predict": asked.max_tokens,
        "stop": list(asked.stop) or None,
        "seed": asked.seed,
        "presence_penalty": asked.presence_penalty,
        "frequency_penalty": asked.frequency_penalty,
        "repeat_penalty": asked.repeat_penalty,
    }
    kept: Json = own_extra(generation, generation.extra).get("options") or {}
    return kept | compact(fields)


def _write_format(answer: JsonAnswer | None) -> Any:
    if answer is None:
        return None
    return "json" if answer.schema is None else answer.schema


def _write_think(generation: Generation) -> bool | str | None:
    """Ollama knows no budgets: to have one is to think."""
    reasoning = generation.reasoning
    if reasoning.effort is not None:
        own = generation.dialect in _HERE
        return reasoning.effort if own else _LEVELS.get(reasoning.effort, reasoning.effort)
    return True if reasoning.enabled is None and reasoning.budget is not None else reasoning.enabled
