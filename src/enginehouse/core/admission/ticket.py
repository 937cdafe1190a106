"""A request's place at a gate, what it gets there, and what the gate can tell of all who came."""

import asyncio
from types import TracebackType
from typing import Literal, Protocol

from msgspec import Struct

from enginehouse.errors import QueueTimeout
from enginehouse.types import Priority

__all__ = ["QueueStats", "Slot", "Ticket", "Turnstile"]


class Slot(Struct, frozen=True, kw_only=True):
    """The right to run now on one of a deployment's parallel sequences."""

    waited: float
    """Seconds spent in the line."""


class QueueStats(Struct, frozen=True, kw_only=True):
    """A deployment's line at one instant, and what has become of all who asked."""

    scope: Literal["replica", "shared", "alone"] = "replica"
    """Whose numbers these are: of a line that is always this replica's own, of all replicas, or of this replica
    alone because the store of their common line is away."""

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


class Turnstile(Protocol):
    """What a ticket is for: the gate that lets it in. Where its line is kept is the gate's own affair."""

    @property
    def patience(self) -> float:
        """Seconds somebody who comes now may wait."""
        ...

    def enter(self, ticket: "Ticket") -> bool:
        """Run at once (True), or wait for `ticket.turn` (False).

        Raises:
            QueueFull: too many wait already; a gate that learns so later raises it through `ticket.turn`.
        """
        ...

    def expire(self, ticket: "Ticket") -> None:
        """Its time is up; one whose turn has come, or who is going anyway, is not concerned."""
        ...

    def withdraw(self, ticket: "Ticket") -> None:
        """It goes away while it waits, or in the tick in which its turn came."""
        ...

    def started(self, waited: float) -> None:
        """Somebody has taken up its slot."""
        ...

    def give_back(self, ticket: "Ticket", seconds: float) -> None:
        """It ran that long and has ended."""
        ...

    def timeout(self) -> QueueTimeout:
        """Somebody whose time was up goes with this."""
        ...

    def position(self, ticket: "Ticket") -> int:
        """1 for who goes next; 0 for who does not wait."""
        ...

    def expected_wait(self, position: int) -> float:
        """Seconds until that many have been let in, by the measured service rate."""
        ...


class Ticket:
    """One request's place at a gate, from asking to leaving: `async with ticket as slot`, once.

    Who holds the ticket may look at it while another task waits in that line.

    Raises:
        QueueFull: on entering; too many wait already.
        QueueTimeout: on entering; waited longer than `admission.queue_timeout`.
    """

    __slots__ = ("_gate", "_started", "asked", "limit", "priority", "stood", "tenant", "turn")

    asked: float
    """When it came, in seconds of the loop's clock."""

    turn: asyncio.Future[bool]
    """While it waits: True once it may run, False once its time is up. The gate's own."""

    stood: int
    """Where it stood when it came; 0 when it had not to wait. The gate's own."""

    def __init__(self, gate: Turnstile, priority: Priority, tenant: str, limit: int | None = None) -> None:
        self.priority = priority
        self.tenant = tenant
        self.limit = limit
        self.stood = 0
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

    def within(self, limit: int) -> int:
        """How many may wait when it comes, where that many may at all."""
        return limit if self.limit is None else min(limit, self.limit)

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
        self._gate.give_back(self, _now() - self._started)

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
