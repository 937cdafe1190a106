"""The flows of requests that want no answer: how long a prompt is, and nothing but the model in memory."""

from collections.abc import AsyncGenerator

from enginehouse.core.gateway.flows import asked_of
from enginehouse.core.gateway.meter import guessed_tokens
from enginehouse.core.gateway.seats import Seat
from enginehouse.core.gateway.spending import Expected
from enginehouse.core.ledger.ledger import Entry
from enginehouse.engines.base import Counts
from enginehouse.types import Request
from enginehouse.types.generation import Generation

__all__ = ["Count", "Nothing"]

_FREE = Expected(prompt=0, answer=0)


class Count:
    """The flow of a request to count: one piece."""

    def __init__(self, request: Request, generation: Generation) -> None:
        self._request = request
        self._generation = generation

    def expected(self) -> Expected:
        """Counting costs nothing."""
        return _FREE

    def question(self) -> bytes:
        """So its repeats are of no interest."""
        return b""

    async def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[tuple[int, bool]]:
        del entry  # it costs nothing
        generation = asked_of(seat.deployment, self._generation)
        if isinstance(seat.engine, Counts):
            yield await seat.engine.count(generation, request_id=self._request.request_id), False
        else:
            yield guessed_tokens(generation), True


class Nothing:
    """The flow of a request that only wants the model in memory."""

    def expected(self) -> Expected:
        """Nor does that."""
        return _FREE

    def question(self) -> bytes:
        """Nothing is asked."""
        return b""

    async def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[None]:
        del seat, entry
        yield None
