"""Tallies in this process."""

import time
from collections.abc import Callable, Iterable, Sequence

from enginehouse.stores.kv.tallies import Asked, Seats, Spent, Standing, Taken, Window, part_width

__all__ = ["MemoryTallies"]

_SWEEP = 1000
"""Requests after which what no longer counts is forgotten."""
_NEVER = 1 << 62


class MemoryTallies:
    """Satisfies `Tallies`. No step waits for anything, so that each happens as a whole.

    Args:
        clock: microseconds.
    """

    def __init__(self, clock: Callable[[], int] = lambda: time.monotonic_ns() // 1000) -> None:
        self._clock = clock
        self._windows: dict[str, _Parts] = {}
        self._seats: dict[str, set[str]] = {}
        self._until_sweep = _SWEEP

    async def take(self, asked: Asked) -> Taken:
        """Take all of it if all of it is free."""
        return self.take_now(asked.id, asked.windows, asked.seats)

    async def settle(self, spent: Spent) -> None:
        """Say how it ended."""
        self.settle_now(spent.id, spent.windows, spent.seats)

    def take_now(
        self, id_: str, windows: Sequence[Window], seats: Sequence[Seats] = (), expected: int = 0
    ) -> Taken:
        """Take all of it if all of it is free, without waiting for anything.

        Args:
            id_: unique: under it seats are held.
            windows: what is taken.
            seats: what is held.
            expected: so much is taken in the same step of each window of which nothing else is, if so much is free
                in it, or all of it where it is smaller. How windows stand is told as it was before that.
        """
        now = self._clock()
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._sweep(now)
        free = True
        found: list[_Parts] = []
        held: list[set[str]] = []
        for one in windows:
            parts = self._windows.get(one.key)
            if parts is None or now >= parts.over:
                parts = self._parts(one.key, one.seconds, now)
            need = one.need if one.take or expected <= one.need else min(expected, one.limit)
            free = free and parts.used + need <= one.limit
            found.append(parts)
        for seat in seats:
            holders = self._holders(seat.key)
            free = free and len(holders) < seat.limit
            held.append(holders)
        if not free:
            return _refused(found, windows, expected, held, now)
        for holders in held:
            holders.add(id_)
        told = [parts.take(one.take, expected, now) for parts, one in zip(found, windows, strict=True)]
        return Taken(admitted=True, at=now, windows=tuple(told), seats=tuple(map(len, held)))

    def settle_now(
        self, id_: str, windows: Iterable[tuple[str, float, int, int, int]], seats: Iterable[str] = ()
    ) -> None:
        """Say how it ended, without waiting for anything.

        Args:
            id_: under which it was taken.
            windows: key, length, when it was taken, how much was, and how much it really was.
            seats: keys of those that are given back.
        """
        now = self._clock()
        for key, seconds, at, taken, really in windows:
            parts = self._windows.get(key)
            if parts is None or now >= parts.over:
                parts = self._parts(key, seconds, now)
            parts.settle(at, taken, really, now)
        for key in seats:
            holders = self._seats.get(key)
            if holders is not None:
                holders.discard(id_)
                if not holders:
                    del self._seats[key]

    def _holders(self, key: str) -> set[str]:
        holders = self._seats.get(key)
        if holders is None:
            holders = self._seats[key] = set()
        return holders

    def _parts(self, key: str, seconds: float, now: int) -> "_Parts":
        parts = self._windows.get(key)
        if parts is None:
            parts = self._windows[key] = _Parts(seconds)
        parts.forget(now)
        return parts

    def _sweep(self, now: int) -> None:
        self._until_sweep = _SWEEP
        for key, parts in list(self._windows.items()):
            parts.forget(now)
            if not parts.used:
                del self._windows[key]
        for key in [key for key, holders in self._seats.items() if not holders]:
            del self._seats[key]


def _refused(
    found: Sequence["_Parts"], windows: Sequence[Window], expected: int, held: Sequence[set[str]], now: int
) -> Taken:
    told = [
        Standing(used=parts.used, reset=parts.reset(now), wait=parts.wait(_need(one, expected), one.limit, now))
        for parts, one in zip(found, windows, strict=True)
    ]
    return Taken(admitted=False, at=now, windows=tuple(told), seats=tuple(map(len, held)))


def _need(window: Window, expected: int) -> int:
    """How much of it has to be free."""
    return window.need if window.take or expected <= window.need else min(expected, window.limit)


class _Parts:
    """One window: what was taken in each of its parts, the oldest first."""

    __slots__ = ("_counts", "_free", "_span", "_width", "over", "used")

    def __init__(self, seconds: float) -> None:
        self._span = int(seconds * 1_000_000)
        self._width = part_width(seconds)
        self._counts: dict[int, int] = {}
        self._free = 0
        """When the last of them counts no more; 0 when there is none."""
        self.over = _NEVER
        """When the first of them does."""
        self.used = 0

    def forget(self, now: int) -> None:
        """Parts that are over count no more."""
        if now < self.over:
            return
        while self._counts and self._end(first := next(iter(self._counts))) <= now:
            self.used -= self._counts.pop(first)
        self._mark()

    def take(self, amount: int, expected: int, now: int) -> Standing:
        """Add that much, or what is expected where that is nothing; tells how it stands without the latter."""
        used, free, adding, part = self.used + amount, self._free, amount or expected, now // self._width
        if part in self._counts:
            self._counts[part] += adding
            self.used += adding
        else:
            self.add(adding, now)
            free = self._free if amount else free
        return Standing(used=used, reset=free - now if free else 0, wait=0)

    def add(self, amount: int, now: int) -> None:
        if not amount:
            return
        part, counts = now // self._width, self._counts
        self.used += amount
        if part in counts:
            counts[part] += amount
            return
        counts[part] = amount
        self._free = self._end(part)
        if len(counts) == 1:
            self.over = self._free

    def settle(self, at: int, taken: int, really: int, now: int) -> None:
        """What was taken was really another amount."""
        part = now // self._width
        there = self._counts.get(part, 0)
        if at // self._width == part and there >= taken and there and there - taken + really:
            self._counts[part] = there - taken + really
            self.used += really - taken
        else:
            self._take_back(taken, at)
            self.add(really, now)

    def wait(self, need: int, limit: int, now: int) -> int:
        """Microseconds until what is needed is free."""
        lacking = self.used + need - limit
        if lacking <= 0:
            return 0
        for part, count in self._counts.items():
            lacking -= count
            if lacking <= 0:
                return self._end(part) - now
        return self._span

    def reset(self, now: int) -> int:
        """Microseconds until all is free."""
        return self._free - now if self._free else 0

    def _take_back(self, amount: int, at: int) -> None:
        part = at // self._width
        there = self._counts.get(part, 0)
        if amount and there:
            back = min(amount, there)
            self.used -= back
            self._counts[part] = there - back
            if there == back:
                del self._counts[part]
                self._mark()

    def _mark(self) -> None:
        """The first or the last part is another one."""
        counts = self._counts
        self.over = self._end(next(iter(counts))) if counts else _NEVER
        self._free = self._end(next(reversed(counts))) if counts else 0

    def _end(self, part: int) -> int:
        return (part + 1) * self._width + self._span
