"""M1's own routes: generate, vectors, and the list of models, with what each of them costs."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from msgspec import Meta, Struct

from enginehouse.api.attending import Attended
from enginehouse.api.dialect import Message, decode
from enginehouse.api.faces import Face, Page, request_of
from enginehouse.api.wire import Exchange
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.gateway import Answering, Gateway, patience
from enginehouse.core.ledger.record import UsageRecord, dollars
from enginehouse.core.usable import usable_by
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.shapes import reason_of
from enginehouse.types import Model, Operation
from enginehouse.types.answer import Event, Fold, TextDelta

__all__ = ["llm_faces", "llm_router"]


class GenerateBody(Struct, kw_only=True):
    """`POST /v1/llm/generate`."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stream: bool | None = False


class EmbedBody(Struct, kw_only=True):
    """`POST /v1/llm/generate-embeddings`."""

    model: str
    texts: Annotated[list[str], Meta(min_length=1)]


_chat = OpenAIChat()
_generate = msgspec.json.Decoder(GenerateBody)
_embed = msgspec.json.Decoder(EmbedBody)
_GENERATE = Page(
    summary="An answer and what it cost; `stream: true` answers server-sent events.",
    body=GenerateBody,
    tag="inference",
    stream="text/event-stream",
)
_EMBED = Page(summary="Vectors of texts, and what they cost.", body=EmbedBody, tag="inference")


def llm_faces(gateway: Gateway) -> Mapping[str, Face]:
    """The hot routes, by path."""
    return {"/v1/llm/generate": _GenerateFace(gateway), "/v1/llm/generate-embeddings": _EmbedFace(gateway)}


class _GenerateFace(Face):
    """`POST /v1/llm/generate`; a stream tells the words as they come, and all else in its last frame."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(_chat, _GENERATE)
        self._gateway = gateway

    async def handle(self, exchange: Exchange) -> None:
        body = await exchange.read_body()
        asked = decode(body, _generate)
        stream = bool(asked.stream)
        generation = _chat.read_request(body).generation
        request = request_of(exchange, "llm", Operation.CHAT, asked.model, stream=stream)
        fold = Fold()
        async with (
            Attended(exchange, streams=stream),
            patience(request) as limit,
            self._gateway.events(request, generation) as answering,
        ):
            limit.reschedule(None)
            async for event in _noted(answering.pieces, fold):
                if stream and isinstance(event, TextDelta) and event.choice == 0 and event.text:
                    await exchange.write(_frame({"delta": event.text, "request_id": exchange.request_id}))
        # The record is durable: the context has ended well.
        answer = _answer(exchange, answering, fold)
        if stream:
            del answer["response"]
            await exchange.write(_frame({"done": True, **answer}) + b"data: [DONE]\n\n")
            await exchange.finish()
        else:
            await exchange.respond(200, msgspec.json.encode(answer))


class _EmbedFace(Face):
    """`POST /v1/llm/generate-embeddings`."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(_chat, _EMBED)
        self._gateway = gateway

    async def handle(self, exchange: Exchange) -> None:
        asked = decode(await exchange.read_body(), _embed)
        request = request_of(exchange, "llm", Operation.EMBEDDING, asked.model)
        async with Attended(exchange, streams=False), patience(request):
            embedded = await self._gateway.embed(request, asked.texts)
        tokens = embedded.embedding.tokens
        answer = {
            "embeddings": [list(vector) for vector in embedded.embedding.vectors],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "cost": _dollars(embedded.record.cost),
        }
        await exchange.respond(200, msgspec.json.encode(answer))


def llm_router(catalogue: Catalogue) -> APIRouter:
    """`GET /v1/llm/models` and `GET /api/v1/models`."""
    router = APIRouter(tags=["models"])

    @router.get("/v1/llm/models")
    @router.get("/api/v1/models", operation_id="list_models_m1")
    async def list_llm_models(request: HttpRequest) -> dict[str, Any]:
        """Every model the caller may use, with its price."""
        return {"models": [_entry(model) for model in usable_by(request.state.principal, catalogue)]}

    return router


def _entry(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name or model.id,
        "provider": model.deployments[0].engine.value,
        "type": model.kind.value,
        "max_tokens": model.max_tokens or model.context_length,
        "cost_per_1k_input": None if model.price.input_per_1k is None else float(model.price.input_per_1k),
        "cost_per_1k_output": None if model.price.output_per_1k is None else float(model.price.output_per_1k),
        "capabilities": model.capabilities,
    }


async def _noted(events: AsyncIterator[Event], fold: Fold) -> AsyncIterator[Event]:
    async for event in events:
        fold.add(event)
        yield event


def _answer(exchange: Exchange, answering: Answering[Event], fold: Fold) -> dict[str, Any]:
    answer, record = fold.answer(), answering.so_far()
    choice = answer.choices[0]
    read = record.input_tokens + record.cached_input_tokens
    written = record.output_tokens + record.reasoning_tokens
    if record.cache and answer.usage is not None:  # the record says what it took, which is nothing
        written = answer.usage.output + answer.usage.reasoning
        read = answer.usage.total - written
    return {
        "response": choice.text(),
        "model": answering.seat.model.id,
        "provider": answering.seat.deployment.engine.value,
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        "cost": _cost(record),
        "finish_reason": reason_of(choice.reason) if choice.reason else None,
        "cached": bool(record.cache),
        "request_id": exchange.request_id,
    }


def _cost(record: UsageRecord) -> dict[str, float | None]:
    """Dollars; None is a price that nobody knows, which is not nothing."""
    return {
        "input_cost": _dollars(record.input_cost),
        "output_cost": _dollars(record.output_cost),
        "total_cost": _dollars(record.cost),
    }


def _dollars(picodollars: int | None) -> float | None:
    amount = dollars(picodollars)
    return None if amount is None else float(amount)


def _frame(content: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(content) + b"\n\n"
