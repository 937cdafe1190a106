"""Texts as vectors, for rooms that want some: on a caller's behalf through the gateway, or on the service's own."""

from collections.abc import Sequence

from enginehouse.core.catalogue import Catalogue
from enginehouse.core.gateway import Gateway
from enginehouse.core.vectors.batch import Asker, Embedded
from enginehouse.engines.base import Embeds
from enginehouse.errors import InvalidRequest
from enginehouse.residency.base import terms_of
from enginehouse.residency.manager import Residency
from enginehouse.types import EngineName, Operation, Request, Timings

__all__ = ["Embedder", "OwnEmbedder"]

_HERE = frozenset({EngineName.ONNX, EngineName.LLAMA_SERVER})
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


class OwnEmbedder:
    """Asks a model that runs here what the service wants to know itself: nobody is charged, or waits in a line.

    Args:
        catalogue: what the name means, each time anew.
        residency: brings the model into memory, and keeps it there while it is asked.
        model: its name.
    """

    def __init__(self, catalogue: Catalogue, residency: Residency, model: str) -> None:
        self._catalogue, self._residency, self._model = catalogue, residency, model

    async def __call__(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector a text.

        Raises:
            ModelNotFound, InvalidRequest: no such model, it runs elsewhere, or it makes no vectors.
            EnginehouseError: the model cannot be had, or its engine failed.
        """
        model = self._catalogue.resolve(self._model)
        place = model.deployments[0]
        if place.engine not in _HERE:
            raise InvalidRequest(
                f"{model.id!r} runs elsewhere: what the service asks of its own accord stays here."
            )
        async with self._residency.lease(place, terms_of(model), counted=False) as lease:
            if not isinstance(lease.engine, Embeds):
                raise InvalidRequest(f"The model {model.id!r} makes no vectors.")
            return (await lease.engine.embed(texts)).vectors
