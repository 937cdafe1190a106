"""Vectors of questions, soon or not at all: an embedder that is away or slow costs a request a few milliseconds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from enginehouse.errors import EnginehouseError

__all__ = ["Embeds", "Mind"]

log = structlog.get_logger()

Embeds = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""One vector a text; raises EnginehouseError when it cannot."""

_FAILURES = 2
"""Failures in a row after which it rests."""
_REST = 5.0
"""Seconds until a request may try it again."""


class Mind:
    """An embedder with a deadline and a rest.

    Args:
        embed: who makes vectors.
        deadline: seconds that a request waits.
        clock: seconds.
    """

    def __init__(self, embed: Embeds, deadline: float, clock: Callable[[], float]) -> None:
        self._embed, self._deadline, self._clock = embed, deadline, clock
        self._failures = 0
        self._until = 0.0
        self._told = False
        self.failed = 0
        """Times that it failed or was too slow, since the start."""

    @property
    def resting(self) -> bool:
        """Whether nobody asks it now."""
        return self._clock() < self._until

    async def soon(self, text: str) -> NDArray[np.float32] | None:
        """A vector within the deadline; None when there is none."""
        if self.resting:
            return None
        try:
            async with asyncio.timeout(self._deadline):
                return await self._one(text)
        except (EnginehouseError, TimeoutError) as error:
            self._missed(error)
            return None

    async def later(self, text: str) -> NDArray[np.float32] | None:
        """A vector, for which nobody waits; None when there is none."""
        if self.resting:
            return None
        try:
            return await self._one(text)
        except EnginehouseError as error:
            self._missed(error)
            return None

    async def some_time(self, *texts: str) -> NDArray[np.float32]:
        """Vectors, however long it takes; a success ends its rest.

        Raises:
            EnginehouseError: they cannot be had.
        """
        vectors = np.asarray(await self._embed(list(texts)), dtype=np.float32)
        self._failures, self._until, self._told = 0, 0.0, False
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)

    async def _one(self, text: str) -> NDArray[np.float32]:
        vectors = await self.some_time(text)
        return vectors[0]

    def _missed(self, error: EnginehouseError | TimeoutError) -> None:
        self.failed += 1
        self._failures += 1
        if self._failures >= _FAILURES:
            self._until = self._clock() + _REST
        if not self._told and isinstance(error, EnginehouseError):
            self._told = True  # until it answers again: each question would say the same
            log.warning("semantic_cache_has_no_vectors", error=error.message)
