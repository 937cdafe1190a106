"""Who asks next: the closed loop and the open loop."""

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from time import monotonic_ns
from typing import Protocol

from bench.load.connection import Connection
from bench.load.meter import Meter
from bench.load.ticks import ticking
from bench.schedule import Schedule

__all__ = ["Closed", "Loop", "Open"]


class Loop(Protocol):
    """Decides when a connection sends."""

    def ready(self, connection: Connection) -> None:
        """A connection has nothing to do."""
        ...

    def running(self) -> AbstractContextManager[None]:
        """The time in which requests may fall due."""
        ...

    @property
    def waiting(self) -> int:
        """Requests that are due and not sent."""
        ...

    def give_up(self) -> None:
        """What still waits has failed."""
        ...


class Closed:
    """A connection asks again as soon as it is answered, until the window ends."""

    waiting = 0

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def ready(self, connection: Connection) -> None:
        """Ask again."""
        now = monotonic_ns()
        if now < self._meter.end:
            connection.send(now)

    def running(self) -> AbstractContextManager[None]:
        """Nothing to start: an answer asks for the next request."""
        return nullcontext()

    def give_up(self) -> None:
        """Nothing ever waits here."""


class Open:
    """Requests go out at their times; those that find no free connection wait, and their time runs."""

    def __init__(self, rate: float, meter: Meter) -> None:
        self._rate = rate
        self._meter = meter
        self._sent = 0
        self._free: deque[Connection] = deque()
        self._late: deque[int] = deque()

    @property
    def waiting(self) -> int:
        """Requests that are due and found no connection."""
        return len(self._late)

    def ready(self, connection: Connection) -> None:
        """Send what waits, or keep the connection for later."""
        if self._late:
            connection.send(self._late.popleft())
        else:
            self._free.append(connection)

    def running(self) -> AbstractContextManager[None]:
        """Send at the schedule's times, from now on."""
        schedule = Schedule.at_rate(monotonic_ns(), self._rate)
        return ticking(schedule, lambda: self._catch_up(schedule))

    def give_up(self) -> None:
        """What still waits has failed."""
        while self._late:
            self._meter.failed(self._late.popleft(), "not sent")

    def _catch_up(self, schedule: Schedule) -> None:
        """Send all that is due by now and was not sent."""
        due = schedule.due(min(monotonic_ns(), self._meter.end - 1))
        for number in range(self._sent, due):
            self._send(schedule.time(number))
        self._sent = max(self._sent, due)

    def _send(self, due: int) -> None:
        """Send on the connection that has been idle longest."""
        while self._free:
            connection = self._free.popleft()
            if not connection.lost.is_set():
                connection.send(due)
                return
        self._late.append(due)
