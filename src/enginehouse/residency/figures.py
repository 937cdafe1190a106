"""What is counted and measured of one deployment, over all of its lives and in bounded memory."""

import time
from collections import Counter, deque
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from math import ceil

from msgspec import Struct

__all__ = ["Cause", "Figures", "WarmUp"]

_WINDOW = 512
"""Answers that percentiles are taken from: the newest."""


class Cause(StrEnum):
    """Why a model left memory."""

    IDLE = "idle"
    """It was not used for its TTL."""
    ROOM = "room"
    """Another one needed its room."""
    CLEANUP = "cleanup"
    """Memory was short, and it was idle."""
    UNLOADED = "unloaded"
    """Somebody asked for it."""
    EDITED = "edited"
    """Its configuration changed."""
    REMOVED = "removed"
    """It is in the catalogue no more."""
    SHUTDOWN = "shutdown"
    """The service stopped."""
    LOST = "lost"
    """The node it was on is gone."""
    FAILED = "failed"
    """Its engine ended by itself."""


class WarmUp(Struct, frozen=True, kw_only=True):
    """One warm-up, as it was measured."""

    requests: int
    """How many were sent."""
    failed: int
    """How many of them got no answer."""
    seconds: float
    """For all of them, one after the other; the load before them is not counted."""
    mean: float | None
    """Seconds the engine took for an answer, on the mean; None when there was none."""
    error: str | None = None
    """Why the first one failed that did."""


class Figures:
    """The numbers of one deployment. Callers' requests count, the service's own do not."""

    def __init__(self) -> None:
        self.asked = 0
        """Requests that wanted it in memory."""
        self.found = 0
        """How many of them found it there, and waited for nothing."""
        self.asked_at = 0.0
        """When it was last wanted, in seconds since 1970; 0 before."""
        self.loads = 0
        self.loaded_at: datetime | None = None
        """When it last became ready, in UTC."""
        self.departures: Counter[Cause] = Counter()
        """How often it left memory, and why."""
        self.answers = 0
        """Requests that were answered to their end."""
        self.answer_seconds = 0.0
        """What the engine took for all of them."""
        self.warm_up: WarmUp | None = None
        """The last one of this life in memory."""
        self.estimated = 0
        """Bytes that its files let expect, when it was last loaded; 0 when nobody knows."""
        self.measured = 0
        """Bytes that it was then seen to take; 0 when nobody could tell."""
        self.times: deque[float] = deque(maxlen=_WINDOW)
        """Seconds of the newest answers."""

    @classmethod
    def sum(cls, parts: "Iterable[Figures]") -> "Figures":
        """Of several together; what is the newest of each is the newest of all."""
        total = cls()
        for part in parts:
            total._add(part)
        return total

    @property
    def missed(self) -> int:
        """Requests that had to wait for a load."""
        return self.asked - self.found

    @property
    def hit_rate(self) -> float | None:
        """Which share of the requests found it in memory; None before the first."""
        return self.found / self.asked if self.asked else None

    @property
    def last_asked(self) -> datetime | None:
        """In UTC; None before anybody wanted it."""
        return datetime.fromtimestamp(self.asked_at, UTC) if self.asked_at else None

    @property
    def estimate_error(self) -> float | None:
        """By which share of what was measured the estimate was above it; None before something was measured."""
        return self.estimated / self.measured - 1 if self.estimated and self.measured else None

    @property
    def mean(self) -> float | None:
        """Seconds of an answer, over all of them."""
        return self.answer_seconds / self.answers if self.answers else None

    def percentile(self, share: float) -> float | None:
        """Seconds that this share of the newest 512 answers did not exceed; None before the first."""
        if not self.times:
            return None
        return sorted(self.times)[max(ceil(share * len(self.times)) - 1, 0)]

    def was_asked(self, number: int = 1, *, found: bool) -> None:
        """So many want it now."""
        self.asked += number
        self.found += number * found
        self.asked_at = time.time()

    def was_loaded(self) -> None:
        """It is in memory now."""
        self.loads += 1
        self.loaded_at = datetime.now(UTC)
        self.warm_up = None

    def answered(self, *seconds: float) -> None:
        """The engine took so long for an answer, for each of some."""
        self.answers += len(seconds)
        self.answer_seconds += sum(seconds)
        self.times.extend(seconds)

    def _add(self, other: "Figures") -> None:
        self.asked += other.asked
        self.found += other.found
        self.loads += other.loads
        self.answers += other.answers
        self.answer_seconds += other.answer_seconds
        self.departures += other.departures
        self.asked_at = max(self.asked_at, other.asked_at)
        self.loaded_at = _newer(self.loaded_at, other.loaded_at)
        self.warm_up = self.warm_up or other.warm_up
        self.estimated = self.estimated or other.estimated
        self.measured = self.measured or other.measured
        self.times.extend(other.times)


def _newer(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((at for at in (one, other) if at is not None), default=None)
