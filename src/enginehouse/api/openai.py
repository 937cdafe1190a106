"""The OpenAI face: chat and text completions, Responses and embeddings, streamed and not."""

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

import msgspec
from msgspec import Struct

from enginehouse.api.attending import Attended
from enginehouse.api.dialect import (
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    Sampling,
    decode,
    embedding_body,
    indices,
)
from enginehouse.api.faces import Face, Page, request_of
from enginehouse.api.generation import GenerationFace, Peeked
from enginehouse.api.wire import Exchange
from enginehouse.core.gateway import Gateway, patience
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.completions import OpenAICompletions
from enginehouse.dialects.openai.responses import OpenAIResponses
from enginehouse.dialects.openai.responses_request import ResponsesBody
from enginehouse.types import Operation
from enginehouse.types.generation import Dialect

__all__ = ["openai_faces"]

S = TypeVar("S", bound=Sampling)

_embedding = msgspec.json.Decoder(EmbeddingBody)


def openai_faces(gateway: Gateway) -> Mapping[str, Face]:
    """The hot routes of the dialect, by path."""
    chat = partial(_peek, msgspec.json.Decoder(ChatBody))
    completion = partial(_peek, msgspec.json.Decoder(CompletionBody))
    return {
        "/v1/chat/completions": GenerationFace(
            gateway,
            Dialect.OPENAI_CHAT,
            OpenAIChat(),
            Operation.CHAT,
            _page("Chat completion; `stream: true` answers server-sent events.", ChatBody),
            chat,
        ),
        "/v1/completions": GenerationFace(
            gateway,
            Dialect.OPENAI_COMPLETIONS,
            OpenAICompletions(),
            Operation.COMPLETION,
            _page("Text completion; `stream: true` answers server-sent events.", CompletionBody),
            completion,
        ),
        "/v1/responses": GenerationFace(
            gateway,
            Dialect.OPENAI_RESPONSES,
            OpenAIResponses(),
            Operation.CHAT,
            _page(
                "A response, of which nothing is stored; `stream: true` answers server-sent events.", ResponsesBody
            ),
        ),
        "/v1/embeddings": EmbeddingsFace(gateway),
    }


class EmbeddingsFace(Face):
    """`POST /v1/embeddings`.

    Args:
        gateway: the way of every request.
    """

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(OpenAIChat(), _page("Vectors of texts or of token ids.", EmbeddingBody))
        self._gateway = gateway

    async def handle(self, exchange: Exchange) -> None:
        """Vectors of texts or of token ids."""
        asked = decode(await exchange.read_body(), _embedding)
        request = request_of(exchange, Dialect.OPENAI_EMBEDDINGS.value, Operation.EMBEDDING, asked.model)
        async with Attended(exchange, streams=False), patience(request):
            embedded = await self._gateway.embed(request, asked.texts())
        embedding = embedded.embedding
        if embedding.truncated:
            exchange.headers.append((b"x-enginehouse-truncated", indices(embedding.truncated)))
        packed = asked.encoding_format == "base64"
        answer = embedding_body(embedding, asked.model, base64_encoded=packed, dimensions=asked.dimensions)
        await exchange.respond(200, answer)


def _page(summary: str, body: type[Struct]) -> Page:
    return Page(summary=summary, body=body, tag="openai")


def _peek(decoder: "msgspec.json.Decoder[S]", body: bytes) -> Peeked:
    asked = decode(body, decoder)
    wants_usage = bool(asked.stream_options and asked.stream_options.include_usage)
    stream = bool(asked.stream)
    return Peeked(model=asked.model, stream=stream, wants_usage=wants_usage or not stream)
