"""The gate of one deployment: it counts who runs, holds the line of who waits, and lets the next one in."""

import asyncio
from collections.abc import Iterable

from enginehouse.core.admission.pace import Pace
from enginehouse.core.admission.policy import Line
from enginehouse.core.admission.ticket import QueueStats, Ticket
from enginehouse.errors import QueueFull, QueueTimeout
from enginehouse.settings.schema import AdmissionSettings

__all__ = ["Gate"]


class Gate:
    """The single writer of one deployment's line; no method waits.

    Whenever a method returns, nobody waits while a slot is free.

    Args:
        slots: how many may run at once.
        settings: how many may wait, how long, and how they age.
    """

    def __init__(self, slots: int, settings: AdmissionSettings) -> None:
        self.running = 0
        self.served = 0
        self.rejected = 0
        self.timed_out = 0
        self.left = 0
        self.pace = Pace()
        self.slots = slots
        """How many may run at once; `resize` changes it."""
        self._settings = settings
        self._line: Line[Ticket] = Line(settings.aging)

    @property
    def idle(self) -> bool:
        """Whether nobody runs and nobody waits."""
        return not self.running and not self._line

    @property
    def patience(self) -> float:
        """Seconds somebody who comes now may wait."""
        return self._settings.queue_timeout

    def adopt(self, settings: AdmissionSettings) -> None:
        """New limits count for who comes next; who waits already ages by the new rule."""
        self._settings = settings
        self._line.aging = settings.aging

    def resize(self, slots: int) -> None:
        """More slots let waiters in at once; fewer let those who run end."""
        self.slots = slots
        self._admit()

    def dissolve(self) -> None:
        """What it leads to is gone: everybody's turn comes now, to find that out."""
        self.resize(self.running + len(self._line))

    def take_over(self, running: int, waiting: Iterable[Ticket]) -> None:
        """Begin with those who came to another gate, and stood or ran there.

        Args:
            running: how many run already, be they more than the slots.
            waiting: who waits, in the order they came; they keep their age, and however many they are they stay.
        """
        self.running = running
        for ticket in waiting:
            self._line.join(ticket, ticket.priority, ticket.tenant, ticket.asked)
        self._admit()

    def enter(self, ticket: Ticket) -> bool:
        """Run at once (True) or stand in line (False).

        Raises:
            QueueFull: too many wait already.
        """
        if self.running < self.slots:
            self.running += 1
            return True
        if len(self._line) >= ticket.within(self._settings.max_queue_size):
            self.rejected += 1
            raise QueueFull(
                f"{len(self._line)} requests wait for this model already. Try again later.",
                position=len(self._line) + 1,
                retry_after=self._retry_after(),
            )
        self._line.join(ticket, ticket.priority, ticket.tenant, _now())
        ticket.stood = self.position(ticket)
        return False

    @property
    def free(self) -> int:
        """How many who come now run at once; if any, nobody waits either."""
        return max(self.slots - self.running, 0)

    def enter_now(self, number: int = 1) -> bool:
        """Run at once, as so many who come with tickets to free slots; False, and nothing has happened, when too
        few are."""
        if number > self.free:
            return False
        self.running += number
        self.started(0.0, number)
        return True

    def leave_now(self, *seconds: float) -> None:
        """Some ran that long each and have ended, however they did; the next ones start."""
        self.pace.served(*seconds)
        self.running -= len(seconds)
        if self._line:
            self._admit()

    def expire(self, ticket: Ticket) -> None:
        """Its time is up; one whose turn has come, or who is going anyway, is not concerned."""
        if not ticket.turn.done():
            self._line.leave(ticket)
            ticket.turn.set_result(False)

    def withdraw(self, ticket: Ticket) -> None:
        """It goes away; if its turn had come in the same tick, the next one gets it."""
        self.left += 1
        if not self._line.leave(ticket) and ticket.granted:
            self.running -= 1
            self._admit()

    def started(self, waited: float, number: int = 1) -> None:
        """So many have taken up their slots, after so many seconds."""
        self.served += number
        self.pace.waited(waited, number)

    def give_back(self, ticket: Ticket, seconds: float) -> None:
        """It ran that long and has ended; the next one starts."""
        del ticket
        self.leave_now(seconds)

    def timeout(self) -> QueueTimeout:
        """Somebody whose time was up goes with this."""
        self.timed_out += 1
        return QueueTimeout(f"No slot came free within {self.patience:g} s.", retry_after=self._retry_after())

    def position(self, ticket: Ticket) -> int:
        """1 for who goes next; 0 for who does not wait."""
        return self._line.ahead(ticket, _now()) + 1 if ticket in self._line else 0

    def expected_wait(self, position: int) -> float:
        """Seconds until that many have been let in, by the measured service rate."""
        surplus = max(0, self.running - self.slots)
        return (position + surplus) * self.pace.service / self.slots if position else 0.0

    def longest_wait(self) -> float:
        """Seconds for which the one that came first of those who wait has waited; 0 when nobody waits."""
        first = self._line.eldest()
        return _now() - first.asked if first is not None else 0.0

    def stats(self) -> QueueStats:
        """How things are now."""
        return QueueStats(
            slots=self.slots,
            active=self.running,
            depth=self._line.depth(),
            wait_p50=self.pace.wait(0.5),
            wait_p95=self.pace.wait(0.95),
            service_time=self.pace.service,
            served=self.served,
            rejected=self.rejected,
            timed_out=self.timed_out,
            left=self.left,
        )

    def _admit(self) -> None:
        while self._line and self.running < self.slots and (ticket := self._line.head(_now())) is not None:
            if ticket.turn.done():  # cancelled in this tick; it takes nobody's turn with it
                self._line.leave(ticket)
            else:
                self._line.serve(ticket)
                self.running += 1
                ticket.turn.set_result(True)

    def _retry_after(self) -> float:
        """When those who wait now will have been let in; by `queue_timeout` none of them waits any more."""
        return max(1.0, min(self.expected_wait(len(self._line) + 1), self.patience))


def _now() -> float:
    return asyncio.get_running_loop().time()
