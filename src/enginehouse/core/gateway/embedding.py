"""The flow of a request for vectors: one piece."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import msgspec

from enginehouse.core.cache.answers import Vectors
from enginehouse.core.cache.questions import Question, Texts
from enginehouse.core.gateway.meter import Heard
from enginehouse.core.gateway.seats import Seat
from enginehouse.core.gateway.spending import Expected
from enginehouse.core.ledger.ledger import Entry
from enginehouse.engines.base import Embedding, Embeds
from enginehouse.errors import InvalidRequest
from enginehouse.types import Usage
from enginehouse.types.answer import Answer

__all__ = ["Embeddings"]


class Embeddings:
    """Vectors of texts.

    Args:
        texts: as words, or as tokens.
    """

    def __init__(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> None:
        self.heard: Heard | None = None
        self._texts = texts

    def expected(self) -> Expected:
        """A quarter of the characters, or the tokens themselves."""
        sizes = [len(text) // 4 + 1 if isinstance(text, str) else len(text) for text in self._texts]
        return Expected(prompt=sum(sizes), answer=0)

    def question(self) -> bytes:
        """The texts."""
        return msgspec.json.encode(self._texts)

    def sought(self) -> Question:
        """The texts."""
        return Texts(self._texts)

    async def retold(self, answer: Answer | Vectors, entry: Entry, pace: float | None) -> AsyncGenerator[Embedding]:
        """The kept vectors; nothing was read for them."""
        del pace
        assert isinstance(answer, Vectors), "texts have vectors"
        await entry.settled()
        yield Embedding(vectors=answer.lists(), tokens=answer.tokens, truncated=answer.truncated)

    async def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[Embedding]:
        if not isinstance(seat.engine, Embeds):
            raise InvalidRequest(f"The model {seat.model.id!r} makes no vectors.", param="model")
        entry.running()
        try:
            embedding = await seat.engine.embed(self._texts)
        except asyncio.CancelledError:
            entry.usage = self.expected().usage()
            raise
        entry.usage = Usage(input=embedding.tokens)
        if self.heard is not None:
            self.heard.vectors = Vectors.of(embedding.vectors, embedding.tokens, tuple(embedding.truncated))
            self.heard.complete = True
        await entry.settled()
        yield embedding
