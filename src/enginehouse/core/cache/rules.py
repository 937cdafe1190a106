"""What is never cached: tables of kinds, each with the sign by which it is told.

`NEVER` are questions that are neither answered from the cache nor kept; `EXACT_ONLY` are answered by the very same
question only; `UNFIT` are answers that are not kept. `docs/cache.md` has the same tables in words.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from enginehouse.core.cache.patterns import (
    PERSONAL,
    REFUSED,
    REFUSED_SIGNS,
    SECRET,
    SECRET_MARKS,
    SECRET_SIGNS,
    VOLATILE,
)
from enginehouse.types.answer import Answer, Choice, Finish
from enginehouse.types.generation import Foreign, Generation, Image, Part, Role, Text, ToolCall, ToolResult

__all__ = ["EXACT_ONLY", "NEVER", "UNFIT", "exact_only", "never", "too_free", "unfit", "unfit_words", "volatile"]

Asks: TypeAlias = Callable[[Generation], bool]
Says: TypeAlias = Callable[[Answer, Generation, Sequence[str]], bool]
"""Told of an answer, what was asked, and the words of each choice."""

_MAX_QUESTION = 4000
"""Characters of a last turn that may mean the same as another one."""
_OPENING = 500
"""Characters of an answer in which it says whether it is one."""
_BROKEN = "\ufffd"
"""Stands for bytes that were no text."""
_WHOLE = Finish.STOP
_NOT_WHOLE: Mapping[Finish, str] = MappingProxyType(
    {Finish.LENGTH: "truncated", Finish.CONTENT_FILTER: "filtered", Finish.TOOL_CALLS: "calls_tools"}
)
"""Kinds that an answer's end alone tells."""


def never(generation: Generation) -> str | None:
    """The first kind in `NEVER` that this is, None when it may be cached."""
    if generation.turns and _only_words(generation):
        return None
    for kind, told in NEVER.items():
        if told(generation):
            return kind
    return None


def exact_only(generation: Generation, question: str, max_temperature: float) -> str | None:
    """The first kind in `EXACT_ONLY` that this is, None when another question's answer may do.

    Args:
        question: words of the last turn.
        max_temperature: the highest that may be asked for.
    """
    if too_free(generation, max_temperature):
        return "temperature"
    if volatile(question):
        return "time_dependent"
    if not re.search(r"\w", question):
        return "no_words"
    if len(question) > _MAX_QUESTION:
        return "long_question"
    return next((kind for kind, told in EXACT_ONLY.items() if told(generation)), None)


def too_free(generation: Generation, max_temperature: float) -> bool:
    """Whether a higher temperature is asked for; one that nobody asked for is none."""
    return (generation.sampling.temperature or 0.0) > max_temperature


def unfit(answer: Answer, asked: Generation) -> str | None:
    """The first kind in `UNFIT` that this is, None when it may be kept."""
    said = [choice.text() for choice in answer.choices]
    for kind, told in UNFIT.items():
        if told(answer, asked, said):
            return kind
    return None


def unfit_words(text: str, reason: Finish) -> str | None:
    """The same of an answer that holds these words and nothing else, to a question that asked for one in words."""
    if reason is not _WHOLE and reason in _NOT_WHOLE:
        return _NOT_WHOLE[reason]
    if _refuses(text):
        return "refused_in_words"
    if _says_nothing(text):
        return "empty"
    if _holds_secret(text):
        return "holds_secret"
    return "broken_text" if _BROKEN in text else None


def volatile(question: str) -> bool:
    """Whether the answer depends on when it is asked."""
    return VOLATILE.found(question)


def _only_words(generation: Generation) -> bool:
    """Whether there is nothing but words in it, as in most: then there is nothing for `NEVER` to find."""
    if generation.extra or generation.tools:
        return False
    return all(type(part) is Text for turn in generation.turns for part in turn.parts)


def _parts(generation: Generation) -> list[Part]:
    parts: list[Part] = [part for turn in generation.turns for part in turn.parts]
    if all(type(part) is Text for part in parts):  # as most of them are
        return parts
    return parts + [inner for part in parts if isinstance(part, ToolResult) for inner in part.parts]


def _has(*names: str) -> Asks:
    """One of these fields is there and says something."""

    def asks(generation: Generation) -> bool:
        extra = generation.extra
        return bool(extra) and any(extra.get(name) not in (None, False, [], {}, "") for name in names)

    return asks


def _asks_for_audio(generation: Generation) -> bool:
    modalities: Any = generation.extra.get("modalities")
    return generation.extra.get("audio") is not None or (isinstance(modalities, list) and "audio" in modalities)


def _images(generation: Generation) -> list[Image]:
    return [part for part in _parts(generation) if isinstance(part, Image)]


def _by_reference(generation: Generation) -> bool:
    """What lies behind an address may be another picture tomorrow."""
    return any(image.url is not None and not image.url.startswith("data:") for image in _images(generation))


NEVER: Mapping[str, Asks] = MappingProxyType(
    {
        "nothing_asked": lambda g: not g.turns and g.prompt is None,
        "conversation": _has("conversation", "conversation_id", "session_id", "previous_response_id", "thread_id"),
        "stored_prompt": lambda g: isinstance(g.extra.get("prompt"), dict),
        "container": _has("container"),
        "background": _has("background"),
        "stored_elsewhere": _has("store"),
        "mcp_servers": _has("mcp_servers"),
        "web_search": _has(
            "web_search_options", "web_search", "search_parameters", "plugins", "search_recency_filter"
        ),
        "retrieval": _has("data_sources", "documents", "file_ids", "attachments", "rag"),
        "server_tools": lambda g: any(isinstance(tool, Foreign) for tool in g.tools),
        "audio_answer": _asks_for_audio,
        "foreign_parts": lambda g: any(isinstance(part, Foreign) for part in _parts(g)),
        "image_by_reference": _by_reference,
        "cached_by_hand": _has("cached_content", "cachedContent"),
    }
)
"""Questions that lean on what the request does not hold, or that do something besides answering."""

EXACT_ONLY: Mapping[str, Asks] = MappingProxyType(
    {
        "tools": lambda g: bool(g.tools),
        "functions": _has("functions", "function_call"),
        "tool_call_in_history": lambda g: any(isinstance(part, ToolCall) for part in _parts(g)),
        "tool_result": lambda g: any(isinstance(part, ToolResult) for part in _parts(g)),
        "image": lambda g: bool(_images(g)),
        "several_answers": lambda g: g.sampling.n > 1,
        "best_of": _has("best_of"),
        "seed": lambda g: g.sampling.seed is not None,
        "logprobs": lambda g: g.sampling.logprobs is not None,
        "logit_bias": _has("logit_bias"),
        "grammar": _has("grammar", "guided_regex", "guided_choice", "guided_grammar"),
        "prompt": lambda g: g.prompt is not None,
        "token_context": _has("context"),
        "template": _has("template", "raw"),
        "prefilled": lambda g: bool(g.turns) and g.turns[-1].role is not Role.USER,
        "prediction": _has("prediction"),
        "personal": lambda g: bool(g.turns) and PERSONAL.found(_last_words(g)),
    }
)
"""Questions to which an answer to other words is no answer. So are a high temperature, and questions about now."""


def _last_words(generation: Generation) -> str:
    return " ".join([part.text for part in generation.turns[-1].parts if isinstance(part, Text)])


def _any(told: Callable[[Choice], bool]) -> Says:
    return lambda answer, _asked, _said: any(map(told, answer.choices))


def _any_text(told: Callable[[str], bool]) -> Says:
    return lambda _answer, _asked, said: any(map(told, said))


def _ended(*reasons: Finish | None) -> Says:
    return _any(lambda choice: choice.reason in reasons)


def _too_few(answer: Answer, asked: Generation, said: Sequence[str]) -> bool:
    del said
    wanted = asked.sampling.n * (len(asked.prompt.texts) if asked.prompt is not None else 1)
    return len(answer.choices) != wanted


def _refuses(text: str) -> bool:
    first = text[:1]
    if not first.isspace() and first.casefold()[:1] not in REFUSED_SIGNS:
        return False
    opening = text[:_OPENING].lstrip()
    return opening[:1].casefold()[:1] in REFUSED_SIGNS and REFUSED.match(opening.casefold()) is not None


def _says_nothing(text: str) -> bool:
    return not text or (text[0].isspace() and text.isspace())


def _holds_secret(text: str) -> bool:
    for mark in SECRET_MARKS:
        if mark in text:
            break
    else:
        return False
    return any(map(text.__contains__, SECRET_SIGNS)) and SECRET.search(text) is not None


def _no_json(answer: Answer, asked: Generation, said: Sequence[str]) -> bool:
    del answer
    if asked.answer is None:
        return False
    try:
        for text in said:
            msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return True
    return False


UNFIT: Mapping[str, Says] = MappingProxyType(
    {
        "no_answer": lambda answer, _asked, _said: not answer.choices,
        "unfinished": _ended(None),
        "truncated": _ended(Finish.LENGTH),
        "filtered": _ended(Finish.CONTENT_FILTER),
        "calls_tools": _any(lambda choice: choice.reason is Finish.TOOL_CALLS or bool(choice.tool_calls())),
        "refused": _any(lambda choice: choice.refusal() is not None),
        "refused_in_words": _any_text(_refuses),
        "empty": _any_text(_says_nothing),
        "fewer_answers": _too_few,
        "no_json": _no_json,
        "holds_secret": _any_text(_holds_secret),
        "broken_text": _any_text(lambda text: _BROKEN in text),
    }
)
"""Answers that are none, are not whole, do something, or should be nobody's twice."""
