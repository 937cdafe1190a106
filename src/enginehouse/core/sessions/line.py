"""Who has the turn in a session: one at a time, in the order in which they came, whichever replica they came to.

The line is in the database. A place is believed to be alive until its lease ends; its process renews that. Who
stands behind another of this process hears at once when it is its turn, and looks now and then for the others.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog

from enginehouse.core.sessions.conversation import Owner, new_id
from enginehouse.core.sessions.steps import Arrived, Steps
from enginehouse.errors import StoreError
from enginehouse.stores.sql import Database
from enginehouse.stores.sql import sessions as sql

__all__ = ["Line", "Place"]

log = structlog.get_logger()

_LOOK = 0.25
"""Seconds between looks whether it is one's turn, where the one before is another replica's."""


class Place:
    """A place in a session's line."""

    def __init__(self, turn: str, arrived: Arrived) -> None:
        self.turn, self.arrived = turn, arrived
        self.key = arrived.session.key
        self.left = False
        """Whether it was given up, with the end of its answer."""


class Line:
    """The lines of all sessions.

    Args:
        database: where they are.
        steps: what is written there; asked each time.
    """

    def __init__(self, database: Database, steps: Callable[[], Steps]) -> None:
        self._database, self._steps = database, steps
        self._doors: dict[tuple[Owner, str], _Door] = {}
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._here: set[str] = set()

    @property
    def turns(self) -> tuple[str, ...]:
        """All turns of this process, those that wait and those that run."""
        return tuple(self._here)

    @asynccontextmanager
    async def place(self, owner: Owner, session_id: str, *, make: bool) -> AsyncGenerator[Place]:
        """A place in a session's line, until the context ends.

        Raises:
            NotFound, Conflict: there is no such session, or none may stand there now.
        """
        turn = new_id("turn")
        self._here.add(turn)
        try:
            async with self._door(owner, session_id):
                arrive = partial(self._steps().arrive, owner, session_id, turn, make=make)
                place = Place(turn, await self._database.write(arrive))
        except BaseException:
            self._here.discard(turn)
            await self._never_came(turn)
            raise
        try:
            yield place
        finally:
            self._here.discard(turn)
            if not place.left:
                await self._leave(place)
            self.moved(place.key)

    async def until_first(self, place: Place) -> None:
        """Wait until all before it have left.

        Raises:
            NotFound: the session was deleted meanwhile.
        """
        news = asyncio.Event()
        self._waiting.setdefault(place.key, []).append(news)
        try:
            first = partial(self._steps().first, place.key, place.turn)
            while not await self._database.read(first):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK):
                        await news.wait()
                news.clear()
        finally:
            self._waiting[place.key].remove(news)
            if not self._waiting[place.key]:
                del self._waiting[place.key]

    def moved(self, key: str) -> None:
        """Somebody of this process has left a session's line."""
        for news in self._waiting.get(key, ()):
            news.set()

    async def _never_came(self, turn: str) -> None:
        """Who was cancelled while it came may stand there nevertheless."""
        try:
            await self._database.write(partial(sql.forget_turn, turn=turn))
        except StoreError:
            return  # its lease ends

    async def _leave(self, place: Place) -> None:
        leave = partial(self._steps().leave, place.key, place.turn, place.arrived.made)
        try:
            await self._database.write(leave)
        except StoreError as error:
            log.warning("session_turn_not_left", error=error.message)  # its lease ends

    @asynccontextmanager
    async def _door(self, owner: Owner, session_id: str) -> AsyncGenerator[None]:
        """Who comes first here stands first in the line, however the database's connections overtake each other."""
        name = (owner, session_id)
        door = self._doors.setdefault(name, _Door())
        door.users += 1
        try:
            async with door.lock:
                yield
        finally:
            door.users -= 1
            if not door.users:
                del self._doors[name]


class _Door:
    def __init__(self) -> None:
        self.lock, self.users = asyncio.Lock(), 0
