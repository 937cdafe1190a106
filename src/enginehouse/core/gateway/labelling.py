"""The flow of a request to classify texts: one piece."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import msgspec

from enginehouse.core.gateway.seats import Seat
from enginehouse.core.gateway.spending import Expected
from enginehouse.core.ledger.ledger import Entry
from enginehouse.engines.base import Classification, Classifies
from enginehouse.errors import InvalidRequest
from enginehouse.types import Usage

__all__ = ["Labels"]


class Labels:
    """One piece: what the model says of all texts.

    Args:
        texts: to be classified.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def expected(self) -> Expected:
        """A quarter of the characters."""
        return Expected(prompt=sum(len(text) // 4 + 1 for text in self._texts), answer=0)

    def question(self) -> bytes:
        """The texts; halves of surrogate pairs, which no JSON can hold, as question marks."""
        return msgspec.json.encode([text.encode("utf-8", "replace").decode() for text in self._texts])

    async def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[Classification]:
        """Asks the engine; the record is durable before the piece."""
        if not isinstance(seat.engine, Classifies):
            raise InvalidRequest(
                f"The engine of the model {seat.model.id!r} does not classify.", param="model_name"
            )
        entry.running()
        try:
            said = await seat.engine.classify(self._texts)
        except asyncio.CancelledError:
            entry.usage = self.expected().usage()
            raise
        entry.usage = Usage(input=said.tokens)
        await entry.settled()
        yield said
