"""`POST /v1/rerank`: documents, best answer to a query first, as Jina's and Cohere's clients ask for it."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import uuid4

import msgspec
from msgspec import Meta, Struct

from enginehouse.api.attending import Attended
from enginehouse.api.dialect import decode, indices
from enginehouse.api.faces import Face, Page, request_of
from enginehouse.api.wire import Exchange
from enginehouse.core.gateway import Gateway, Ranked, patience
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.types import Operation

__all__ = ["rerank_faces"]


class Document(Struct):
    """A document that is more than its text; only that is read."""

    text: str


class RerankBody(Struct, kw_only=True):
    """`POST /v1/rerank`."""

    model: str
    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[str | Document], Meta(min_length=1)]
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = False

    def texts(self) -> list[str]:
        """The documents' words."""
        return [document if isinstance(document, str) else document.text for document in self.documents]


_rerank = msgspec.json.Decoder(RerankBody)


def rerank_faces(gateway: Gateway) -> Mapping[str, Face]:
    """The hot route, by path."""
    return {"/v1/rerank": _RerankFace(gateway)}


class _RerankFace(Face):
    """`POST /v1/rerank`."""

    def __init__(self, gateway: Gateway) -> None:
        summary = "Documents, best answer to the query first."
        super().__init__(OpenAIChat(), Page(summary=summary, body=RerankBody, tag="openai"))
        self._gateway = gateway

    async def handle(self, exchange: Exchange) -> None:
        asked = decode(await exchange.read_body(), _rerank)
        request = request_of(exchange, "rerank", Operation.RERANK, asked.model)
        async with Attended(exchange, streams=False), patience(request):
            ranked = await self._gateway.rerank(request, asked.query, asked.texts())
        if ranked.ranking.truncated:
            exchange.headers.append((b"x-enginehouse-truncated", indices(ranked.ranking.truncated)))
        await exchange.respond(200, msgspec.json.encode(_answer(asked, ranked)))


def _answer(asked: RerankBody, ranked: Ranked) -> dict[str, Any]:
    scores, tokens = ranked.ranking.scores, ranked.ranking.tokens
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[: asked.top_n]
    texts = asked.texts() if asked.return_documents else None
    return {
        "id": f"rerank-{uuid4().hex}",
        "model": asked.model,
        "object": "list",
        "results": [
            {"index": index, "relevance_score": scores[index]}
            | ({} if texts is None else {"document": {"text": texts[index]}})
            for index in order
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "scoring": ranked.scoring.value,
    }
