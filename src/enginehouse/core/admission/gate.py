"""The gate of one deployment: it counts who runs, holds the line of who waits, and lets the next one in."""

import asyncio
from types import TracebackType

from msgspec import Struct

from enginehouse.core.admission.pace import Pace
from enginehouse.core.admission.policy import Line
from enginehouse.errors import QueueFull, QueueTimeout
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.types import Priority

__all__ = ["Gate", "QueueStats", "Slot", "Ticket"]


class Slot(Struct, frozen=True, kw_only=True):
    """The right to run now on one of a deployment's parallel sequences."""

    waited: float
    """Seconds spent in the line."""


class QueueStats(Struct, frozen=True, kw_only=True):
    """A deployment's line at one instant, and what has become of all who asked."""

    slots: int = 0
    """How many may run at once."""
    active: int = 0
    """How many run."""
    depth: dict[Priority, int]
    """How many wait, by the priority they claimed."""
    wait_p50: float | None = None
    """Seconds that half of the last 512 who got a slot had waited at most; None before the first."""
    wait_p95: float | None = None
    """The same for 95 of 100."""
    service_time: float
    """Mean seconds a slot is held, the newest counting most; 1 before the first."""
    served: int = 0
    """How many got a slot."""
    rejected: int = 0
    """How many found the line full."""
    timed_out: int = 0
    """How many waited too long."""
    left: int = 0
    """How many went away while they waited."""


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
        self._slots = slots
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
        self._slots = slots
        self._admit()

    def enter(self, ticket: "Ticket") -> bool:
        """Run at once (True) or stand in line (False).

        Raises:
            QueueFull: too many wait already.
        """
        if self.running < self._slots:
            self.running += 1
            return True
        if len(self._line) >= self._settings.max_queue_size:
            self.rejected += 1
            raise QueueFull(
                f"{len(self._line)} requests wait for this model already. Try again later.",
                position=len(self._line) + 1,
                retry_after=self._retry_after(),
            )
        self._line.join(ticket, ticket.priority, ticket.tenant, _now())
        return False

    def expire(self, ticket: "Ticket") -> None:
        """Its time is up; one whose turn has come, or who is going anyway, is not concerned."""
        if not ticket.turn.done():
            self._line.leave(ticket)
            ticket.turn.set_result(False)

    def withdraw(self, ticket: "Ticket") -> None:
        """It goes away; if its turn had come in the same tick, the next one gets it."""
        self.left += 1
        if not self._line.leave(ticket) and ticket.granted:
            self.running -= 1
            self._admit()

    def started(self, waited: float) -> None:
        """Somebody has taken up its slot."""
        self.served += 1
        self.pace.waited(waited)

    def give_back(self, seconds: float) -> None:
        """Somebody who ran that long has ended; the next one starts."""
        self.pace.served(seconds)
        self.running -= 1
        self._admit()

    def timeout(self) -> QueueTimeout:
        """Somebody whose time was up goes with this."""
        self.timed_out += 1
        return QueueTimeout(f"No slot came free within {self.patience:g} s.", retry_after=self._retry_after())

    def position(self, ticket: "Ticket") -> int:
        """1 for who goes next; 0 for who does not wait."""
        return self._line.ahead(ticket, _now()) + 1 if ticket in self._line else 0

    def expected_wait(self, position: int) -> float:
        """Seconds until that many have been let in, by the measured service rate."""
        surplus = max(0, self.running - self._slots)
        return (position + surplus) * self.pace.service / self._slots if position else 0.0

    def longest_wait(self) -> float:
        """Seconds for which the one that came first of those who wait has waited; 0 when nobody waits."""
        first = self._line.eldest()
        return _now() - first.asked if first is not None else 0.0

    def stats(self) -> QueueStats:
        """How things are now."""
        return QueueStats(
            slots=self._slots,
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
        while self.running < self._slots and (ticket := self._line.head(_now())) is not None:
            if ticket.turn.done():  # cancelled in this tick; it takes nobody's turn with it
                self._line.leave(ticket)
            else:
                self._line.serve(ticket)
                self.running += 1
                ticket.turn.set_result(True)

    def _retry_after(self) -> float:
        """When those who wait now will have been let in; by `queue_timeout` none of them waits any more."""
        return max(1.0, min(self.expected_wait(len(self._line) + 1), self.patience))


class Ticket:
    """One request's place at a gate, from asking to leaving: `async with ticket as slot`, once.

    Who holds the ticket may look at it while another task waits in that line.

    Raises:
        QueueFull: on entering; too many wait already.
        QueueTimeout: on entering; waited longer than `admission.queue_timeout`.
    """

    __slots__ = ("_gate", "_started", "asked", "priority", "tenant", "turn")

    asked: float
    """When it came, in seconds of the loop's clock."""

    turn: asyncio.Future[bool]
    """While it waits: True once it may run, False once its time is up. The gate's own."""

    def __init__(self, gate: Gate, priority: Priority, tenant: str) -> None:
        self.priority = priority
        self.tenant = tenant
        self._gate = gate

    @property
    def position(self) -> int:
        """1 for who goes next, as things are now; 0 before and after the wait."""
        return self._gate.position(self)

    @property
    def expected_wait(self) -> float:
        """Seconds until it may run, by its position and the measured service rate; 0 before and after the wait."""
        return self._gate.expected_wait(self.position)

    @property
    def granted(self) -> bool:
        """Whether its turn has come."""
        return self.turn.done() and not self.turn.cancelled() and self.turn.result()

    async def __aenter__(self) -> Slot:
        self.asked = _now()
        if not self._gate.enter(self):
            await self._wait()
        self._started = _now()
        self._gate.started(self._started - self.asked)
        return Slot(waited=self._started - self.asked)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.give_back(_now() - self._started)

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self.turn = loop.create_future()
        alarm = loop.call_later(self._gate.patience, self._gate.expire, self)
        answered = False
        try:
            granted = await self.turn
            answered = True
        finally:
            alarm.cancel()
            if not answered:
                self._gate.withdraw(self)
        if not granted:
            raise self._gate.timeout()


def _now() -> float:
    return asyncio.get_running_loop().time()
