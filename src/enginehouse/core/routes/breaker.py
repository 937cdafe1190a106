"""One deployment's breaker: whether it is asked now, by how its last requests ended."""

from collections.abc import Callable

from enginehouse.errors import (
    EngineError,
    EnginehouseError,
    UpstreamBusy,
    UpstreamDied,
    UpstreamRefused,
    UpstreamTimeout,
)
from enginehouse.settings.schema import RoutingSettings

__all__ = ["Breaker", "may_help"]

_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""What a server answers when another try, there or elsewhere, may go well."""


def may_help(error: EnginehouseError) -> bool:
    """Whether the same request may go well elsewhere or later."""
    if isinstance(error, UpstreamRefused):
        return error.status is None or error.status in _TRANSIENT
    return isinstance(error, UpstreamDied | UpstreamTimeout)


class Breaker:
    """Whether one deployment is asked; no method waits.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.running = 0
        """Requests that are there now."""
        self.busy = False
        """Whether it last said that it is asked too much."""
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether it is left alone now."""
        return self._clock() < self._until or (self._until > 0 and self._probing)

    @property
    def tries(self) -> bool:
        """Whether it has been left alone, and whoever goes there next tries it."""
        return self._until > 0

    @property
    def reopens(self) -> float:
        """Seconds until it is tried again."""
        return max(self._until - self._clock(), 0.0)

    def began(self, number: int = 1) -> bool:
        """So many requests go there; returns whether they try a deployment that was left alone."""
        self.running += number
        trying = self._until > 0 and not self._probing
        self._probing = self._probing or trying
        return trying

    def ended(self, number: int = 1, *, trying: bool) -> None:
        """So many are over, however they went.

        Args:
            number: how many.
            trying: as `began` said, of any of them.
        """
        self.running -= number
        if trying:
            self._probing = False

    def went_well(self) -> None:
        """An answer came whole."""
        self._failures, self._until = 0, 0.0

    def failed(self, error: EnginehouseError, settings: RoutingSettings) -> None:
        """None came; what is not the deployment's fault says nothing of it."""
        if not (isinstance(error, EngineError) and may_help(error)):
            return
        self._failures += 1
        self.busy = isinstance(error, UpstreamBusy)
        wait = error.retry_after or 0.0
        if self._failures >= settings.breaker_failures:
            wait = max(wait, settings.breaker_cooldown)
        if wait:
            self._until = self._clock() + min(wait, settings.max_retry_after)
        elif self._clock() >= self._until:
            self._until = 0.0
