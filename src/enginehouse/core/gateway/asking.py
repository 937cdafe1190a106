"""Asking an engine: the pieces of its answer, once the first one that says something is there, within its times."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Generic, TypeVar

from enginehouse.core.gateway.flows import Flow
from enginehouse.core.gateway.guarding import Watch
from enginehouse.core.gateway.seats import Seat
from enginehouse.core.ledger.ledger import Entry
from enginehouse.errors import UpstreamDied, UpstreamTimeout
from enginehouse.types import Deployment, Request
from enginehouse.types.phases import Span

__all__ = ["asked"]

T = TypeVar("T")


class asked(Generic[T]):  # noqa: N801 - read as a verb: `async with asked(…) as pieces`
    """The pieces, once the guard has let the request pass and the first one is there."""

    def __init__(self, request: Request, flow: Flow[T], seat: Seat, entry: Entry, guarded: Watch | None) -> None:
        self._request, self._flow, self._seat, self._entry = request, flow, seat, entry
        self._guarded = guarded
        self._limit: _Limit | None = None

    async def __aenter__(self) -> AsyncIterator[T]:
        if self._guarded is not None:
            await self._guarded.passed()
        timings, self._clock = self._request.timings, asyncio.get_running_loop().time
        self._began, timings.upstream = self._clock(), None
        self._pieces = self._flow.pieces(self._seat, self._entry)
        try:
            self._limit = await _limited(self._seat.deployment, self._began, stream=self._request.stream)
            first = await _first(self._pieces)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        if self._limit is not None:
            self._limit.begun()
        if self._request.stream:
            timings.ttft = self._clock() - self._began
        return _Joined(first, self._pieces)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        timings = self._request.timings
        try:
            await self._pieces.aclose()
        finally:
            timings.upstream = self._clock() - self._began
            timings.spans.append(Span("upstream", self._began, timings.upstream))
            if self._limit is not None:
                await self._limit.end(kind, error, trace)


async def _limited(deployment: Deployment, began: float, *, stream: bool) -> "_Limit | None":
    """The time an engine has, running now; None for one that may take as long as it likes."""
    if deployment.total_timeout is None and (deployment.first_token_timeout is None or not stream):
        return None
    limit = _Limit(deployment, began, stream=stream)
    await limit.timeout.__aenter__()
    return limit


class _Limit:
    """The time an engine has for its first piece, which only a stream has, and for the whole of its answer."""

    def __init__(self, deployment: Deployment, began: float, *, stream: bool) -> None:
        self._whole = None if deployment.total_timeout is None else began + deployment.total_timeout
        first = self._whole
        if stream and deployment.first_token_timeout is not None:
            first = began + deployment.first_token_timeout
            first = first if self._whole is None else min(first, self._whole)
        self.timeout = asyncio.timeout_at(first)

    def begun(self) -> None:
        """The first piece is there."""
        self.timeout.reschedule(self._whole)

    async def end(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The answer is over.

        Raises:
            UpstreamTimeout: by this.
        """
        try:
            await self.timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise UpstreamTimeout("The engine took longer than its time limit; raise models.*.timeouts.") from None


async def _first(pieces: AsyncIterator[T]) -> T:
    """The first piece that says something."""
    async for piece in pieces:
        if piece != b"":
            return piece
    raise UpstreamDied("The engine's answer was empty.")


class _Joined(Generic[T]):
    """The first piece and then the rest; what says nothing is passed over."""

    def __init__(self, first: T, rest: AsyncIterator[T]) -> None:
        self._first: list[T] = [first]
        self._rest = rest

    def __aiter__(self) -> "_Joined[T]":
        return self

    async def __anext__(self) -> T:
        if self._first:
            return self._first.pop()
        while (piece := await anext(self._rest)) == b"":
            pass
        return piece
