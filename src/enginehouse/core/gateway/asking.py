"""Asking an engine: the pieces of its answer, once the first one that says something is there, within its times."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
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


@asynccontextmanager
async def asked(
    request: Request, flow: Flow[T], seat: Seat, entry: Entry, guarded: Watch | None
) -> AsyncGenerator[AsyncIterator[T]]:
    """The pieces, once the guard has let the request pass and the first one is there."""
    if guarded is not None:
        await guarded.passed()
    clock = asyncio.get_running_loop().time
    began, request.timings.upstream = clock(), None
    timeout = asyncio.timeout(None)
    try:
        async with timeout, aclosing(flow.pieces(seat, entry)) as pieces:
            limit = _Limit(seat.deployment, timeout, stream=request.stream)
            first = await _first(pieces)
            waited = limit.begun()
            if request.stream:
                request.timings.ttft = waited
            yield _Joined(first, pieces)
    except TimeoutError:
        if not timeout.expired():
            raise
        raise UpstreamTimeout("The engine took longer than its time limit; raise models.*.timeouts.") from None
    finally:
        request.timings.upstream = clock() - began
        request.timings.spans.append(Span("upstream", began, request.timings.upstream))


class _Limit:
    """The time an engine has for its first piece, which only a stream has, and for the whole of its answer."""

    def __init__(self, deployment: Deployment, timeout: asyncio.Timeout, *, stream: bool) -> None:
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._whole = None if deployment.total_timeout is None else self._began + deployment.total_timeout
        self._timeout = timeout
        if stream and deployment.first_token_timeout is not None:
            first = self._began + deployment.first_token_timeout
            timeout.reschedule(first if self._whole is None else min(first, self._whole))
        else:
            timeout.reschedule(self._whole)

    def begun(self) -> float:
        """The first piece is there; returns after how many seconds."""
        self._timeout.reschedule(self._whole)
        return self._clock() - self._began


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
