"""Tallies in Redis: one Lua script and one round trip, whichever and however many windows and seats there are."""

import asyncio

import msgspec

from enginehouse.errors import StoreUnavailable
from enginehouse.stores.kv.redis_store import RedisStore
from enginehouse.stores.kv.tallies import Asked, Spent, Taken

__all__ = ["RedisTallies"]

_PREFIX = "enginehouse:limit:"
_ALIVE = "enginehouse:replica:"
_AT_ONCE = 10
"""How much of what could not be said is said before a request."""
_MOST_UNSAID = 10_000
_LANES = 16
"""Steps on their way at the same time: the driver takes it for a failure when it runs out of connections."""


class RedisTallies:
    """Satisfies `Tallies`. The time is Redis's own; seats of a replica that died are free after its sign of life.

    Args:
        store: where they are kept.
        clock: microseconds, for tests; Redis's own clock when left out.
    """

    def __init__(self, store: RedisStore, *, clock: list[int] | None = None) -> None:
        self._store = store
        self._script = store.script("tallies.lua")
        self._clock = clock
        self._lanes = asyncio.Semaphore(_LANES)
        self._unsaid: dict[str, Spent] = {}

    async def take(self, asked: Asked) -> Taken:
        """Take all of it if all of it is free.

        Raises:
            StoreUnavailable: Redis is away. Whether it was taken is not known; seats are given back later.
        """
        await self._catch_up()
        keys = [part.key for part in (*asked.windows, *asked.seats)]
        try:
            answer = await self._run("take", asked.id, keys, asked)
        except StoreUnavailable:
            if asked.seats:
                self._remember(Spent(id=asked.id, seats=tuple(seats.key for seats in asked.seats)))
            raise
        return msgspec.msgpack.decode(answer, type=Taken)

    async def settle(self, spent: Spent) -> None:
        """Say how it ended; it is said later if it cannot be said now, also to a caller that is cancelled here."""
        self._remember(spent)
        try:
            await self._say(spent)
        except StoreUnavailable:
            return

    async def _catch_up(self) -> None:
        for spent in list(self._unsaid.values())[:_AT_ONCE]:
            await self._say(spent)

    async def _say(self, spent: Spent) -> None:
        keys = [*(window[0] for window in spent.windows), *spent.seats]
        await self._run("settle", spent.id, keys, spent)
        self._unsaid.pop(spent.id, None)

    def _remember(self, spent: Spent) -> None:
        while len(self._unsaid) >= _MOST_UNSAID:
            del self._unsaid[next(iter(self._unsaid))]
        self._unsaid[spent.id] = spent

    async def _run(self, what: str, id_: str, keys: list[str], said: Asked | Spent) -> bytes:
        now = "" if self._clock is None else str(self._clock[-1])
        args = [what, msgspec.msgpack.encode(said), id_, self._store.name, _ALIVE, now]
        keys = [_PREFIX + key for key in (*keys, f"{what}:{id_}")]
        async with self._lanes:
            return await self._store.run(self._script, keys, args)
