"""Tallies in this process."""

import time
from collections.abc import Callable

from enginehouse.stores.kv.tallies import Asked, Spent, Standing, Taken, Window, part_width

__all__ = ["MemoryTallies"]

_SWEEP = 1000
"""Requests after which what no longer counts is forgotten."""


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
        now = self._clock()
        self._sweep(now)
        windows = [(self._parts(window.key, window.seconds, now), window) for window in asked.windows]
        waits = [part.wait(window, now) for part, window in windows]
        held = [self._holders(seats.key) for seats in asked.seats]
        free = all(len(one) < seats.limit for one, seats in zip(held, asked.seats, strict=True))
        admitted = free and not any(waits)
        if admitted:
            for part, window in windows:
                part.add(window.take, now)
            for holders in held:
                holders.add(asked.id)
        told = [
            Standing(used=part.used, reset=part.reset(now), wait=wait)
            for (part, _), wait in zip(windows, waits, strict=True)
        ]
        return Taken(admitted=admitted, at=now, windows=tuple(told), seats=tuple(map(len, held)))

    async def settle(self, spent: Spent) -> None:
        """Say how it ended."""
        now = self._clock()
        for key, seconds, at, taken, really in spent.windows:
            parts = self._parts(key, seconds, now)
            parts.take_back(taken, at)
            parts.add(really, now)
        for key in spent.seats:
            holders = self._seats.get(key)
            if holders is not None:
                holders.discard(spent.id)
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
        self._until_sweep -= 1
        if self._until_sweep > 0:
            return
        self._until_sweep = _SWEEP
        for key, parts in list(self._windows.items()):
            parts.forget(now)
            if not parts.used:
                del self._windows[key]
        for key in [key for key, holders in self._seats.items() if not holders]:
            del self._seats[key]


class _Parts:
    """One window: what was taken in each of its parts, the oldest first."""

    __slots__ = ("_counts", "_span", "_width", "used")

    def __init__(self, seconds: float) -> None:
        self._span = int(seconds * 1_000_000)
        self._width = part_width(seconds)
        self._counts: dict[int, int] = {}
        self.used = 0

    def forget(self, now: int) -> None:
        """Parts that are over count no more."""
        over = (now - self._span) // self._width
        while self._counts and (first := next(iter(self._counts))) < over:
            self.used -= self._counts.pop(first)

    def add(self, amount: int, now: int) -> None:
        if amount:
            part = now // self._width
            self._counts[part] = self._counts.get(part, 0) + amount
            self.used += amount

    def take_back(self, amount: int, at: int) -> None:
        part = at // self._width
        there = self._counts.get(part, 0)
        if amount and there:
            back = min(amount, there)
            self.used -= back
            self._counts[part] = there - back
            if there == back:
                del self._counts[part]

    def wait(self, window: Window, now: int) -> int:
        """Microseconds until what is needed is free."""
        lacking = self.used + window.need - window.limit
        if lacking <= 0:
            return 0
        for part, count in self._counts.items():
            lacking -= count
            if lacking <= 0:
                return self._end(part) - now
        return self._span

    def reset(self, now: int) -> int:
        """Microseconds until all is free."""
        return self._end(next(reversed(self._counts))) - now if self._counts else 0

    def _end(self, part: int) -> int:
        return (part + 1) * self._width + self._span
