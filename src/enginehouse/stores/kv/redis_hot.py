"""Copies of conversations in Redis, for all replicas."""

from enginehouse.errors import StoreUnavailable
from enginehouse.stores.kv.redis_store import RedisStore

__all__ = ["RedisCopies"]

_PREFIX = "enginehouse:session:"
_LONGEST = 4 * 1024 * 1024
"""Bytes of a copy; a longer one is read from the database each time."""


class RedisCopies:
    """Satisfies `HotCopies`. While Redis is away there are none; that is all.

    Args:
        store: where they are kept.
        ttl: seconds for which one is kept after it was last used.
    """

    def __init__(self, store: RedisStore, ttl: float) -> None:
        self._store, self._ttl = store, str(max(1, int(ttl * 1000)))
        self._script = store.script("hot.lua")

    async def get(self, key: str, version: int) -> bytes | None:
        """The copy of this version."""
        return await self._run(key, "get", str(version), self._ttl)

    async def put(self, key: str, version: int, copy: bytes) -> None:
        """Keep a copy."""
        if len(copy) <= _LONGEST:
            await self._run(key, "put", str(version), self._ttl, copy)

    async def drop(self, key: str) -> None:
        """Keep nothing."""
        await self._run(key, "drop", "", self._ttl)

    async def _run(self, key: str, *args: str | bytes) -> bytes | None:
        try:
            return await self._store.run(self._script, [_PREFIX + key], list(args))
        except StoreUnavailable:
            return None
