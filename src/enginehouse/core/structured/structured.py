"""Answers under a JSON schema: the engine's own constraint where it has one, else words, and asking again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from enginehouse.core.structured.extract import candidates
from enginehouse.core.structured.prompts import corrected, instructed
from enginehouse.core.structured.repair import Mended, mend
from enginehouse.core.structured.schema import Bench, Flaw, Schema
from enginehouse.dialects.openai.chat_request import as_turns
from enginehouse.errors import ContextLengthExceeded, InvalidRequest, SchemaValidationFailed
from enginehouse.types import Usage
from enginehouse.types.answer import Answer, Choice, Finish
from enginehouse.types.generation import Generation

__all__ = ["Ask", "Mode", "Outcome", "Structured"]

Ask: TypeAlias = Callable[[Generation], Awaitable[Answer]]
"""Asks a model once; its errors are those of an engine, and pass through."""

_ANY_OBJECT = {"type": "object"}
_MAX_ATTEMPTS = 3
_MAX_TEXT = 1 << 20
"""Characters of an answer that are looked at."""
_LONG = 32 * 1024
"""From this length on JSON is looked for in a thread."""
_MAX_SHOWN = 500


class Mode(StrEnum):
    """How a model is held to a schema."""

    NATIVE = "native"
    """Its engine lets it write nothing else."""
    PROMPT = "prompt"
    """It is asked to, and checked."""


class Outcome(Struct, frozen=True, kw_only=True):
    """An answer that meets its schema."""

    mode: Mode | None
    """None when no JSON was asked for."""
    attempts: int
    """How often the model was asked."""
    output: str
    """What it said, as it said it."""
    parsed: Any
    """The JSON value in it; None when no JSON was asked for."""
    repaired: bool = False
    """Whether it was JSON only after slips of the pen were mended."""
    usage: Usage | None
    """Tokens of all attempts together; None when the engine counted none."""
    answer: Answer
    """The last one."""


class _Verdict(Struct, frozen=True):
    parsed: Any = None
    repaired: bool = False
    flaws: tuple[Flaw, ...] = ()


class Structured:
    """Asks until the answer meets the schema.

    Args:
        attempts: how often a model is asked at most, from 1 to 3.
        seconds: longest time in which one answer is held against a schema.
    """

    def __init__(self, *, attempts: int = _MAX_ATTEMPTS, seconds: float = 5.0) -> None:
        assert 1 <= attempts <= _MAX_ATTEMPTS
        self._attempts = attempts
        self._bench = Bench(seconds=seconds)

    async def answer(self, generation: Generation, ask: Ask, *, native: bool) -> Outcome:
        """An answer under the schema of `generation.answer`; without one the model is simply asked.

        Args:
            native: whether the model's engine can hold it to a schema. One that refuses this very schema is asked
                in words instead.

        Raises:
            InvalidRequest: the schema cannot be used, or the request has tools or wants several answers.
            SchemaValidationFailed: no attempt met the schema.
        """
        if generation.answer is None:
            answer = await ask(generation)
            said = _said(answer).text()
            return Outcome(mode=None, attempts=1, output=said, parsed=None, usage=answer.usage, answer=answer)
        wanted = generation.answer.schema
        generation = _askable(generation)
        schema = await self._bench.look_over(_ANY_OBJECT if wanted is None else wanted)
        return await self._until_it_fits(_Asking(generation, schema, ask, native=native))

    async def _until_it_fits(self, asking: "_Asking") -> Outcome:
        for attempt in range(1, self._attempts + 1):
            try:
                answer = await asking.ask()
            except ContextLengthExceeded:
                if attempt == 1:
                    raise
                break
            verdict = await judged(asking.schema, answer)
            if not verdict.flaws:
                return asking.outcome(answer, verdict)
            asking.failed(answer, verdict.flaws)
        raise asking.error()


def _askable(generation: Generation) -> Generation:
    if generation.tools:
        raise InvalidRequest("A JSON schema and tools cannot be asked for together here.", param="tools")
    if generation.sampling.n > 1:
        raise InvalidRequest("Under a JSON schema there is one answer.", param="n")
    return as_turns(generation)


class _Asking:
    """One request on its way through its attempts."""

    def __init__(self, generation: Generation, schema: Schema, ask: Ask, *, native: bool) -> None:
        self.schema = schema
        self._generation = generation
        self._ask = ask
        self._mode = Mode.NATIVE if native else Mode.PROMPT
        self._asked = 0
        self._usage: Usage | None = None
        self._raw = ""
        self._flaws: tuple[Flaw, ...] = ()

    async def ask(self) -> Answer:
        """The next attempt."""
        try:
            answer = await self._ask(self._next())
        except ContextLengthExceeded:
            raise
        except InvalidRequest:
            if self._mode is Mode.PROMPT or self._asked:
                raise
            self._mode = Mode.PROMPT
            answer = await self._ask(self._next())
        self._asked += 1
        self._usage = _sum(self._usage, answer.usage)
        return answer

    def failed(self, answer: Answer, flaws: tuple[Flaw, ...]) -> None:
        """Remember what was wrong."""
        choice = _said(answer)
        self._raw, self._flaws = choice.text() or choice.refusal() or "", flaws

    def outcome(self, answer: Answer, verdict: _Verdict) -> Outcome:
        """What came of it."""
        return Outcome(
            mode=self._mode,
            attempts=self._asked,
            output=_said(answer).text(),
            parsed=verdict.parsed,
            repaired=verdict.repaired,
            usage=self._usage,
            answer=answer,
        )

    def error(self) -> SchemaValidationFailed:
        """Why nothing came of it."""
        told = "; ".join([f"{flaw.path or '/'}: {flaw.message}" for flaw in self._flaws[:5]])
        times = "once" if self._asked == 1 else f"{self._asked} times"
        shown = self._raw if len(self._raw) <= _MAX_SHOWN else f"{self._raw[:_MAX_SHOWN]} …"
        return SchemaValidationFailed(
            f"The model was asked {times}, and its answer does not meet the JSON schema: {told}. It said: {shown}",
            flaws=[(flaw.path, flaw.message) for flaw in self._flaws],
            raw=self._raw,
            attempts=self._asked,
        )

    def _next(self) -> Generation:
        generation = self._generation
        if self._mode is Mode.PROMPT:
            generation = instructed(generation, self.schema.fields)
        return corrected(generation, self._raw, self._flaws) if self._flaws else generation


async def judged(schema: Schema, answer: Answer) -> _Verdict:
    """The value in an answer that meets the schema, or what is wrong with the one that looked most like it."""
    choice = _said(answer)
    text, cut = choice.text(), choice.reason is Finish.LENGTH
    if len(text) > _MAX_TEXT:
        return _Verdict(flaws=(Flaw("", f"it is longer than {_MAX_TEXT} characters"),))
    finding = asyncio.to_thread(_found, text, cut) if len(text) > _LONG else None
    found = await finding if finding else _found(text, cut)
    flaws: tuple[Flaw, ...] = ()
    for reading in found.readings:
        wrong = await schema.flaws(reading.value)
        if not wrong:
            return _Verdict(reading.value, reading.repaired)
        flaws = flaws or wrong
    return _Verdict(flaws=(*_cut_off(cut), *(flaws or (Flaw("", found.reason),))))


class _Reading(Struct, frozen=True):
    value: Any
    repaired: bool


class _Found(Struct, frozen=True):
    readings: Sequence[_Reading]
    reason: str
    """Why there is none."""


def _found(text: str, cut: bool) -> _Found:
    """All that may be meant, JSON before what has to be mended to become so.

    What was cut off at the token limit is not closed: its end is not known.
    """
    texts = candidates(text)
    readings: list[_Reading] = []
    mended: list[_Reading] = []
    reason = "it is empty"
    for candidate in texts:
        try:
            value = msgspec.json.decode(candidate)
            if not (cut and isinstance(value, int | float)):
                readings.append(_Reading(value, repaired=False))
        except (msgspec.DecodeError, RecursionError) as error:
            reason = f"it is not JSON: {error}" if reason == "it is empty" else reason
            mended += _mended(candidate, cut)
    return _Found([*readings, *mended], reason)


def _mended(candidate: str, cut: bool) -> list[_Reading]:
    try:
        made: Mended = mend(candidate)
    except ValueError:
        return []
    return [] if made.closed and cut else [_Reading(made.value, repaired=True)]


def _cut_off(cut: bool) -> tuple[Flaw, ...]:
    return (Flaw("", "it was cut off at the token limit"),) if cut else ()


def _said(answer: Answer) -> Choice:
    return answer.choices[0] if answer.choices else Choice()


def _sum(before: Usage | None, now: Usage | None) -> Usage | None:
    if before is None or now is None:
        return before or now
    return Usage(
        input=before.input + now.input,
        cached_input=before.cached_input + now.cached_input,
        cache_write=before.cache_write + now.cache_write,
        output=before.output + now.output,
        reasoning=before.reasoning + now.reasoning,
        estimated=before.estimated or now.estimated,
    )
