"""How long a caller is willing to wait for the first byte, and in which phase that ran out."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

from enginehouse.errors import EnginehouseError, LoadTimeout, QueueTimeout, UpstreamTimeout
from enginehouse.types import Request

__all__ = ["patience", "told_apart"]


def patience(request: Request) -> AbstractAsyncContextManager[asyncio.Timeout]:
    """What the caller is willing to wait; reschedule it to None when the first byte is there.

    Raises:
        QueueTimeout, LoadTimeout, UpstreamTimeout: by the phase in which the time ran out.
    """
    return asyncio.timeout(None) if request.timeout is None else _patience(request)


@asynccontextmanager
async def _patience(request: Request) -> AsyncGenerator[asyncio.Timeout]:
    limit = request.timings.patience = asyncio.timeout(request.timeout)
    try:
        async with limit:
            yield limit
    except TimeoutError:
        if not limit.expired():
            raise
        raise _too_late(request) from None


@contextmanager
def told_apart(request: Request) -> Generator[None]:
    """Who runs out of patience has not left: both cancel, but the record shall say which it was."""
    try:
        yield
    except asyncio.CancelledError:
        limit, task = request.timings.patience, asyncio.current_task()
        if limit is None or not limit.expired() or task is None or task.cancelling() > 1:
            raise
        raise _too_late(request) from None


def _too_late(request: Request) -> EnginehouseError:
    waited = f"Nothing came within the {request.timeout:g} s of X-Request-Timeout"
    if request.timings.queue is None:
        return QueueTimeout(f"{waited}: the request was still waiting for a slot.", retry_after=1)
    if request.timings.load is None:
        return LoadTimeout(f"{waited}: the model was still loading.", retry_after=1)
    return UpstreamTimeout(f"{waited}: the engine had not answered yet.")
