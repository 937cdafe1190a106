"""Where workers ask the owner: a local socket, calls that are answered, and calls that hold something.

What a worker holds ends with its connection: a process that dies leaves nothing behind.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self

import structlog
from msgspec import MsgspecError

from enginehouse.app.workers.frames import (
    ANSWER,
    CANCEL,
    CARRY,
    FAILED,
    LEAVE,
    LOOK,
    NEWS,
    Framed,
    packed,
    packed_error,
)
from enginehouse.errors import EnginehouseError

__all__ = ["Call", "Caller", "Desk", "Serves"]

log = structlog.get_logger()

_LOOKS, _CARRIES = 0.5, 3.0
"""Seconds in which a worker that lives has taken over what was changed, and has handed in its records."""


class Call:
    """What one worker asks under one number."""

    def __init__(self, caller: "Caller", number: int) -> None:
        self.caller = caller
        self._number = number
        self._left: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answer(self, said: object) -> None:
        """What was asked for is there."""
        self.caller.say(self._number, ANSWER, packed(said))

    def news(self, said: object) -> None:
        """How things are while the worker waits."""
        self.caller.say(self._number, NEWS, packed(said))

    def fail(self, error: EnginehouseError) -> None:
        """It cannot be had."""
        self.caller.say(self._number, FAILED, packed_error(error))

    async def left(self) -> bytes:
        """The worker gives back what it holds; what it says of that."""
        return await self._left

    def leave(self, body: bytes) -> None:
        """It does."""
        if not self._left.done():
            self._left.set_result(body)


class Serves(Protocol):
    """What is done with what workers ask."""

    async def serve(self, call: Call, word: str, body: bytes) -> None:
        """Answer a call, and hold what it holds until it is left; being cancelled gives that back."""
        ...

    def told(self, caller: "Caller", word: str, body: bytes) -> None:
        """A worker says something that wants no answer."""
        ...

    def came(self, caller: "Caller") -> None:
        """A worker is there."""
        ...

    async def gone(self, caller: "Caller") -> None:
        """It is no more; its calls have ended."""
        ...


class Caller(Framed):
    """The connection of one worker."""

    def __init__(self, desk: "Desk") -> None:
        super().__init__()
        self._desk = desk
        self._calls: dict[int, tuple[Call, asyncio.Task[None]]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A worker has come."""
        super().connection_made(transport)
        self._desk.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone, and holds nothing any more."""
        del exc
        tasks = [task for _, task in self._calls.values()]
        for task in tasks:
            task.cancel()
        self._desk.gone(self, tasks)

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """What is done for it although it may have gone by then."""
        self._desk.begin(work, name)

    def hear(self, number: int, word: str, body: bytes) -> None:
        """It says something."""
        if number == 0:
            self._desk.told(self, word, body)
        elif word == LEAVE:
            if known := self._calls.get(number):
                known[0].leave(body)
        elif word == CANCEL:
            if known := self._calls.get(number):
                known[1].cancel()
        else:
            call = Call(self, number)
            task = self._desk.begin(self._served(call, word, body), word)
            self._calls[number] = call, task
            task.add_done_callback(lambda _: self._calls.pop(number, None))

    async def _served(self, call: Call, word: str, body: bytes) -> None:
        try:
            await self._desk.serves.serve(call, word, body)
        except EnginehouseError as error:
            call.fail(error)
        except Exception:
            log.exception("worker_not_served", asked=word)
            call.fail(EnginehouseError("The service made a mistake; its log says more."))


class Desk:
    """All workers; use as a context, whose end takes back what they hold.

    Args:
        path: where the socket is, in a folder that nobody else may enter.
        serves: what is done with what they ask.
    """

    def __init__(self, path: Path, serves: Serves) -> None:
        self.serves = serves
        self._path = path
        self._callers: set[Caller] = set()
        self._tasks = asyncio.TaskGroup()
        self._acknowledged: dict[int, tuple[set[Caller], asyncio.Event]] = {}
        self._asked = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """How many workers are there."""
        return len(self._callers)

    def __iter__(self) -> Iterator[Caller]:
        """All that are there."""
        return iter(self._callers)

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        await self._tasks.__aenter__()
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: Caller(self), self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up on who is still there."""
        self._server.close()
        for caller in list(self._callers):
            caller.hang_up()
        await self._empty.wait()
        await self._tasks.__aexit__(None, None, None)

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that ends with the desk at the latest."""
        return self._tasks.create_task(work, name=name)

    def came(self, caller: Caller) -> None:
        """A worker has come."""
        self._callers.add(caller)
        self._empty.clear()
        self.serves.came(caller)

    def gone(self, caller: Caller, tasks: list[asyncio.Task[None]]) -> None:
        """A worker has gone."""
        self._callers.discard(caller)
        for awaited, heard in self._acknowledged.values():
            awaited.discard(caller)
            if not awaited:
                heard.set()
        self.begin(self._tidied(caller, tasks), "worker gone")

    def told(self, caller: Caller, word: str, body: bytes) -> None:
        """A worker says something that wants no answer; what cannot be read is from no worker of ours."""
        if word == ANSWER:
            self._acknowledge(caller, int.from_bytes(body))
            return
        try:
            self.serves.told(caller, word, body)
        except MsgspecError:
            log.exception("worker_not_understood", said=word)

    async def look(self) -> None:
        """Something was changed: every worker looks at it before this returns, but for one that takes too long."""
        await self._spread(LOOK, _LOOKS)

    async def carry(self) -> None:
        """Somebody wants to read the books: every worker has handed its records in when this returns."""
        await self._spread(CARRY, _CARRIES)

    async def _spread(self, word: str, seconds: float) -> None:
        if not self._callers:
            return
        self._asked += 1
        number, heard = self._asked, asyncio.Event()
        self._acknowledged[number] = set(self._callers), heard
        for caller in self._callers:
            caller.say(0, word, number.to_bytes(8))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await heard.wait()
        finally:
            del self._acknowledged[number]

    async def deserted(self, seconds: float) -> None:
        """Returns when no worker is there any more, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()

    def _acknowledge(self, caller: Caller, number: int) -> None:
        if known := self._acknowledged.get(number):
            known[0].discard(caller)
            if not known[0]:
                known[1].set()

    async def _tidied(self, caller: Caller, tasks: list[asyncio.Task[None]]) -> None:
        if tasks:
            await asyncio.wait(tasks)
        try:
            await self.serves.gone(caller)
        except Exception:
            log.exception("worker_not_tidied")
        finally:
            if not self._callers:
                self._empty.set()
