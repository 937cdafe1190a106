"""One question at a time: who asks what another is just having answered waits for that answer.

The first one leads. If it leaves, the next takes over; if it fails, or its answer cannot be kept, each of those who
waited asks for itself. What one caller suffers is no other's.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from enum import Enum
from functools import partial

from msgspec import Struct

from enginehouse.types.cached import Entry

__all__ = ["Flights", "Landed", "Lead", "Leading", "Turn"]


class Turn(Enum):
    """What somebody who asked is to do."""

    LEAD = "lead"
    """Ask, and say how it went."""
    ALONE = "alone"
    """Ask for oneself: waiting helps nobody."""


class Landed(Struct, frozen=True):
    """An answer for all who wait for it."""

    entry: Entry
    tier: str
    """`exact`, or `semantic` when the leader itself found it by its meaning."""


class Lead(Struct):
    """What the leader says in the end; nothing means that it has left."""

    landed: Landed | None = None
    """The answer."""
    failed: bool = False
    """There is none, or none that can be kept."""


_Waiting = asyncio.Future[Landed | Turn]


class Flights:
    """All questions that are being answered."""

    def __init__(self) -> None:
        self._open: dict[Hashable, deque[_Waiting] | None] = {}
        """Who waits; None while nobody does, as for most."""
        self.joined = 0
        """How many have waited for another's answer, since the start."""

    @property
    def under_way(self) -> int:
        """How many questions are being answered."""
        return len(self._open)

    async def turn(self, key: Hashable) -> Landed | Turn:
        """What to do about this question: at once when nobody else asks it, else when the one who does is done."""
        if key not in self._open:
            self.lead(key)
            return Turn.LEAD
        self.joined += 1
        mine: _Waiting = asyncio.get_running_loop().create_future()
        waiting = self._open[key]
        if waiting is None:
            waiting = self._open[key] = deque()
        waiting.append(mine)
        try:
            return await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.result() is Turn.LEAD:
                self.land(key, Lead())  # the lead came in the very moment in which this one left
            raise

    def leading(self, key: Hashable) -> "Leading":
        """Whoever leads says in here how it went."""
        return Leading(partial(self.land, key))

    def asked(self, key: Hashable) -> bool:
        """Whether somebody asks this just now."""
        return key in self._open

    def lead(self, key: Hashable) -> None:
        """Ask what nobody asks just now; `land` says how it went."""
        self._open[key] = None

    def over(self, key: Hashable) -> bool:
        """It has ended, and nobody waited; False where somebody does, and `land` has to say how it went."""
        if self._open[key]:
            return False
        del self._open[key]
        return True

    def land(self, key: Hashable, lead: Lead) -> None:
        """It went like this; who waits hears of it."""
        waiting = self._open[key] or deque()
        if lead.landed is None and not lead.failed:
            while waiting:
                heir = waiting.popleft()
                if not heir.done():
                    heir.set_result(Turn.LEAD)
                    return
        del self._open[key]
        for mine in waiting:
            if not mine.done():
                mine.set_result(lead.landed or Turn.ALONE)


class Leading:
    """Asking for all, as a context; from `Flights.leading`."""

    def __init__(self, land: Callable[[Lead], None]) -> None:
        self._land = land
        self._lead = Lead()

    def __enter__(self) -> Lead:
        return self._lead

    def __exit__(self, *_: object) -> None:
        self._land(self._lead)
