"""Admission: who runs now and who waits, one bounded first-in-first-out line per deployment."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from msgspec import Struct

from enginehouse.errors import QueueFull, QueueTimeout
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.types import Deployment

__all__ = ["Admission", "Slot"]

_RATE_MEMORY = 0.2
"""Weight of the newest service time in the running mean."""


class Slot(Struct, frozen=True, kw_only=True):
    """The right to run now on one of a deployment's parallel sequences."""

    waited: float
    """Seconds spent in the line."""


class Admission:
    """Owner of every line.

    Args:
        settings: how many may wait, and for how long.
    """

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._lines: dict[str, _Line] = {}

    def adopt(self, settings: AdmissionSettings) -> None:
        """New limits count for who comes next."""
        self._settings = settings

    @asynccontextmanager
    async def slot(self, deployment: Deployment) -> AsyncGenerator[Slot]:
        """A slot, first come first served; leaving the context passes it on.

        Raises:
            QueueFull: too many wait already; `retry_after` follows from the measured service time.
            QueueTimeout: waited longer than `admission.queue_timeout`.
        """
        line = self._lines.setdefault(deployment.id, _Line())
        line.slots = deployment.slots
        asked = _now()
        if not line.take():
            await self._wait(line)
        started = _now()
        try:
            yield Slot(waited=started - asked)
        finally:
            line.give_back(_now() - started)

    async def _wait(self, line: "_Line") -> None:
        if len(line.waiters) >= self._settings.max_queue_size:
            raise QueueFull(
                f"{len(line.waiters)} requests wait for this model already. Try again later.",
                retry_after=line.expected_wait(),
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiters.append(turn)
        try:
            async with asyncio.timeout(self._settings.queue_timeout):
                await turn
        except TimeoutError:
            line.leave(turn)
            raise QueueTimeout(
                f"No slot came free within {self._settings.queue_timeout:g} s.", retry_after=line.expected_wait()
            ) from None
        except asyncio.CancelledError:
            line.leave(turn)
            raise


class _Line:
    """One deployment's running count and waiters."""

    def __init__(self) -> None:
        self.slots = 1
        self.running = 0
        self.waiters: deque[asyncio.Future[None]] = deque()
        self._service_time = 1.0

    def take(self) -> bool:
        """A slot at once, unless somebody was here before."""
        if self.running >= self.slots or self.waiters:
            return False
        self.running += 1
        return True

    def give_back(self, service_time: float | None = None) -> None:
        """One ends; those who wait start while there is room."""
        if service_time is not None:
            self._service_time += _RATE_MEMORY * (service_time - self._service_time)
        self.running -= 1
        while self.waiters and self.running < self.slots:
            turn = self.waiters.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    def leave(self, turn: "asyncio.Future[None]") -> None:
        """A waiter goes; if its turn had come in the same tick, the next one gets it."""
        if turn in self.waiters:
            self.waiters.remove(turn)
        elif turn.done() and not turn.cancelled():
            self.give_back()

    def expected_wait(self) -> float:
        """Seconds until somebody who comes now would run, by the mean service time so far."""
        return max(1.0, (len(self.waiters) + 1) * self._service_time / self.slots)


def _now() -> float:
    return asyncio.get_running_loop().time()
