"""Answers in this process: a million of them cost a look-up nothing, and the garbage collector neither.

Python's collector stops everything to walk through what may hold cycles, such as an `OrderedDict`. Entries hold
none and say so, plain dicts of them are not walked through, and the order of use is a line of keys in one
bytearray. Many small dicts instead of a large one grow without a pause.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from enginehouse.stores.kv.answers import Holding
from enginehouse.types.cached import Entry

__all__ = ["MemoryAnswers"]

_SHARDS = 256
_KEY = 16
"""Bytes of a key."""
_CHANCES = 64
"""Entries in use that one entry may pass on its way to the end of the line before somebody has to go."""
_MOST_BESIDE = 4 * 1024 * 1024
"""Bytes of answers as they are told that lie beside their entries."""
_AT_A_TIME = 2000
"""Entries that are looked at before others have their turn."""


class MemoryAnswers:
    """Satisfies `Answers`. No step waits for anything, so that each happens as a whole.

    Who comes stands in line; whoever is first when somebody has to go, goes, unless it was used since it came
    there: then it stands at the end once more.

    Args:
        max_bytes: most that are kept.
        clock: seconds since 1970.
    """

    backend = "memory"

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: list[dict[bytes, Entry]] = [{} for _ in range(_SHARDS)]
        self._used: list[dict[bytes, None]] = [{} for _ in range(_SHARDS)]
        self._line = bytearray()
        """Keys, one after the other; some are gone, and some stand there twice."""
        self._count = self._bytes = self._evicted = 0
        self._beside: dict[bytes, tuple[Entry, bytes]] = {}
        """The longest there first."""
        self._bytes_beside = 0

    def adopt(self, max_bytes: int) -> None:
        """A new bound counts from the next entry on."""
        self._max_bytes = max_bytes

    async def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """What is kept under each key."""
        return [self.use(key) for key in keys]

    async def put(self, entry: Entry) -> None:
        """Keep it, and let others go for it."""
        self.keep(entry)

    def peek(self, key: bytes) -> Entry | None:
        """What lies there, although its time may be over; nobody will know that somebody looked."""
        return self._entries[key[0]].get(key)

    def use(self, key: bytes) -> Entry | None:
        """What is kept under this key, which is in use now."""
        entry = self._entries[key[0]].get(key)
        if entry is None:
            return None
        if entry.gone <= self._clock():
            self._take(key)
            return None
        self._used[key[0]][key] = None
        return entry

    def keep(self, entry: Entry) -> None:
        """As `put`, at once."""
        key = entry.key
        shard = self._entries[key[0]]
        known = key in shard
        if known:
            self._take(key)
        if entry.gone <= self._clock():
            return
        shard[key] = entry
        self._count += 1
        self._bytes += entry.size
        if known:
            self._used[key[0]][key] = None
        else:
            self._line += key
        while self._bytes > self._max_bytes:
            self._let_one_go()
        if len(self._line) > 2 * _KEY * (self._count + _AT_A_TIME):
            self._line = bytearray(b"".join([one for shard in self._entries for one in shard]))

    def beside(self, entry: Entry) -> bytes | None:
        """What was laid beside this very entry, and is still there."""
        laid = self._beside.get(entry.key)
        return laid[1] if laid is not None and laid[0] is entry else None

    def lay_beside(self, entry: Entry, told: bytes) -> None:
        """Remember its answer as it is told, for its next asker; it goes with the entry, or sooner for others."""
        if len(told) > _MOST_BESIDE or self._entries[entry.key[0]].get(entry.key) is not entry:
            return
        self._lift(entry.key)
        self._beside[entry.key] = (entry, told)
        self._bytes_beside += len(told)
        while self._bytes_beside > _MOST_BESIDE:
            self._lift(next(iter(self._beside)))

    async def drop(self, keys: Sequence[bytes]) -> int:
        """Keep nothing under these keys."""
        return sum(self._take(key) is not None for key in keys)

    async def sweep(self, dead: Callable[[Entry], bool]) -> list[str]:
        """Look at all that are there now; whoever comes meanwhile need not be looked at."""
        gone, looked, now = list[str](), 0, self._clock()
        for shard in self._entries:
            for entry in list(shard.values()):
                if entry.gone <= now or dead(entry):
                    self._take(entry.key)
                    gone.append(entry.id)
            looked += len(shard)
            if looked > _AT_A_TIME:
                looked = 0
                await asyncio.sleep(0)
        return gone

    async def holding(self) -> Holding:
        """How full it is."""
        return Holding(entries=self._count, bytes=self._bytes, evicted=self._evicted)

    def _lift(self, key: bytes) -> None:
        laid = self._beside.pop(key, None)
        if laid is not None:
            self._bytes_beside -= len(laid[1])

    def _let_one_go(self) -> None:
        """The first in line that was not used, or the one after so many that were."""
        chances = _CHANCES
        while True:
            key = bytes(self._line[:_KEY])
            del self._line[:_KEY]  # a bytearray only moves its beginning
            if key not in self._entries[key[0]]:
                continue
            if chances and self._used[key[0]].pop(key, False) is None:
                self._line += key
                chances -= 1
                continue
            entry = self._take(key)
            self._evicted += entry is not None and entry.gone > self._clock()
            return

    def _take(self, key: bytes) -> Entry | None:
        entry = self._entries[key[0]].pop(key, None)
        if entry is not None:
            self._used[key[0]].pop(key, None)
            self._lift(key)
            self._count -= 1
            self._bytes -= entry.size
        return entry
