"""Which deployment of a model takes a request, and whether asking another one helps when it failed.

A deployment that fails again and again is left alone for a while; after that one request at a time tries it.
"""

import random
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import contextmanager

from enginehouse.core.catalogue import Catalogue
from enginehouse.errors import (
    EngineError,
    EnginehouseError,
    ModelNotFound,
    UpstreamBusy,
    UpstreamDied,
    UpstreamRefused,
    UpstreamTimeout,
)
from enginehouse.settings.schema import RoutingSettings
from enginehouse.types import Deployment, Model

__all__ = ["Breaker", "Routes", "may_help"]

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
    def reopens(self) -> float:
        """Seconds until it is tried again."""
        return max(self._until - self._clock(), 0.0)

    def began(self) -> bool:
        """A request goes there; returns whether it is the one that tries a deployment that was left alone."""
        self.running += 1
        trying = self._until > 0 and not self._probing
        self._probing = self._probing or trying
        return trying

    def ended(self, *, trying: bool) -> None:
        """It is over, however it went.

        Args:
            trying: as `began` said.
        """
        self.running -= 1
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


class Routes:
    """Chooses among the deployments of a model, then among its fall-backs.

    Args:
        catalogue: what fall-backs are.
        settings: how often to ask again, and when to leave a deployment alone.
        clock: seconds.
        draw: a number from 0 to 1, for pauses that are not all alike.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        settings: RoutingSettings,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self._catalogue = catalogue
        self._clock = clock
        self._draw = draw
        self._breakers: dict[str, Breaker] = {}

    def adopt(self, settings: RoutingSettings) -> None:
        """New settings count from the next decision on."""
        self.settings = settings

    def forget(self, deployments: Iterable[Deployment]) -> None:
        """They are gone."""
        for deployment in deployments:
            self._breakers.pop(deployment.id, None)

    def breaker(self, deployment: Deployment) -> Breaker:
        """Of one deployment."""
        known = self._breakers.get(deployment.id)
        if known is None:
            known = self._breakers[deployment.id] = Breaker(self._clock)
        return known

    @contextmanager
    def visit(self, deployment: Deployment) -> Generator[None]:
        """One request's stay at a deployment, from the choice of it on, so that who waits there counts too.

        How it ends is told to the breaker; a caller who left says nothing of the deployment.
        """
        breaker = self.breaker(deployment)
        trying = breaker.began()
        try:
            yield
            breaker.went_well()
        except EnginehouseError as error:
            breaker.failed(error, self.settings)
            raise
        finally:
            breaker.ended(trying=trying)

    def pick(self, model: Model, tried: Collection[str] = ()) -> Deployment | None:
        """The deployment with the least outstanding work for its weight; None when there is none left.

        Args:
            model: whose.
            tried: ids that are not to be asked now.
        """
        fresh = [one for one in model.deployments if one.id not in tried and not self._left_alone(one)]
        return min(fresh, key=self._load, default=None)

    def alternatives(self, model: Model) -> list[Model]:
        """The model and its fall-backs, in order; one that is not there is passed over."""
        found = [model]
        for name in model.fallbacks:
            try:
                other = self._catalogue.resolve(name)
            except ModelNotFound:
                continue
            if other.kind is model.kind and other not in found:
                found.append(other)
        return found

    def pause(self, attempt: int, error: EnginehouseError) -> float | None:
        """Seconds before asking the same deployment again; None when that would take too long.

        Args:
            attempt: how many tries have failed, from 1.
            error: how the last one did.
        """
        settings = self.settings
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= settings.max_pause else None
        return min(settings.backoff * 2 ** (attempt - 1), settings.max_pause) * (0.5 + self._draw() / 2)

    def refusal(self, model: Model) -> EnginehouseError:
        """What a caller is told when every deployment is left alone."""
        breakers = [self.breaker(one) for one in model.deployments]
        wait = min((breaker.reopens for breaker in breakers), default=0.0)
        kind = UpstreamBusy if breakers and all(breaker.busy for breaker in breakers) else UpstreamRefused
        return kind(
            f"Every server of {model.id!r} has failed or is too busy; they are tried again in {wait:.0f} s.",
            status=503,
            retry_after=max(wait, 1.0),
        )

    def _left_alone(self, deployment: Deployment) -> bool:
        """Engines that run here have residency's own breaker."""
        return not deployment.engine.here and self.breaker(deployment).open

    def _load(self, deployment: Deployment) -> float:
        return (self.breaker(deployment).running + 1) / deployment.weight
