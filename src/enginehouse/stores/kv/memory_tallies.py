"""Tallies in this process."""

import time
from collections.abc import Callable, Iterable, Sequence

from enginehouse.stores.kv.memory_parts import Parts
from enginehouse.stores.kv.tallies import Asked, Seats, Spent, Standing, Taken, Window

__all__ = ["Account", "MemoryTallies"]

_SWEEP = 1000
"""Requests after which what no longer counts is forgotten."""


class MemoryTallies:
    """Satisfies `Tallies`. No step waits for anything, so that each happens as a whole.

    Args:
        clock: microseconds.
    """

    def __init__(self, clock: Callable[[], int] = lambda: time.monotonic_ns() // 1000) -> None:
        self._clock = clock
        self._windows: dict[str, Parts] = {}
        self._seats: dict[str, set[str]] = {}
        self._until_sweep = _SWEEP
        self.forgotten = 0
        """How often something was: in between, windows and seats are the very same objects."""

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
        self.come(now)
        free = True
        found: list[Parts] = []
        held: list[set[str]] = []
        for one in windows:
            parts = self._windows.get(one.key)
            if parts is None or now >= parts.over:
                parts = self.parts(one.key, one.seconds, now)
            need = one.need if one.take or expected <= one.need else min(expected, one.limit)
            if parts.used + need > one.limit:
                free = False
            found.append(parts)
        for seat in seats:
            holders = self.holders(seat.key)
            if len(holders) >= seat.limit:
                free = False
            held.append(holders)
        if not free:
            return _refused(found, windows, expected, held, now)
        for holders in held:
            holders.add(id_)
        told = [parts.take(one.take, expected, now) for parts, one in zip(found, windows, strict=True)]
        standings = tuple([Standing(used=used, reset=reset, wait=0) for used, reset in told])
        return Taken(admitted=True, at=now, windows=standings, seats=tuple(map(len, held)))

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
                parts = self.parts(key, seconds, now)
            parts.settle(at, taken, really, now)
        for key in seats:
            holders = self._seats.get(key)
            if holders is not None:
                holders.discard(id_)
                if not holders:
                    del self._seats[key]
                    self.forgotten += 1

    def account(self, windows: tuple[Window, ...], seats: tuple[Seats, ...]) -> "Account":
        """What is asked for together again and again: the very same windows and seats."""
        return Account(self, self._clock, windows, seats)

    def come(self, now: int, number: int = 1) -> None:
        """So many more ask."""
        self._until_sweep -= number
        if self._until_sweep <= 0:
            self._sweep(now)

    def holders(self, key: str) -> set[str]:
        """Who holds these seats."""
        holders = self._seats.get(key)
        if holders is None:
            holders = self._seats[key] = set()
        return holders

    def parts(self, key: str, seconds: float, now: int) -> Parts:
        """A window as it is now."""
        parts = self._windows.get(key)
        if parts is None:
            parts = self._windows[key] = Parts(seconds)
        parts.forget(now)
        return parts

    def _sweep(self, now: int) -> None:
        self._until_sweep = _SWEEP
        self.forgotten += 1
        for key, parts in list(self._windows.items()):
            parts.forget(now)
            if not parts.used:
                del self._windows[key]
        for key in [key for key, holders in self._seats.items() if not holders]:
            del self._seats[key]


class Account:
    """The windows and seats of requests that take the same each time, found once: from `MemoryTallies.account`.

    Args:
        memory: where they are counted.
        clock: its own.
        windows: what is taken; of those of which nothing is, what is expected.
        seats: what is held.
    """

    __slots__ = ("_clock", "_expecting", "_forgotten", "_found", "_held", "_memory", "_seats", "_windows")

    def __init__(
        self,
        memory: MemoryTallies,
        clock: Callable[[], int],
        windows: tuple[Window, ...],
        seats: tuple[Seats, ...],
    ) -> None:
        self._windows = windows
        self._seats = seats
        self._memory = memory
        self._clock = clock
        self._found: list[tuple[Parts, int, int, int]] = []
        """Each window with its limit, what has to be free of it, and what is taken."""
        self._expecting: list[Parts] = []
        """Windows of which nothing is taken but what is expected."""
        self._held: list[tuple[set[str], int]] = []
        self._forgotten = -1

    def take(self, id_: str, expected: int) -> tuple[int, tuple[tuple[int, int], ...]] | None:
        """`MemoryTallies.take_now`; None where it is refused.

        Returns:
            When it was taken, and of each window what is used, and in how many microseconds all of it is free.
        """
        memory, now = self._memory, self._clock()
        memory.come(now)
        if self._forgotten != memory.forgotten:
            self._find(now)
        for parts, limit, need, take in self._found:
            if now >= parts.over:
                parts.forget(now)
            if expected > need and not take:
                need = min(expected, limit)  # noqa: PLW2901 - so much of it has to be free this time
            if parts.used + need > limit:
                return None
        for holders, limit in self._held:
            if len(holders) >= limit:
                return None
        for holders, _ in self._held:
            holders.add(id_)
        return now, tuple([parts.take(take, expected, now) for parts, _, _, take in self._found])

    def take_all(
        self, ids: Sequence[str], expected: Sequence[int]
    ) -> tuple[int, Sequence[Sequence[tuple[int, int]]]] | None:
        """`take` for some, one after the other, where there is plenty for all; else None, and nothing is taken.

        Args:
            ids: of each.
            expected: by each.

        Returns:
            When it was taken, and of each window what `take` tells of it to one after the other.
        """
        memory, now, number, most = self._memory, self._clock(), len(ids), sum(expected)
        memory.come(now, number)
        if self._forgotten != memory.forgotten:
            self._find(now)
        for parts, limit, need, take in self._found:
            if now >= parts.over:
                parts.forget(now)
            if parts.used + (take * number if take else most) + need > limit:
                return None
        for holders, limit in self._held:
            if len(holders) + number > limit:
                return None
        for holders, _ in self._held:
            holders.update(ids)
        return now, [parts.take_all(take, expected, now) for parts, _, _, take in self._found]

    def settle_all(self, ids: Sequence[str], spent: Sequence[tuple[int, int, int]]) -> None:
        """`MemoryTallies.settle_now` for some: what they expected came to another amount, and their seats are free.

        Args:
            ids: under which it was taken.
            spent: when each was taken, 0 where nothing was expected, how much was, and how much it really was.
        """
        now = self._clock()
        if self._forgotten != self._memory.forgotten:
            self._find(now)
        for parts in self._expecting:
            if now >= parts.over:
                parts.forget(now)
            parts.settle_all(spent, now)
        for holders, _ in self._held:
            holders.difference_update(ids)

    def _find(self, now: int) -> None:
        memory = self._memory
        self._forgotten = memory.forgotten
        found = [(memory.parts(one.key, one.seconds, now), one) for one in self._windows]
        self._found = [(parts, one.limit, one.need, one.take) for parts, one in found]
        self._expecting = [parts for parts, one in found if not one.take]
        self._held = [(memory.holders(one.key), one.limit) for one in self._seats]


def _refused(
    found: Sequence[Parts], windows: Sequence[Window], expected: int, held: Sequence[set[str]], now: int
) -> Taken:
    told = [
        Standing(used=parts.used, reset=parts.reset(now), wait=parts.wait(_need(one, expected), one.limit, now))
        for parts, one in zip(found, windows, strict=True)
    ]
    return Taken(admitted=False, at=now, windows=tuple(told), seats=tuple(map(len, held)))


def _need(window: Window, expected: int) -> int:
    """How much of it has to be free."""
    return window.need if window.take or expected <= window.need else min(expected, window.limit)
