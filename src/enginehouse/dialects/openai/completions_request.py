"""Requests of OpenAI's text completions, both ways."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from enginehouse.dialects.base import Asked
from enginehouse.dialects.openai.shapes import Penalty, Probability, StreamOptions
from enginehouse.dialects.shapes import binding, compact, own_extra, read_object, refuse, take
from enginehouse.errors import InvalidRequest
from enginehouse.types.generation import Dialect, Generation, Json, Prompt, Sampling

__all__ = ["read_completions_request", "write_completions_request"]

_HERE = Dialect.OPENAI_COMPLETIONS
_MAX_PROMPTS = 2048


class _Completion(Struct):
    model: str
    prompt: Any
    suffix: str | None = None
    echo: bool | None = None
    best_of: Annotated[int, Meta(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_k: int | None = None
    min_p: Probability | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    user: str | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


def read_completions_request(body: bytes) -> Asked:
    """What a client of text completions asks for."""
    asked, extra = take(read_object(body), _Completion)
    prompt = Prompt(texts=_read_prompt(asked.prompt), suffix=asked.suffix or None, echo=bool(asked.echo))
    generation = Generation(
        model=asked.model,
        prompt=prompt,
        sampling=_read_sampling(asked),
        user=asked.user,
        dialect=_HERE,
        extra=extra | _read_best_of(asked),
    )
    options = asked.stream_options
    return Asked(
        generation=generation, stream=bool(asked.stream), wants_usage=bool(options and options.include_usage)
    )


def _read_prompt(prompt: Any) -> tuple[str | tuple[int, ...], ...]:
    """A text, texts, token ids, or lists of token ids."""
    try:
        read = msgspec.convert(prompt, str | list[Any])
        if isinstance(read, str):
            return (read,)
        if read and isinstance(read[0], int):
            return (msgspec.convert(read, tuple[int, ...]),)
        texts = msgspec.convert(read, tuple[str | tuple[int, ...], ...])
    except msgspec.ValidationError:
        raise InvalidRequest(
            "prompt: has to be a text, a list of texts, or token ids (a list, or a list of lists).", param="prompt"
        ) from None
    if not 0 < len(texts) <= _MAX_PROMPTS or () in texts:
        raise InvalidRequest(f"prompt: from 1 to {_MAX_PROMPTS} prompts, none of them [].", param="prompt")
    return texts


def _read_best_of(asked: _Completion) -> Json:
    """To choose the best of as many as are wanted is no choice."""
    n = asked.n or 1
    if asked.best_of is None or asked.best_of == n:
        return {}
    if asked.best_of < n:
        raise InvalidRequest(f"best_of is {asked.best_of}; it has to be at least n, {n}.", param="best_of")
    return {"best_of": asked.best_of}


def _read_sampling(asked: _Completion) -> Sampling:
    return Sampling(
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        max_tokens=asked.max_tokens,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        seed=asked.seed,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        repeat_penalty=asked.repeat_penalty,
        n=asked.n or 1,
        logprobs=asked.logprobs,
    )


def write_completions_request(generation: Generation, *, stream: bool, extended: bool) -> bytes:
    """A request to go on with a text.

    Args:
        extended: whether the server knows more than OpenAI's own: `top_k`, `min_p`, `repeat_penalty`.

    Raises:
        InvalidRequest: a conversation, tools, an answer in JSON, or the scores of a repeated prompt: its first
            token has none, and our words no place for that. How much to think is left out.
    """
    binding(generation, _HERE)
    prompt = _writable(generation)
    texts = [text if isinstance(text, str) else list(text) for text in prompt.texts]
    fields: Json = {
        "model": generation.model,
        "prompt": texts[0] if len(texts) == 1 else texts,
        "suffix": prompt.suffix,
        "echo": prompt.echo or None,
        **_write_sampling(generation, extended=extended),
        "user": generation.user,
        "stream": stream or None,
        "stream_options": {"include_usage": True} if stream else None,
    }
    return msgspec.json.encode(own_extra(generation, _HERE, generation.extra) | compact(fields))


def _writable(generation: Generation) -> Prompt:
    if generation.prompt is None or generation.turns:
        raise refuse("a conversation; it goes on with texts only", "messages")
    if generation.tools:
        raise refuse("tools beside a prompt", "tools")
    if generation.answer is not None:
        raise refuse("an answer in JSON to a bare prompt", "response_format")
    if generation.prompt.echo and generation.sampling.logprobs is not None:
        raise refuse("scoring the tokens of a repeated prompt", "logprobs")
    return generation.prompt


def _write_sampling(generation: Generation, *, extended: bool) -> Json:
    asked = generation.sampling
    fields: Json = {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "max_tokens": asked.max_tokens,
        "stop": list(asked.stop) or None,
        "seed": asked.seed,
        "presence_penalty": asked.presence_penalty,
        "frequency_penalty": asked.frequency_penalty,
        "n": asked.n if asked.n > 1 else None,
        "logprobs": asked.logprobs,
    }
    if extended or generation.dialect is _HERE:
        fields |= {"top_k": asked.top_k, "min_p": asked.min_p, "repeat_penalty": asked.repeat_penalty}
    return fields
