"""M4's inference: a prompt in, an answer out, and JSON that meets its caller's schema where one is given."""

import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from enginehouse.api.attending import Attended
from enginehouse.api.dialect import decode
from enginehouse.api.faces import Face, Page, request_of
from enginehouse.api.wire import Exchange
from enginehouse.core.gateway import Gateway, patience
from enginehouse.core.structured import Outcome, Structured
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.shapes import usage_json
from enginehouse.types import Operation, Request, Timings, Usage
from enginehouse.types.answer import Answer, Fold
from enginehouse.types.generation import Generation, Json, JsonAnswer, Role, Sampling, Text, Turn

__all__ = ["InferenceFace"]


class InferenceBody(Struct, kw_only=True):
    """`POST /v1/inference`."""

    model_id: str
    prompt: Annotated[str, Meta(min_length=1)]
    system: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    json_schema: Json | None = None
    timeout: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    """Seconds for all attempts together."""


_body = msgspec.json.Decoder(InferenceBody)
_PAGE = Page(
    summary="An answer to a prompt, as JSON that meets a schema where one is given.",
    body=InferenceBody,
    tag="inference",
    refusals={422: "What the model said does not meet the schema, however often it was asked."},
)


class InferenceFace(Face):
    """`POST /v1/inference`.

    Args:
        gateway: the way of every request.
        structured: holds answers to schemas.
    """

    def __init__(self, gateway: Gateway, structured: Structured) -> None:
        super().__init__(OpenAIChat(), _PAGE)
        self._gateway = gateway
        self._structured = structured

    async def handle(self, exchange: Exchange) -> None:
        """Every attempt is a request of its own, with its own record."""
        asked = decode(await exchange.read_body(), _body)
        request = request_of(exchange, "inference", Operation.CHAT, asked.model_id)
        if asked.timeout is not None:
            request = msgspec.structs.replace(request, timeout=asked.timeout)
        began = time.perf_counter()

        async def ask(generation: Generation) -> Answer:
            return await self._ask(request, generation)

        async with Attended(exchange, streams=False), patience(request):
            outcome = await self._structured.answer(_generation(asked), ask, native=True)
        answer = _answer(asked, outcome, exchange.timings, time.perf_counter() - began)
        await exchange.respond(200, msgspec.json.encode(answer))

    async def _ask(self, request: Request, generation: Generation) -> Answer:
        fold = Fold()
        async with self._gateway.events(request, generation) as answering:
            async for event in answering.pieces:
                fold.add(event)
        return fold.answer()


def _generation(asked: InferenceBody) -> Generation:
    told = (asked.system, Role.SYSTEM), (asked.prompt, Role.USER)
    return Generation(
        model=asked.model_id,
        turns=tuple(Turn(role=role, parts=(Text(text=text),)) for text, role in told if text),
        answer=None if asked.json_schema is None else JsonAnswer(schema=asked.json_schema),
        sampling=Sampling(temperature=asked.temperature, max_tokens=asked.max_tokens),
    )


def _answer(asked: InferenceBody, outcome: Outcome, timings: Timings, seconds: float) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "model_id": asked.model_id,
        "output": outcome.output,
        "json_mode": None if outcome.mode is None else outcome.mode.value,
        "attempts": outcome.attempts,
        "usage": usage_json(outcome.usage or Usage()),
        "timing": {
            "queue_ms": _milliseconds(timings.queue),
            "load_ms": _milliseconds(timings.load),
            "inference_ms": _milliseconds(timings.upstream),
            "total_ms": _milliseconds(seconds),
        },
    }
    if outcome.mode is not None:
        answer["parsed"] = outcome.parsed
    return answer


def _milliseconds(seconds: float | None) -> float:
    return round((seconds or 0.0) * 1000, 3)
