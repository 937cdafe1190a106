"""Every WebSocket of the service: opened for whoever is let in, and closed in good order when the service stops."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Self

from enginehouse.api.socket import Knows, Socket
from enginehouse.api.wire import Receive, Send
from enginehouse.core.chat import Answers
from enginehouse.core.limits import Grant, Limits
from enginehouse.errors import RateLimitExceeded
from enginehouse.settings.schema import ChatSettings
from enginehouse.types import Principal

__all__ = ["Sockets"]

_ENDPOINT = "/api/v1/inference/chat"
"""Chats of a socket count where those over HTTP do."""


class Sockets:
    """`WS /ws`; use as a context.

    Args:
        answers: where answers are given.
        limits: how much callers may ask.
        settings: what one socket may do.
        stopping: set when the service begins to stop.
    """

    def __init__(self, answers: Answers, limits: Limits, settings: ChatSettings, stopping: asyncio.Event) -> None:
        self._answers = answers
        self._limits = limits
        self._settings = settings
        self._stopping = stopping
        self._open: set[Socket] = set()
        self._had: Counter[tuple[str, str]] = Counter()
        """How many each user has."""
        self._stack = AsyncExitStack()

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def adopt(self, settings: ChatSettings) -> None:
        """New settings count for the next socket."""
        self._settings = settings

    async def __aenter__(self) -> Self:
        """Watch out for the service's end."""
        await self._stack.enter_async_context(self._watching())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nobody watches any more."""
        await self._stack.aclose()

    def check(self, principal: Principal) -> None:
        """Whether this caller may open another one, which is served in the same tick then.

        Raises:
            RateLimitExceeded: it has too many.
        """
        had = self._had[principal.tenant, principal.user]
        if had >= self._settings.max_sockets:
            raise RateLimitExceeded(f"You have {had} WebSockets open; close one.", retry_after=1)

    async def __call__(self, receive: Receive, send: Send, principal: Principal, knows: Knows) -> None:
        """Serve one socket to its end.

        Args:
            principal: who opened it.
            knows: the same, asked again.
        """
        socket = Socket(receive, send, self._answers, self._settings, knows, self._admit)
        self._open.add(socket)
        whose = (principal.tenant, principal.user)
        self._had[whose] += 1
        if self._stopping.is_set():
            socket.retire()
        try:
            await socket.run()
        finally:
            self._open.discard(socket)
            self._had[whose] -= 1
            if not self._had[whose]:
                del self._had[whose]

    def _admit(self, principal: Principal) -> AbstractAsyncContextManager[Grant]:
        return self._limits.admit(principal, _ENDPOINT)

    @asynccontextmanager
    async def _watching(self) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._retire(), name="sockets")
            try:
                yield
            finally:
                watch.cancel()

    async def _retire(self) -> None:
        await self._stopping.wait()
        for socket in list(self._open):
            socket.retire()
