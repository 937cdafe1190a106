"""The post by Redis: published messages, and keys that say who has what."""

from collections.abc import Callable

from enginehouse.stores.kv.redis_store import RedisStore

__all__ = ["RedisPost"]

_THING = "enginehouse:has:"


class RedisPost:
    """Satisfies `Post`. A replica is alive for a few seconds after it was last heard of.

    Args:
        store: the connection.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._script = store.script("post.lua")
        self.name = store.name

    def receive(self, hear: Callable[[bytes], None]) -> None:
        """From now on this one is told what is sent to this replica."""
        self._store.receive(hear)

    async def send(self, replica: str, letter: bytes) -> bool:
        """Send a letter; whether somebody listens."""
        channel = self._store.mailbox + replica
        return bool(await self._store.run(self._script, [channel], ["send", letter]))

    async def claim(self, thing: str, seconds: float) -> str | None:
        """This replica has it from now on, or another one that has it already."""
        return await self._ask("claim", thing, seconds)

    async def release(self, thing: str, seconds: float) -> None:
        """Anybody may claim it now."""
        await self._ask("release", thing, seconds)

    async def find(self, thing: str) -> str | None:
        """Who has it."""
        return await self._ask("find", thing, 0)

    async def _ask(self, what: str, thing: str, seconds: float) -> str | None:
        milliseconds = str(max(1, round(seconds * 1000)))
        said = [what, self.name, milliseconds, self._store.alive]
        found: bytes | None = await self._store.run(self._script, [_THING + thing], said)
        return None if found is None else found.decode()
