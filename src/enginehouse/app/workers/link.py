"""How a worker asks the owner: calls over one connection, which is found again when the owner has begun anew."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, Self

import structlog

from enginehouse.app.workers import frames
from enginehouse.app.workers.frames import ANSWER, CANCEL, CARRY, LEAVE, LOOK, Framed, packed, unpacked_error
from enginehouse.errors import StoreUnavailable

__all__ = ["Asks", "Hears", "Held", "Link"]

log = structlog.get_logger()

_AGAIN = 0.05
"""Seconds between two looks whether the owner is there."""
_PATIENCE = 20.0
"""Seconds for which a request waits for an owner that begins anew."""

Hears = Callable[[bytes], Awaitable[None]]
"""What is done with what the owner tells by itself; the owner may wait for its end."""


class Asks(Protocol):
    """What the parts of a worker need of the link."""

    @property
    def lives(self) -> int:
        """How many owners there have been: one that began anew knows nothing of what was held before."""
        ...

    async def ask(self, word: str, said: object) -> bytes:
        """The owner's answer; one that begins anew is asked again.

        Raises:
            EnginehouseError: what the owner raised.
            StoreUnavailable: there is no owner for too long.
        """
        ...

    async def hold(self, word: str, said: object, news: Callable[[bytes], None] | None = None) -> "Held":
        """The same for what is held until it is left.

        Args:
            news: told how things are meanwhile.
        """
        ...

    def tell(self, word: str, said: object) -> None:
        """Say something that wants no answer; while there is no owner it is lost."""
        ...


class Held:
    """What a worker holds of the owner's."""

    def __init__(self, answer: bytes, leave: Callable[[bytes], None]) -> None:
        self.answer = answer
        self._leave = leave

    def leave(self, said: object = None) -> None:
        """Give it back."""
        self._leave(packed(said))


class _Lost(Exception):
    """The connection broke before there was an answer."""


class _Line(Framed):
    """One connection, for as long as one owner lives."""

    def __init__(self, hear: "Callable[[_Line, str, bytes], None]") -> None:
        super().__init__()
        self.over = asyncio.Event()
        self._hear = hear
        self._asked: dict[int, tuple[asyncio.Future[bytes], Callable[[bytes], None] | None]] = {}
        self._last = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits for an answer has to ask again."""
        del exc
        self.over.set()
        for future, _ in self._asked.values():
            if not future.done():
                future.set_exception(_Lost())

    def hear(self, number: int, word: str, body: bytes) -> None:
        """The owner says something."""
        if number == 0:
            self._hear(self, word, body)
            return
        future, news = self._asked.get(number, (None, None))
        if future is None or future.done():
            return
        match word:
            case frames.ANSWER:
                future.set_result(body)
            case frames.FAILED:
                future.set_exception(unpacked_error(body))
            case _ if news is not None:
                news(body)
            case _:
                pass

    async def asked(self, word: str, body: bytes, news: Callable[[bytes], None] | None = None) -> tuple[int, bytes]:
        """The number and the answer.

        Raises:
            _Lost: nobody knows whether it was heard.
        """
        if self.over.is_set():
            raise _Lost
        self._last = number = self._last + 1
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[number] = future, news
        self.say(number, word, body)
        try:
            return number, await future
        except asyncio.CancelledError:
            self.say(number, CANCEL)
            raise
        finally:
            del self._asked[number]


class Link:
    """A worker's connection to whoever is the owner; use as a context.

    Args:
        path: of the owner's desk.
        hears: what is done with what the owner tells by itself, by its word; done one after the other.
    """

    def __init__(self, path: Path, hears: Mapping[str, Hears] = MappingProxyType({})) -> None:
        self.lives = 0
        self._path = path
        self._hears = hears
        self._line: _Line | None = None
        self._there = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._told: asyncio.Queue[tuple[_Line, str, bytes]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        """Begin to look for the owner."""
        await self._tasks.__aenter__()
        self._running = [
            self._tasks.create_task(self._connect(), name="link"),
            self._tasks.create_task(self._listen(), name="hear"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up: the owner takes back what is held."""
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        if self._line is not None:
            self._line.hang_up()

    async def ask(self, word: str, said: object) -> bytes:
        """As `Asks` has it."""
        body = packed(said)
        while True:
            line = await self._found()
            try:
                return (await line.asked(word, body))[1]
            except _Lost:
                await asyncio.sleep(0)

    async def hold(self, word: str, said: object, news: Callable[[bytes], None] | None = None) -> Held:
        """As `Asks` has it."""
        body = packed(said)
        while True:
            line = await self._found()
            try:
                number, answer = await line.asked(word, body, news)
            except _Lost:
                await asyncio.sleep(0)
                continue
            return Held(answer, partial(line.say, number, LEAVE))

    def tell(self, word: str, said: object) -> None:
        """As `Asks` has it."""
        if self._line is not None:
            self._line.say(0, word, packed(said))

    async def _found(self) -> _Line:
        if self._line is None:
            try:
                async with asyncio.timeout(_PATIENCE):
                    while self._line is None:
                        await self._there.wait()
            except TimeoutError:
                raise StoreUnavailable(
                    "The process that decides who runs what is away; try again soon.", retry_after=5
                ) from None
        return self._line

    async def _connect(self) -> None:
        """Find the owner, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, line = await loop.create_unix_connection(lambda: _Line(self._heard), str(self._path))
            except OSError:
                await asyncio.sleep(_AGAIN)
                continue
            self.lives += 1
            self._line = line
            self._there.set()
            await line.over.wait()
            self._line = None
            self._there.clear()
            log.warning("owner_lost", again_in=_AGAIN)
            await asyncio.sleep(_AGAIN)

    def _heard(self, line: _Line, word: str, body: bytes) -> None:
        self._told.put_nowait((line, word, body))

    async def _listen(self) -> None:
        """What cannot be done is logged; the owner hears that it was heard in any case."""
        while True:
            line, word, body = await self._told.get()
            try:
                await self._hears[word](body)
            except Exception:
                log.exception("owner_not_heard", said=word)
            if word in {LOOK, CARRY}:
                line.say(0, ANSWER, body)
