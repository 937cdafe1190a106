"""One window in this process: what was taken in each of its parts."""

from collections.abc import Sequence

from enginehouse.stores.kv.tallies import part_width

__all__ = ["Parts"]

_NEVER = 1 << 62


class Parts:
    """One window: what was taken in each of its parts, the oldest first."""

    __slots__ = ("_counts", "_free", "_last", "_since", "_span", "_till", "_width", "over", "used")

    def __init__(self, seconds: float) -> None:
        self._span = int(seconds * 1_000_000)
        self._width = part_width(seconds)
        self._counts: dict[int, int] = {}
        self._free = 0
        """When the last of them counts no more; 0 when there is none."""
        self.over = _NEVER
        """When the first of them does."""
        self.used = 0
        self._last = self._since = self._till = 0
        """The part that was asked for last, its first instant, and the first one after it."""

    def forget(self, now: int) -> None:
        """Parts that are over count no more."""
        if now < self.over:
            return
        while self._counts and self._end(first := next(iter(self._counts))) <= now:
            self.used -= self._counts.pop(first)
        self._mark()

    def take(self, amount: int, expected: int, now: int) -> tuple[int, int]:
        """Add that much, or what is expected where that is nothing.

        Returns:
            How it stands without the latter: what is used, and in how many microseconds all is free again.
        """
        used, free, adding = self.used + amount, self._free, amount or expected
        part = self._last if self._since <= now < self._till else self._turn(now)
        counts = self._counts
        if part in counts:
            counts[part] += adding
            self.used += adding
        else:
            self.add(adding, now)
            free = self._free if amount else free
        return used, free - now if free else 0

    def take_all(self, amount: int, expected: Sequence[int], now: int) -> Sequence[tuple[int, int]]:
        """`take` for some, one after the other: that much of each, or what each expects."""
        told: list[tuple[int, int]] = []
        part = self._last if self._since <= now < self._till else self._turn(now)
        while part not in self._counts and len(told) < len(expected):
            told.append(self.take(amount, expected[len(told)], now))
        used, reset = self.used, self._free - now if self._free else 0
        if len(told) == len(expected):
            return told
        for one in expected[len(told) :]:
            used += amount
            told.append((used, reset))
            if not amount:
                used += one
        self._counts[part] += used - self.used
        self.used = used
        return told

    def add(self, amount: int, now: int) -> None:
        """Add that much, beyond the limit if need be."""
        if not amount:
            return
        part, counts = self._turn(now), self._counts
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
        part = self._last if self._since <= now < self._till else self._turn(now)
        there = self._counts.get(part, 0)
        if self._since <= at < self._till and there >= taken and there and there - taken + really:
            self._counts[part] = there - taken + really
            self.used += really - taken
        else:
            self._take_back(taken, at)
            self.add(really, now)

    def settle_all(self, spent: Sequence[tuple[int, int, int]], now: int) -> None:
        """`settle` for some: when each was taken, how much was, and how much it really was."""
        if not self._since <= now < self._till:
            self._turn(now)
        since, till, taken, really = self._since, self._till, 0, 0
        for at, before, after in spent:
            if since <= at < till or not before:
                taken += before
                really += after
            else:
                self.settle(at, before, after, now)
        self.settle(since, taken, really, now)

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

    def _turn(self, now: int) -> int:
        """The part that this time is in, which the next one is most often in as well."""
        part = self._last = now // self._width
        self._since = part * self._width
        self._till = self._since + self._width
        return part

    def _mark(self) -> None:
        """The first or the last part is another one."""
        counts = self._counts
        self.over = self._end(next(iter(counts))) if counts else _NEVER
        self._free = self._end(next(reversed(counts))) if counts else 0

    def _end(self, part: int) -> int:
        return (part + 1) * self._width + self._span
