"""Requests of Ollama's `/api/generate`, both ways."""

import msgspec

from enginehouse.dialects.base import Asked
from enginehouse.dialects.ollama.settings import (
    Common,
    read_extra,
    read_format,
    read_reasoning,
    read_sampling,
    residence_of,
    write_common,
)
from enginehouse.dialects.ollama.turns import content_of, images_of, parts_of
from enginehouse.dialects.shapes import binding, read_object, refuse, take
from enginehouse.errors import InvalidRequest
from enginehouse.types.generation import Dialect, Generation, Json, Prompt, Role, Text, Turn

__all__ = ["OllamaGenerateBody", "read_generate_request", "write_generate_request"]

_HERE = Dialect.OLLAMA_GENERATE


class OllamaGenerateBody(Common):
    """`POST /api/generate`."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    raw: bool | None = None
    images: list[str] | None = None


def read_generate_request(body: bytes) -> Asked:
    """What a client of `/api/generate` asks for.

    The model's chat template is put around a prompt, so that it is a user's turn; `raw` prompts, and those with
    a `suffix`, are gone on with as they stand.
    """
    asked, extra = take(read_object(body), OllamaGenerateBody)
    sampling, options = read_sampling(asked)
    extra = read_extra(extra, options)
    generation = Generation(
        model=asked.model,
        turns=_read_turns(asked),
        prompt=_read_prompt(asked, extra),
        answer=read_format(asked.format),
        reasoning=read_reasoning(asked.think),
        sampling=sampling,
        dialect=_HERE,
        extra=extra,
    )
    residence = None if asked.prompt else residence_of(extra)
    return Asked(generation=generation, stream=asked.stream is not False, residence=residence)


def _as_it_stands(asked: OllamaGenerateBody) -> bool:
    return bool(asked.raw or asked.suffix)


def _read_turns(asked: OllamaGenerateBody) -> tuple[Turn, ...]:
    if not asked.prompt or _as_it_stands(asked):
        return ()
    user = Turn(role=Role.USER, parts=parts_of(asked.prompt, asked.images, ""))
    return (Turn(role=Role.SYSTEM, parts=(Text(text=asked.system),)), user) if asked.system else (user,)


def _read_prompt(asked: OllamaGenerateBody, extra: Json) -> Prompt | None:
    """Beside a suffix, Ollama reads neither system nor images; here that is said instead of passed over."""
    if not asked.prompt or not _as_it_stands(asked):
        return None
    mode = "raw" if asked.raw else "suffix"
    others = {"system": asked.system, "images": asked.images, "context": extra.get("context")}
    others |= {"template": extra.get("template"), "suffix": asked.suffix} if asked.raw else {}
    for name, value in others.items():
        if value:
            raise InvalidRequest(f"{name} cannot be given together with {mode}.", param=name)
    return Prompt(texts=(asked.prompt,), suffix=asked.suffix or None)


def write_generate_request(generation: Generation, *, stream: bool) -> bytes:
    """A request to `/api/generate`; without turns and prompt it loads the model.

    Raises:
        InvalidRequest: this endpoint cannot be told what is asked; `param` names it.
    """
    binding(generation, _HERE)
    if generation.tools:
        raise refuse("tools beside a prompt", "tools")
    prompt = generation.prompt
    said = _write_turns(generation.turns) if prompt is None else _write_prompt(prompt, generation.turns)
    return msgspec.json.encode(write_common(generation, stream=stream) | said)


def _write_prompt(prompt: Prompt, turns: tuple[Turn, ...]) -> Json:
    if turns:
        raise refuse("a conversation beside a prompt", "messages")
    if len(prompt.texts) != 1 or not isinstance(prompt.texts[0], str) or not prompt.texts[0]:
        raise refuse("several prompts, an empty one, or token ids", "prompt")
    if prompt.echo:
        raise refuse("repeating the prompt", "echo")
    text = prompt.texts[0]
    return {"prompt": text, "raw": True} if prompt.suffix is None else {"prompt": text, "suffix": prompt.suffix}


def _write_turns(turns: tuple[Turn, ...]) -> Json:
    """System text, and one user's turn after it: there is no place for more."""
    if not turns:
        return {"prompt": ""}
    *before, last = turns
    if last.role is not Role.USER or any(turn.role not in {Role.SYSTEM, Role.DEVELOPER} for turn in before):
        raise refuse("a conversation of several turns", "messages")
    at = f"messages.{len(before)}"
    said: Json = {"prompt": content_of(last.parts, at)}
    if not said["prompt"]:
        raise refuse("an empty prompt", at)
    if before:
        said["system"] = "\n\n".join([content_of(turn.parts, f"messages.{i}") for i, turn in enumerate(before)])
    if images := images_of(last.parts, at):
        said["images"] = images
    return said
