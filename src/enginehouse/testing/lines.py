"""Shared lines in one process: what Redis does for replicas, on the loop's own clock, with a plug to pull."""

import asyncio
from collections import Counter, deque

from msgspec import Struct

from enginehouse.core.admission.policy import Line
from enginehouse.errors import StoreUnavailable
from enginehouse.stores.kv import End, Figures, Join, Listener, Moves, Outcome
from enginehouse.types import Priority

__all__ = ["MemoryLines", "SharedMemory"]

_CLASSES = tuple(Priority)
_WINDOW = 512


class MemoryLines:
    """Satisfies `Lines` for one replica.

    Args:
        memory: what the replicas share.
        name: this replica.
        delay: seconds each way of a step takes.
    """

    def __init__(self, memory: "SharedMemory", name: str, *, delay: float = 0.0) -> None:
        self.up = True
        self.steps = 0
        """How often a step was asked for."""
        self._memory = memory
        self._name = name
        self.delay = delay
        self._listener: Listener | None = None

    def listen(self, listener: Listener) -> None:
        """From now on this one is told."""
        self._listener = listener
        self._memory.listeners[self._name] = self

    def plug(self, *, up: bool) -> None:
        """Pull the plug between this replica and the memory, or put it back."""
        self.up = up
        if self._listener:
            self._listener.connection(up=up)

    def turn(self, line: str, ticket: str) -> None:
        """Told at once, or never."""
        if self.up and self._listener:
            self._listener.turn(line, ticket)

    async def step(self, line: str, moves: Moves) -> Outcome:
        """As the protocol says."""
        self.steps += 1
        await self._way()
        outcome = self._memory.step(line, self._name, moves)
        await self._way()
        return outcome

    async def _way(self) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self.up:
            raise StoreUnavailable("The plug is pulled.")


class SharedMemory:
    """All lines. It may lose everything, like a store that was started anew (`clear`)."""

    def __init__(self) -> None:
        self.listeners: dict[str, MemoryLines] = {}
        self._lines: dict[str, _Shared] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._lines.clear()

    def step(self, line: str, replica: str, moves: Moves) -> Outcome:
        """One step; tells whoever runs by it."""
        shared = self._lines.setdefault(line, _Shared())
        outcome, called = shared.step(replica, moves, asyncio.get_running_loop().time())
        for owner, ticket in called:
            if owner in self.listeners:
                self.listeners[owner].turn(line, ticket)
        return outcome


class _Waiter(Struct):
    join: Join
    owner: str
    came: float
    until: float


class _Shared:
    """One line: the same step as in Lua, with the order of `policy.Line` itself."""

    def __init__(self) -> None:
        self._line: Line[str] = Line(0)
        self._waiters: dict[str, _Waiter] = {}
        self._running: dict[str, float] = {}
        self._stated: dict[str, tuple[int, float]] = {}
        self._waits: deque[float] = deque(maxlen=_WINDOW)
        self._counts: Counter[str] = Counter()
        self._service: float | None = None
        self._hold = float("-inf")
        self._called: list[tuple[str, str]] = []

    def step(self, replica: str, moves: Moves, now: float) -> tuple[Outcome, list[tuple[str, str]]]:
        self._called = []
        self._expire(now)
        if moves.settle and now >= self._hold + 4 * moves.settle:
            self._hold = now + moves.settle
        self._line.aging = moves.aging
        self._stated[replica] = (moves.slots, now + moves.lease)
        slots = min(number for number, _ in self._stated.values())
        self._renew(moves, now)
        for end in moves.ends:
            self._finish(end)
        self._admit(slots, now)
        for join in moves.joins:
            self._join(join, replica, slots, moves, now)
        self._admit(slots, now)
        outcome = Outcome(
            joined=[self._place(join.id, now) for join in moves.joins],
            waiting=[self._place(ticket, now) for ticket in moves.waiting],
            turns=[ticket for owner, ticket in self._called if owner == replica],
            slots=slots,
            active=len(self._running),
            depth=len(self._waiters),
            service=self._service,
            next=self._next(moves.slots, now),
            figures=self._figures() if moves.figures else None,
        )
        return outcome, [call for call in self._called if call[0] != replica]

    def _expire(self, now: float) -> None:
        for ticket in [ticket for ticket, waiter in self._waiters.items() if waiter.until <= now]:
            self._leave(ticket)
            self._counts["left"] += 1
        for book in (self._running, self._stated):
            for name in [name for name, told in book.items() if _until(told) <= now]:
                del book[name]

    def _renew(self, moves: Moves, now: float) -> None:
        for ticket in moves.waiting:
            if ticket in self._waiters:
                self._waiters[ticket].until = now + moves.lease
            elif ticket in self._running:
                self._running[ticket] = now + moves.lease
        for ticket in moves.running:
            self._leave(ticket)
            self._running[ticket] = now + moves.lease

    def _leave(self, ticket: str) -> bool:
        self._line.leave(ticket)
        return self._waiters.pop(ticket, None) is not None

    def _finish(self, end: End) -> None:
        waited, ran = self._leave(end.id), self._running.pop(end.id, None) is not None
        if end.how == "served":
            if ran:
                mean = end.seconds if self._service is None else self._service
                self._service = mean + 0.2 * (end.seconds - mean)
        elif waited or ran:
            self._counts[end.how] += 1
            self._counts["served"] -= ran

    def _admit(self, slots: int, now: float) -> None:
        while (ticket := self._line.head(now)) is not None and now >= self._hold and len(self._running) < slots:
            waiter = self._waiters.pop(ticket)
            self._line.serve(ticket)
            self._run(ticket, waiter.until, now - waiter.came)
            self._called.append((waiter.owner, ticket))

    def _run(self, ticket: str, until: float, waited: float) -> None:
        self._running[ticket] = until
        self._counts["served"] += 1
        self._waits.append(waited)

    def _join(self, join: Join, replica: str, slots: int, moves: Moves, now: float) -> None:
        if join.id in self._waiters or join.id in self._running:
            return
        if not self._waiters and now >= self._hold and len(self._running) < slots:
            self._run(join.id, now + moves.lease, join.waited)
        elif len(self._waiters) >= min(moves.limit, join.limit or moves.limit) and not join.again:
            self._counts["rejected"] += 1
        else:
            waiter = _Waiter(join=join, owner=replica, came=now - join.waited, until=now + moves.lease)
            late = any(_entered(other, now, moves.aging) > waiter.came for other in self._waiters.values())
            self._waiters[join.id] = waiter
            self._stand([waiter] if not late else self._from_the_start())

    def _from_the_start(self) -> list[_Waiter]:
        """Somebody asked before others came to where they stand: all stand anew by their times, turns too."""
        self._line = Line(self._line.aging)
        return sorted(self._waiters.values(), key=lambda waiter: waiter.came)

    def _stand(self, waiters: list[_Waiter]) -> None:
        for waiter in waiters:
            self._line.join(waiter.join.id, _CLASSES[waiter.join.level], waiter.join.tenant, waiter.came)

    def _place(self, ticket: str, now: float) -> int:
        if ticket in self._waiters:
            return self._line.ahead(ticket, now) + 1
        return 0 if ticket in self._running else -1

    def _next(self, slots: int, now: float) -> float | None:
        times = [*self._running.values(), *(waiter.until for waiter in self._waiters.values())]
        times += [until for number, until in self._stated.values() if number < slots]
        if now < self._hold:
            times.append(self._hold)
        return min(times) - now if times else None

    def _figures(self) -> Figures:
        depth = Counter(waiter.join.level for waiter in self._waiters.values())
        return Figures(
            depth=(depth[0], depth[1], depth[2]),
            waits=list(self._waits),
            served=self._counts["served"],
            rejected=self._counts["rejected"],
            timed_out=self._counts["timed_out"],
            left=self._counts["left"],
        )


def _entered(waiter: _Waiter, now: float, aging: float) -> float:
    """When it came into the class in which it stands now."""
    return waiter.came + aging * min(waiter.join.level, (now - waiter.came) // aging)


def _until(told: float | tuple[int, float]) -> float:
    return told[1] if isinstance(told, tuple) else told
