"""The chronicle by Redis: a stream, whose readers hang on it until something comes."""

from collections.abc import Sequence
from typing import Any

from enginehouse.stores.kv.chronicle import Line
from enginehouse.stores.kv.redis_store import RedisStore

__all__ = ["RedisChronicle"]

_PREFIX = "enginehouse:chronicle"
_KEPT = 2000
"""Lines: of events, ten minutes of three replicas."""
_AT_A_TIME = 500
_WAIT = 2.0
"""Seconds; replicas speak every second, so that a longer silence is worth a look."""


class RedisChronicle:
    """Satisfies `Chronicle`.

    Args:
        store: the connection.
        subject: what is told in it; those of two subjects are two.
    """

    def __init__(self, store: RedisStore, subject: str) -> None:
        self._store = store
        self._key = f"{_PREFIX}:{subject}"
        self._script = store.script("chronicle.lua")
        self.name = store.name

    @property
    def up(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._store.up

    async def append(self, texts: Sequence[bytes]) -> None:
        """Write them."""
        await self._store.run(self._script, [self._key], [str(_KEPT), *texts])

    async def read(self, after: tuple[int, int] | None) -> Sequence[Line]:
        """What comes after a place, or all there is."""
        if after is not None:
            begin, wait = f"{after[0]}-{after[1]}", int(_WAIT * 1000)
            found = await self._store.ask(
                lambda redis: redis.xread({self._key: begin}, count=_AT_A_TIME, block=wait), waits=_WAIT
            )
            if found:
                return _lines(found[0][1])
            newest = _lines(await self._store.ask(lambda redis: redis.xrevrange(self._key, count=1)))
            if not newest or newest[0].mark >= after:
                return []
        return _lines(await self._store.ask(lambda redis: redis.xrange(self._key)))


def _lines(entries: Any) -> list[Line]:
    return [Line(_mark(id_), fields[b"t"]) for id_, fields in entries]


def _mark(id_: bytes) -> tuple[int, int]:
    milliseconds, _, number = id_.partition(b"-")
    return int(milliseconds), int(number)
