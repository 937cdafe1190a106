"""Texts as vectors, for rooms that want some: asked of a model through the gateway, as any caller would ask."""

from collections.abc import Sequence

from enginehouse.core.gateway import Gateway
from enginehouse.core.vectors.batch import Asker, Embedded
from enginehouse.types import Operation, Request, Timings

__all__ = ["Embedder"]

_TEXTS = 128
"""Texts that are embedded in one turn; others may have theirs in between."""


class Embedder:
    """Asks embedding models.

    Args:
        gateway: the way of every request.
        face: by which routes it is asked, for the records of usage.
    """

    def __init__(self, gateway: Gateway, face: str) -> None:
        self._gateway, self._face = gateway, face

    async def __call__(self, model: str, texts: Sequence[str], asker: Asker) -> Embedded:
        """One vector a text.

        Raises:
            ModelNotFound, InvalidRequest: no such model, or it makes no vectors.
            EnginehouseError: the model cannot be had, or its engine failed.
        """
        vectors: list[Sequence[float]] = []
        tokens = 0
        for start in range(0, len(texts), _TEXTS):
            some = list(texts[start : start + _TEXTS])
            embedding = (await self._gateway.embed(self._request(model, asker), some)).embedding
            vectors += embedding.vectors
            tokens += embedding.tokens
        return Embedded(vectors=vectors, tokens=tokens)

    def _request(self, model: str, asker: Asker) -> Request:
        return Request(
            operation=Operation.EMBEDDING,
            model=model,
            principal=asker.principal,
            request_id=asker.request_id,
            face=self._face,
            timings=Timings(),
        )
