"""What a gate has measured: how long a slot is held, and how long those who got one had waited."""

from collections import deque
from itertools import repeat
from math import ceil

__all__ = ["Pace"]

_WINDOW = 512
"""Waits that percentiles are taken from: the newest."""

_NEWEST = 0.2
"""Weight of the newest service time in the running mean."""

_GUESS = 1.0
"""Seconds a slot is held, as long as nobody knows."""


class Pace:
    """Measured times of one deployment, in bounded memory."""

    def __init__(self) -> None:
        self._waits: deque[float] = deque(maxlen=_WINDOW)
        self._service: float | None = None

    @property
    def service(self) -> float:
        """Mean seconds a slot is held, the newest counting most."""
        return _GUESS if self._service is None else self._service

    def waited(self, seconds: float, number: int = 1) -> None:
        """So many got a slot after so long."""
        self._waits.extend(repeat(seconds, number))

    def served(self, *seconds: float) -> None:
        """Some gave a slot back after so long, one after the other."""
        service = self._service
        for each in seconds:
            service = each if service is None else service + _NEWEST * (each - service)
        self._service = service

    def wait(self, share: float) -> float | None:
        """The shortest wait that this share of the window did not exceed, in seconds; None before the first."""
        if not self._waits:
            return None
        return sorted(self._waits)[max(ceil(share * len(self._waits)) - 1, 0)]
