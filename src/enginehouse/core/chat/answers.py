"""The answers being given in conversations: each runs in a task of its own, whoever reads it, and is found again.

A question goes the way of every request (`core/gateway`), within a turn of its session. Who asked may leave and
come back: the answer goes on for a while without a reader, and nobody but its owner ever finds it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Self

import structlog

from enginehouse.core.chat.events import End, Failed
from enginehouse.core.chat.giving import Asked, Converses, Giving
from enginehouse.core.chat.letters import Name
from enginehouse.core.chat.live import LiveAnswer
from enginehouse.core.chat.relay import Relay
from enginehouse.core.gateway import Gateway
from enginehouse.errors import Conflict, EnginehouseError, NotFound, ShuttingDown
from enginehouse.settings.schema import ChatSettings, LimitSettings
from enginehouse.stores.kv import Post
from enginehouse.telemetry.context import REQUEST
from enginehouse.types import Principal, Queueing, Timings

__all__ = ["Answers"]

log = structlog.get_logger()

_LOOK = 0.1
"""Seconds between two looks at where those who wait stand."""
_SHARE = 20
"""A look takes at most one part in so many of the time."""
_LINE = "conversations"
"""All of them are one tenant of a line: first come, first served, whoever asks."""


class Answers:
    """All answers that are being given; use as a context, whose end ends them.

    Args:
        gateway: the way of every request.
        sessions: the conversations, and what a model is told of them.
        chat: how long answers may be and go on unread.
        limits: how many may wait.
        post: between replicas, where there are several; without it answers are found by their own alone.
    """

    def __init__(
        self,
        gateway: Gateway,
        sessions: Converses,
        chat: ChatSettings,
        limits: LimitSettings,
        post: Post | None = None,
    ) -> None:
        self._gateway = gateway
        self._sessions = sessions
        self._relay = None if post is None else Relay(post, self._given_here)
        self._named: dict[Name, LiveAnswer] = {}
        self._running: dict[LiveAnswer, Timings] = {}
        self._somebody = asyncio.Event()
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self.adopt(chat, limits)

    def __len__(self) -> int:
        """How many are being given."""
        return len(self._running)

    def adopt(self, chat: ChatSettings, limits: LimitSettings) -> None:
        """New settings count for the next question."""
        self._settings = chat
        self._queueing = Queueing(tenant=_LINE, limit=limits.chat_queue_size)

    async def __aenter__(self) -> Self:
        """Begin to take questions."""
        if self._relay is not None:
            await self._stack.enter_async_context(self._relay)
        await self._stack.enter_async_context(self._serving())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Every answer ends now; what was told of it is kept."""
        await self._stack.aclose()

    def start(self, asked: Asked, *, named: bool = False) -> LiveAnswer:
        """Begin an answer; who reads it has to begin in the same tick.

        Args:
            named: whether its owner may find it by its `request_id`, for a while after its end too.

        Raises:
            Conflict: another one of this name is being given.
        """
        name = _name(asked.request.principal, asked.request.request_id)
        answer = LiveAnswer(asked.request.request_id, self._settings.grace)
        if named:
            other = self._named.get(name)
            if other is not None and other.end is None:
                raise Conflict(f"The request_id {answer.request_id!r} is being answered.", param="request_id")
            self._named[name] = answer
        giving = Giving(
            asked, answer, self._gateway, self._sessions, self._queueing, self._settings.max_answer_bytes
        )
        self._running[answer] = asked.request.timings
        self._somebody.set()
        claimed = name if named else None
        task = self._tasks.create_task(self._give(giving, answer, claimed), name="answer")
        task.add_done_callback(partial(self._given, name, answer))
        return answer

    async def find(self, principal: Principal, request_id: str) -> LiveAnswer:
        """An answer that is being given, or was a moment ago, by whichever replica; who reads it begins at once.

        Raises:
            NotFound: this caller has none of this name.
            StoreUnavailable: it is not this replica's, and the others cannot be asked.
            UpstreamDied: its replica does not answer.
        """
        name = _name(principal, request_id)
        answer = self._named.get(name)
        if answer is None and self._relay is not None:
            answer = await self._relay.find(name)
        if answer is None:
            raise _unknown(request_id)
        return answer

    async def stop(self, principal: Principal, request_id: str) -> None:
        """End an answer now, whichever replica gives it; one that has ended stays as it is.

        Raises:
            NotFound: this caller has none of this name.
            StoreUnavailable: it is not this replica's, and the others cannot be asked.
        """
        name = _name(principal, request_id)
        answer = self._named.get(name)
        if answer is not None:
            answer.stop()
        elif self._relay is None or not await self._relay.stop(name):
            raise _unknown(request_id)

    @asynccontextmanager
    async def _serving(self) -> AsyncGenerator[None]:
        async with self._tasks:
            watch = self._tasks.create_task(self._watch_lines(), name="lines")
            try:
                yield
            finally:
                watch.cancel()
                for answer in self._running:
                    answer.stop("left")

    async def _watch_lines(self) -> None:
        """Who waits is told its place whenever that has changed."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._somebody.wait()
            began = clock()
            for answer, timings in self._running.items():
                answer.moved(0 if timings.place is None else timings.place.position)
            if not self._running:
                self._somebody.clear()
            await asyncio.sleep(max(_LOOK, _SHARE * (clock() - began)))

    async def _give(self, giving: Giving, answer: LiveAnswer, claimed: Name | None) -> None:
        """To its end, which its readers are told, and then other replicas."""
        end: End
        REQUEST.set(answer.request_id)
        try:
            end = await self._claimed(giving, answer, claimed)
        except EnginehouseError as error:
            end = Failed(error=error)
        except asyncio.CancelledError:
            answer.close(Failed(error=ShuttingDown("The service is shutting down.", retry_after=5)))
            raise
        except Exception:
            log.exception("answer_broke", request_id=answer.request_id)
            end = Failed(error=EnginehouseError("The service made a mistake; its log says more."))
        answer.close(end)
        if self._relay is not None and claimed is not None:
            await self._relay.release(claimed, self._settings.grace)

    async def _claimed(self, giving: Giving, answer: LiveAnswer, claimed: Name | None) -> End:
        """Its end.

        Raises:
            EnginehouseError: it ended badly, or another replica gives one of this name.
        """
        if self._relay is not None and claimed is not None:
            try:
                await self._relay.claim(claimed)
            except Conflict:
                self._forget(claimed, answer)
                raise
        return await giving.run()

    def _given_here(self, name: Name) -> LiveAnswer | None:
        return self._named.get(name)

    def _given(self, name: Name, answer: LiveAnswer, task: "asyncio.Task[None]") -> None:
        """Its owner may find it for a while yet."""
        del task, self._running[answer]
        if self._named.get(name) is answer:
            asyncio.get_running_loop().call_later(self._settings.grace, self._forget, name, answer)

    def _forget(self, name: Name, answer: LiveAnswer) -> None:
        if self._named.get(name) is answer:
            del self._named[name]


def _unknown(request_id: str) -> NotFound:
    return NotFound(f"There is no answer to the request_id {request_id!r}.", param="request_id")


def _name(principal: Principal, request_id: str) -> Name:
    return principal.tenant, principal.user, request_id
