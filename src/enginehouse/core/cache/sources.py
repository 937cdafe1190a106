"""Where rulings are kept: in the database for good, and in Redis for the other replicas."""

import msgspec

from enginehouse.core.cache.rulings import Ruling
from enginehouse.stores.kv import RedisRulings
from enginehouse.stores.sql import Database, rulings

__all__ = ["KeptRulings", "SharedRulings"]

_read = msgspec.json.Decoder(Ruling).decode


class KeptRulings:
    """Satisfies `Source` with the database, which replicas may share."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, ruling: Ruling) -> None:
        """Keep one."""
        text = msgspec.json.encode(ruling).decode()
        at = round(ruling.at * 1_000_000)
        await self._database.write(lambda connection: rulings.add(connection, ruling.id, at, text))

    async def since(self, at: float) -> list[Ruling]:
        """All that were kept after a time."""
        texts = await self._database.read(lambda connection: rulings.since(connection, round(at * 1_000_000)))
        return [_read(text) for text in texts]


class SharedRulings:
    """Satisfies `Source` with Redis.

    Args:
        store: where.
        longest: seconds after which a ruling need not be heard any more.
    """

    def __init__(self, store: RedisRulings, longest: float) -> None:
        self._store = store
        self._longest = longest

    async def add(self, ruling: Ruling) -> None:
        """Keep one."""
        await self._store.add(ruling.at, msgspec.json.encode(ruling), self._longest)

    async def since(self, at: float) -> list[Ruling]:
        """All that were kept after a time."""
        return [_read(text) for text in await self._store.since(at)]
