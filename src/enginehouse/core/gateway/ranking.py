"""The flow of a request to rank documents: by a model that reads pairs, or by how near vectors are."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum

import msgspec

from enginehouse.core.gateway.seats import Seat
from enginehouse.core.gateway.spending import Expected
from enginehouse.core.ledger.ledger import Entry
from enginehouse.engines.base import Embedding, Embeds, Engine, Ranking, Reranks
from enginehouse.errors import InvalidRequest
from enginehouse.types import Kind, Model, Usage

__all__ = ["Scores", "Scoring"]


_FEW = 20_000
"""Numbers that are compared in about a millisecond."""


class Scoring(StrEnum):
    """Whose judgement a score is."""

    MODEL = "model"
    """The model read query and document together."""
    COSINE = "cosine"
    """The model only embeds: the cosine of the two vectors."""


class Scores:
    """One piece: the scores, and whose they are.

    Args:
        query: what is asked.
        documents: what may answer it.
    """

    def __init__(self, query: str, documents: Sequence[str]) -> None:
        self._query = query
        self._documents = documents

    def expected(self) -> Expected:
        """A quarter of the characters; a model that reads pairs reads the query with each document."""
        pairs = len(self._documents)
        sizes = sum(len(text) // 4 + 1 for text in self._documents)
        return Expected(prompt=sizes + pairs * (len(self._query) // 4 + 1), answer=0)

    def question(self) -> bytes:
        """The query and the documents."""
        return msgspec.json.encode([self._query, self._documents])

    async def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[tuple[Ranking, Scoring]]:
        """Asks the engine; the record is durable before the piece."""
        entry.running()
        try:
            ranked = await self._ranked(seat.model, seat.engine)
        except asyncio.CancelledError:
            entry.usage = self.expected().usage()
            raise
        entry.usage = Usage(input=ranked[0].tokens)
        await entry.settled()
        yield ranked

    async def _ranked(self, model: Model, engine: Engine) -> tuple[Ranking, Scoring]:
        """A server elsewhere can do both as far as we know: what the model is for decides."""
        if model.kind is Kind.RERANK and isinstance(engine, Reranks):
            return await engine.rerank(self._query, self._documents), Scoring.MODEL
        if model.kind is Kind.EMBEDDING and isinstance(engine, Embeds):
            embedding = await engine.embed([self._query, *self._documents])
            return await _compared(embedding), Scoring.COSINE
        raise InvalidRequest(f"The engine of the model {model.id!r} cannot rank documents.", param="model")


async def _compared(embedding: Embedding) -> Ranking:
    """Aside of the event loop, when there is more to do than handing it over costs."""
    numbers = sum(len(vector) for vector in embedding.vectors)
    return _near(embedding) if numbers <= _FEW else await asyncio.to_thread(_near, embedding)


def _near(embedding: Embedding) -> Ranking:
    """How near every vector is to the first one; servers elsewhere need not send unit vectors."""
    import numpy as np  # 10 MB that a service without vectors does not need

    vectors = np.asarray(embedding.vectors, dtype=np.float64)
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), np.finfo(np.float64).tiny)
    units = vectors / lengths[:, None]
    scores = (units[1:] @ units[0]).tolist()
    every = range(len(scores))
    cut = every if 0 in embedding.truncated else (index - 1 for index in embedding.truncated)
    return Ranking(scores=scores, tokens=embedding.tokens, truncated=tuple(cut))
