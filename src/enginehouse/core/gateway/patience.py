"""How long a caller is willing to wait for the first byte, and in which phase that ran out."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from enginehouse.errors import EnginehouseError, LoadTimeout, QueueTimeout, UpstreamTimeout
from enginehouse.types import Request

__all__ = ["Limit", "patience", "told_apart"]


class Limit(Protocol):
    """A time that can be put off: `asyncio.Timeout`."""

    def reschedule(self, when: float | None) -> None:
        """It runs out then, on the loop's clock; never with None."""
        ...


class _Endless:
    """What a caller is willing to wait who has not said so."""

    async def __aenter__(self) -> Limit:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def reschedule(self, when: float | None) -> None:
        """It never runs out anyway."""


_ENDLESS = _Endless()


def patience(request: Request) -> AbstractAsyncContextManager[Limit]:
    """What the caller is willing to wait; reschedule it to None when the first byte is there.

    Raises:
        QueueTimeout, LoadTimeout, UpstreamTimeout: by the phase in which the time ran out.
    """
    return _ENDLESS if request.timeout is None else _patience(request)


@asynccontextmanager
async def _patience(request: Request) -> AsyncGenerator[Limit]:
    limit = request.timings.patience = asyncio.timeout(request.timeout)
    try:
        async with limit:
            yield limit
    except TimeoutError:
        if not limit.expired():
            raise
        raise _too_late(request) from None


class told_apart:  # noqa: N801 - read as a verb: `with told_apart(request)`
    """Who runs out of patience has not left: both cancel, but the record shall say which it was."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, asyncio.CancelledError):
            return
        limit, task = self._request.timings.patience, asyncio.current_task()
        if limit is not None and limit.expired() and task is not None and task.cancelling() <= 1:
            raise _too_late(self._request) from None


def _too_late(request: Request) -> EnginehouseError:
    waited = f"Nothing came within the {request.timeout:g} s of X-Request-Timeout"
    if request.timings.queue is None:
        return QueueTimeout(f"{waited}: the request was still waiting for a slot.", retry_after=1)
    if request.timings.load is None:
        return LoadTimeout(f"{waited}: the model was still loading.", retry_after=1)
    return UpstreamTimeout(f"{waited}: the engine had not answered yet.")
