"""What every hot route shares: it is asked, answers, and tells what went wrong in its own dialect's shape."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import structlog
from msgspec import Struct

from enginehouse.api.caching import caching_of
from enginehouse.api.wire import Exchange, RawHeaders, come_again, status_of
from enginehouse.errors import (
    BudgetSpent,
    CallerGone,
    EnginehouseError,
    InsufficientMemory,
    QueueFull,
    ShuttingDown,
)
from enginehouse.types import Operation, Request

__all__ = ["Errors", "Face", "Page", "refusal_headers", "request_of"]

log = structlog.get_logger()

_LASTING = (BudgetSpent, InsufficientMemory)
"""Refusals whose status clients take for one that passes, but that are the same if asked again at once."""


class Errors(Protocol):
    """How a dialect tells errors."""

    statuses: Mapping[str, int]
    """Error codes whose HTTP status its clients expect to differ from the service's own."""

    def write_error(self, error: EnginehouseError, status: int) -> bytes:
        """An error's body."""
        ...


class Page(Struct, frozen=True, kw_only=True):
    """What a hot route says of itself on the OpenAPI page."""

    summary: str
    body: type[Struct]
    """What it reads; fields that are not named there may come too."""
    tag: str
    stream: str | None = None
    """The media type of a streamed answer, where there is one."""
    query: Mapping[str, str] = MappingProxyType({})
    """Parameters that may stand in the address instead of in the body, and what they mean."""
    refusals: Mapping[int, str] = MappingProxyType({})
    """How this route alone may refuse, beside how all hot routes may."""


class Face(ABC):
    """One hot route; `handle` is its work.

    Args:
        errors: how its dialect tells what went wrong.
        page: what it says of itself.
    """

    def __init__(self, errors: Errors, page: Page) -> None:
        self._errors = errors
        self.page = page

    @property
    def statuses(self) -> Mapping[str, int]:
        """Error codes whose HTTP status its clients expect to differ from the service's own."""
        return self._errors.statuses

    async def __call__(self, exchange: Exchange) -> None:
        """Answer; whatever is raised reaches the caller in the dialect's shape, in-band once a stream has begun."""
        try:
            await self.handle(exchange)
        except CallerGone as error:
            exchange.error = error
            log.info("caller_gone", request_id=exchange.request_id, path=exchange.scope["path"])
        except EnginehouseError as error:
            await self.refuse(exchange, error)
        except asyncio.CancelledError:
            # The service stops and waits no longer; a stream that just ended would look like a whole answer.
            await self.refuse(exchange, ShuttingDown("The service is shutting down.", retry_after=5))
            raise
        except Exception:
            log.exception("request_broke", request_id=exchange.request_id, path=exchange.scope["path"])
            await self.refuse(exchange, EnginehouseError("The service made a mistake; its log says more."))

    @abstractmethod
    async def handle(self, exchange: Exchange) -> None:
        """The route's own work."""
        ...

    async def refuse(self, exchange: Exchange, error: EnginehouseError) -> None:
        """Tell what went wrong."""
        exchange.error = error
        status = self._errors.statuses.get(error.code, status_of(error))
        log.info(
            "request_failed", request_id=exchange.request_id, status=status, code=error.code, error=error.message
        )
        if exchange.started:
            await exchange.write(self.broken(exchange, error, status))
            await exchange.finish()
        else:
            await exchange.respond(status, self._errors.write_error(error, status), refusal_headers(error))

    def broken(self, exchange: Exchange, error: EnginehouseError, status: int) -> bytes:
        """The end of a stream that went wrong."""
        del exchange
        return b"data: " + self._errors.write_error(error, status) + b"\n\n"


def refusal_headers(error: EnginehouseError) -> RawHeaders:
    """When to come again, or that it is of no use, and where in the line one would have stood."""
    headers: RawHeaders = [(b"content-type", b"application/json"), *come_again(error)]
    if isinstance(error, _LASTING):
        headers.append((b"x-should-retry", b"false"))
    if isinstance(error, QueueFull):
        headers.append((b"x-enginehouse-queue-position", str(error.position).encode()))
    return headers


def request_of(
    exchange: Exchange, face: str, operation: Operation, model: str, body: bytes = b"", *, stream: bool = False
) -> Request:
    """What the inner rooms have to know of a call."""
    return Request(
        operation=operation,
        model=model,
        principal=exchange.principal,
        request_id=exchange.request_id,
        body=body,
        face=face,
        stream=stream,
        priority=exchange.priority(),
        timeout=exchange.timeout(),
        timings=exchange.timings,
        grant=exchange.grant,
        caching=caching_of(exchange.scope["headers"]),
        tried=exchange.tried,
    )
