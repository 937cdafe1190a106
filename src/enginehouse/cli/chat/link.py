"""The chat's connection to a service: asynchronous inside, plain calls outside; Ctrl-C ends one call."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from typing import Any, Self

from enginehouse.cli.chat.answer import Chunk, read_chunk
from enginehouse.cli.service import Service, error_message
from enginehouse.errors import UpstreamRefused

__all__ = ["Link", "take_chunks"]


class Link:
    """An open connection; use as a context. Every call may be interrupted and leaves the link usable."""

    def __init__(self, url: str, key: str | None) -> None:
        self._service = Service(url, key)
        self._stack = ExitStack()
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        """Open it."""
        with ExitStack() as stack:
            stack.enter_context(self._runner)
            self._runner.run(self._service.__aenter__())
            stack.callback(lambda: self._runner.run(self._service.__aexit__()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._stack.close()

    def models(self) -> list[dict[str, Any]]:
        """The service's models; see `Service.models`."""
        return self._runner.run(self._service.models())

    def stream(self, body: Mapping[str, Any], take: Callable[[Chunk], object]) -> None:
        """Ask, and hand every chunk to `take` as it comes.

        Raises:
            EnginehouseError: see `Service.chat`.
            KeyboardInterrupt: Ctrl-C; the connection is closed by then, which frees the service for others.
        """
        self._runner.run(self._stream(body, take))

    async def _stream(self, body: Mapping[str, Any], take: Callable[[Chunk], object]) -> None:
        async with self._service.chat(body) as payloads:
            await take_chunks(payloads, take)


async def take_chunks(payloads: AsyncIterator[bytes], take: Callable[[Chunk], object]) -> None:
    """Read every payload of a chat stream.

    Raises:
        UpstreamRefused: the service reported an error in the stream.
        UpstreamDied: a payload cannot be read, or the stream broke off.
    """
    async for data in payloads:
        chunk = read_chunk(data)
        if chunk.error:
            raise UpstreamRefused(error_message(data))
        take(chunk)
