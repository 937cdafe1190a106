"""Texts as vectors, for rooms that want some: asked of a model through the gateway, as any caller would ask."""

from collections.abc import Sequence
from typing import Any

import msgspec

from enginehouse.core.gateway import Gateway
from enginehouse.core.vectors.batch import Asker, Embedded
from enginehouse.engines.base import Embeds
from enginehouse.errors import UpstreamRefused
from enginehouse.types import Operation, Request, Timings

__all__ = ["Embedder"]

_TEXTS = 128
"""Texts that are embedded under one lease; others may have their turn in between."""


class _Datum(msgspec.Struct):
    index: int
    embedding: list[float]


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0


class _Reply(msgspec.Struct):
    data: list[_Datum]
    usage: _Usage = _Usage()


class Embedder:
    """Asks embedding models.

    Args:
        gateway: the way of every request.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, model: str, texts: Sequence[str], asker: Asker) -> Embedded:
        """One vector a text.

        Raises:
            ModelNotFound, InvalidRequest: no such model, or it is for something else.
            EnginehouseError: the model cannot be had, or its engine failed.
        """
        vectors: list[Sequence[float]] = []
        tokens = 0
        for start in range(0, len(texts), _TEXTS):
            part = await self._embed(model, list(texts[start : start + _TEXTS]), asker)
            vectors += part.vectors
            tokens += part.tokens
        return Embedded(vectors=vectors, tokens=tokens)

    async def _embed(self, model: str, texts: list[str], asker: Asker) -> Embedded:
        request = _request(model, texts, asker)
        async with self._gateway.seat(request) as seat:
            if isinstance(seat.engine, Embeds):
                embedding = await self._gateway.embed(request, seat.engine, texts)
                return Embedded(vectors=list(embedding.vectors), tokens=embedding.tokens)
            async with self._gateway.forward(request, seat) as reply:
                return _read(await reply.read(), len(texts))


def _request(model: str, texts: Sequence[str], asker: Asker) -> Request:
    body: dict[str, Any] = {"model": model, "input": texts, "encoding_format": "float"}
    return Request(
        operation=Operation.EMBEDDING,
        model=model,
        principal=asker.principal,
        request_id=asker.request_id,
        body=msgspec.json.encode(body),
        timings=Timings(),
    )


def _read(body: bytes, expected: int) -> Embedded:
    try:
        reply = msgspec.json.decode(body, type=_Reply)
    except msgspec.MsgspecError:
        raise UpstreamRefused("The engine's embeddings are not in OpenAI's shape.") from None
    data = sorted(reply.data, key=lambda datum: datum.index)
    if len(data) != expected:
        raise UpstreamRefused(f"The engine gave {len(data)} embeddings for {expected} texts.")
    return Embedded(vectors=[datum.embedding for datum in data], tokens=reply.usage.prompt_tokens)
