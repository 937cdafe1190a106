"""Which deployment of a model takes a request, and whether asking another one helps when it failed.

A deployment that fails again and again is left alone for a while; after that one request at a time tries it.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from enginehouse.core.catalogue import Catalogue
from enginehouse.core.routes.breaker import Breaker
from enginehouse.core.routes.choice import Host, Rule, choose
from enginehouse.core.routes.lookout import Lookout
from enginehouse.errors import EnginehouseError, ModelNotFound, UpstreamBusy, UpstreamRefused
from enginehouse.settings.schema import RoutingSettings
from enginehouse.types import Deployment, Model

__all__ = ["Routes", "Visit"]


class Routes:
    """Chooses among the deployments of a model, then among its fall-backs.

    Args:
        catalogue: what fall-backs are.
        settings: how to choose, how often to ask again, and when to leave a deployment alone.
        clock: seconds.
        draw: a number from 0 to 1, for pauses that are not all alike.
        lookout: how servers are; all are taken to be well when left out.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        settings: RoutingSettings,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
        lookout: Lookout | None = None,
    ) -> None:
        self.settings = settings
        self.lookout = lookout or Lookout()
        self._catalogue = catalogue
        self._clock = clock
        self._draw = draw
        self._breakers: dict[str, Breaker] = {}
        self._asked: dict[str, int] = {}
        """Which request was the last of each deployment, counted over all of them."""
        self._count = 0

    def adopt(self, settings: RoutingSettings) -> None:
        """New settings count from the next decision on."""
        self.settings = settings

    def forget(self, deployments: Iterable[Deployment]) -> None:
        """They are gone."""
        for deployment in deployments:
            self._breakers.pop(deployment.id, None)
            self._asked.pop(deployment.id, None)

    def breaker(self, deployment: Deployment) -> Breaker:
        """Of one deployment."""
        known = self._breakers.get(deployment.id)
        if known is None:
            known = self._breakers[deployment.id] = Breaker(self._clock)
        return known

    def left_alone(self, deployment: Deployment) -> bool:
        """Whether it is not asked now, as it has failed again and again.

        Engines that run here have residency's own breaker.
        """
        return not deployment.engine.here and self.breaker(deployment).open

    def visit(self, deployment: Deployment) -> "Visit":
        """One request's stay at a deployment, from the choice of it on, so that who waits there counts too.

        How it ends is told to the breaker; a caller who left says nothing of the deployment.
        """
        return Visit(self, deployment)

    def began(self, deployment: Deployment, breaker: Breaker, number: int = 1) -> bool:
        """So many go there; returns whether they try a deployment that was left alone.

        Args:
            deployment: where.
            breaker: its.
            number: how many.
        """
        self._count += number
        self._asked[deployment.id] = self._count
        return breaker.began(number)

    def ended(
        self,
        deployment: Deployment,
        breaker: Breaker,
        error: BaseException | None,
        number: int = 1,
        *,
        trying: bool,
    ) -> None:
        """So many have ended, alike.

        Args:
            deployment: where they were.
            breaker: its, as they came.
            error: how they ended, if it was not by an answer.
            number: how many.
            trying: as `began` said, of any of them.
        """
        if error is None:
            breaker.went_well()
            self.lookout.answered(deployment)
        elif isinstance(error, EnginehouseError):
            breaker.failed(error, self.settings)
        breaker.ended(number, trying=trying)

    def pick(
        self, model: Model, tried: Collection[str] = (), head: Callable[[], bytes] = bytes
    ) -> Deployment | None:
        """The deployment that is asked; None when there is none left.

        Args:
            model: whose.
            tried: ids that are not to be asked now.
            head: what a conversation begins with, asked for only where there is a choice.
        """
        fresh = [one for one in model.deployments if one.id not in tried and not self.left_alone(one)]
        if len(fresh) < 2:
            return fresh[0] if fresh else None
        well = [one for one in fresh if self.lookout.up(one)] or fresh
        hosts = dict(zip(_names(well), well, strict=True))
        rule = Rule(cold_cost=self.settings.cold_cost, affinity=self.settings.affinity)
        chosen = choose([self._host(*one) for one in hosts.items()], head() if rule.affinity else b"", rule)
        return None if chosen is None else hosts[chosen.name]

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

    def _host(self, name: str, deployment: Deployment) -> Host:
        running = self.breaker(deployment).running
        return Host(
            name=name,
            outstanding=running,
            weight=deployment.weight,
            slots=deployment.slots,
            warm=running > 0 or self.lookout.warm(deployment),
            asked=self._asked.get(deployment.id, 0),
        )


def _names(deployments: Sequence[Deployment]) -> list[str]:
    """By address, so that every replica ranks servers alike, whatever stands beside them in the settings."""
    seen: Counter[str] = Counter()
    names: list[str] = []
    for one in deployments:
        address = one.base_url or one.id
        names.append(f"{seen[address]} {address}")
        seen[address] += 1
    return names


class Visit:
    """One request's stay at a deployment, as a context; from `Routes.visit`."""

    def __init__(self, routes: Routes, deployment: Deployment) -> None:
        self._routes = routes
        self._deployment = deployment
        self._breaker = routes.breaker(deployment)

    def __enter__(self) -> None:
        self._trying = self._routes.began(self._deployment, self._breaker)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._routes.ended(self._deployment, self._breaker, error, trying=self._trying)
