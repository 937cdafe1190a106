"""Answers in this process."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from enginehouse.stores.kv.answers import Holding
from enginehouse.types.cached import Entry

__all__ = ["MemoryAnswers"]

_AT_A_TIME = 2000
"""Entries that are looked at before others have their turn."""


class MemoryAnswers:
    """Satisfies `Answers`. No step waits for anything, so that each happens as a whole.

    Args:
        max_bytes: most that are kept.
        clock: seconds since 1970.
    """

    backend = "memory"

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        """The longest unused first."""
        self._bytes = self._evicted = 0

    def adopt(self, max_bytes: int) -> None:
        """A new bound counts from the next entry on."""
        self._max_bytes = max_bytes

    async def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """What is kept under each key."""
        return [self._used(key) for key in keys]

    async def put(self, entry: Entry) -> None:
        """Keep it, and let others go for it."""
        self._take(entry.key)
        if entry.gone <= self._clock():
            return
        self._entries[entry.key] = entry
        self._bytes += entry.size
        while self._bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= oldest.size
            self._evicted += oldest.gone > self._clock()

    async def drop(self, keys: Sequence[bytes]) -> int:
        """Keep nothing under these keys."""
        return sum(self._take(key) is not None for key in keys)

    async def sweep(self, dead: Callable[[Entry], bool]) -> list[str]:
        """Look at all that are there now; whoever comes meanwhile is not looked at."""
        keys, gone, now = list(self._entries), list[str](), self._clock()
        for start in range(0, len(keys), _AT_A_TIME):
            for key in keys[start : start + _AT_A_TIME]:
                entry = self._entries.get(key)
                if entry is not None and (entry.gone <= now or dead(entry)):
                    self._take(key)
                    gone.append(entry.id)
            await asyncio.sleep(0)
        return gone

    async def holding(self) -> Holding:
        """How full it is."""
        return Holding(entries=len(self._entries), bytes=self._bytes, evicted=self._evicted)

    def _used(self, key: bytes) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.gone <= self._clock():
            self._take(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def _take(self, key: bytes) -> Entry | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size
        return entry
