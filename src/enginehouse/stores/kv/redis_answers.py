"""Answers in Redis, which replicas share: one Lua script, `lua/answers.lua`."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from enginehouse.stores.kv.answers import Holding
from enginehouse.stores.kv.redis_store import RedisStore
from enginehouse.types.cached import Entry

__all__ = ["RedisAnswers"]

_PREFIX = "enginehouse:cache:"
_LANES = 16
"""Steps on their way at the same time."""
_AT_A_TIME = "200"
"""Entries that are looked at in one step."""


class RedisAnswers:
    """Satisfies `Answers`. What replicas hold together is bounded by the smallest bound that one of them has.

    Args:
        store: where they are kept.
        max_bytes: most that are kept.
        clock: seconds since 1970.
    """

    backend = "redis"

    def __init__(self, store: RedisStore, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._clock = clock
        self._script = store.script("answers.lua")
        self._lanes = asyncio.Semaphore(_LANES)

    def adopt(self, max_bytes: int) -> None:
        """A new bound counts from the next entry on."""
        self._max_bytes = max_bytes

    async def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """What is kept under each key; what cannot be read is from another version, and is not there."""
        values: list[bytes | None] = await self._run("get", *(key.hex() for key in keys))
        values += [None] * (len(keys) - len(values))
        entries = [None if value is None else _read(value) for value in values]
        return [entry if entry is not None and entry.gone > self._clock() else None for entry in entries]

    async def put(self, entry: Entry) -> None:
        """Keep it, and let others go for it."""
        left = round((entry.gone - self._clock()) * 1000)
        if left > 0:
            size, value = entry.size, msgspec.msgpack.encode(entry)
            await self._run("put", entry.id, value, str(size), str(left), str(self._max_bytes))
        else:
            await self.drop([entry.key])

    async def drop(self, keys: Sequence[bytes]) -> int:
        """Keep nothing under these keys."""
        return int(await self._run("drop", *(key.hex() for key in keys))) if keys else 0

    async def sweep(self, dead: Callable[[Entry], bool]) -> list[str]:
        """Look at all of them, step by step."""
        cursor, gone = b"0", list[str]()
        while True:
            cursor, *found = await self._run("scan", cursor, _AT_A_TIME)
            read = {name: _read(value) for name, value in zip(found[::2], found[1::2], strict=True)}
            over = [name.decode() for name, entry in read.items() if entry is None or dead(entry)]
            if over:
                await self._run("drop", *over)
                gone += over
            if cursor == b"0":
                return gone

    async def holding(self) -> Holding:
        """How full it is, with what all replicas have put there."""
        entries, held, evicted = await self._run("holding")
        return Holding(entries=entries, bytes=held, evicted=evicted)

    async def _run(self, what: str, *args: str | bytes) -> Any:
        keys = [_PREFIX + name for name in ("order", "sizes", "figures")]
        async with self._lanes:
            return await self._store.run(self._script, keys, [what, _PREFIX + "entry:", *args])


def _read(value: bytes) -> Entry | None:
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        return None


_decode = msgspec.msgpack.Decoder(Entry).decode
