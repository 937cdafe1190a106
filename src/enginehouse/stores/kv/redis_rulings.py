"""Rulings about cached answers in Redis, where replicas hear of each other's: `lua/rulings.lua`."""

from enginehouse.stores.kv.redis_store import RedisStore

__all__ = ["RedisRulings"]

_KEY = "enginehouse:cache:rulings"


class RedisRulings:
    """Keeps them in the order of time.

    Args:
        store: the connection.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._script = store.script("rulings.lua")

    async def add(self, at: float, ruling: bytes, lifetime: float) -> None:
        """Keep one for so many seconds at least.

        Raises:
            StoreUnavailable: Redis is away.
        """
        await self._store.run(self._script, [_KEY], ["add", repr(at), ruling, str(round(lifetime) + 1)])

    async def since(self, at: float) -> list[bytes]:
        """All that were made from a time on.

        Raises:
            StoreUnavailable: Redis is away.
        """
        return list(await self._store.run(self._script, [_KEY], ["since", repr(at)]))
