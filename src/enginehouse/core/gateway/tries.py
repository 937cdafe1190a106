"""One request's tries: which deployment is asked next, and whether another try helps after a failure."""

import asyncio
from collections.abc import Callable

from enginehouse.core.gateway.seats import Seating
from enginehouse.core.routes import Routes, may_help
from enginehouse.errors import EnginehouseError, LoadTimeout, ModelLoadFailed, QueueFull, QueueTimeout, UpstreamDied
from enginehouse.types import Deployment, Model, Request

__all__ = ["Tries"]

_ELSEWHERE = (QueueFull, QueueTimeout, ModelLoadFailed, LoadTimeout)
"""What asking the same deployment again does not help, but another one may."""


class Tries:
    """Before the first byte only: after it nothing is asked twice.

    Args:
        request: whose.
        seats: what names mean, and whether an engine here came down.
        routes: who is asked.
        head: what its conversation begins with; empty where it has none.
    """

    def __init__(self, request: Request, seats: Seating, routes: Routes, head: Callable[[], bytes] = bytes) -> None:
        self._request = request
        self._seats = seats
        self._routes = routes
        self._head = head
        self._begins: bytes | None = None
        self._tried: set[str] = set()
        self._failures: dict[str, int] = {}
        self._revived = False
        self._error: EnginehouseError | None = None

    async def first(self) -> tuple[Model, Deployment]:
        """Where to ask first; after what was tried before, where and when that helps.

        Raises:
            EnginehouseError: as `next`, or as that try has failed.
        """
        tried = self._request.tried
        if tried is not None and not await self.again(tried.deployment, tried.error):
            raise tried.error
        return self.next()

    def next(self) -> tuple[Model, Deployment]:
        """Where to ask now; names are resolved anew each time, since they may mean another model by then.

        Raises:
            ModelNotFound, InvalidRequest, PermissionDenied: the request can be answered nowhere.
            UpstreamRefused: every deployment is left alone for a while.
        """
        model = self._seats.resolve(self._request, self._request.model)
        found = self._fresh(model)
        if found is None:
            raise self._error or self._routes.refusal(model)
        return found

    async def again(self, deployment: Deployment, error: EnginehouseError) -> bool:
        """Whether to ask once more; waits before the same deployment is asked again."""
        self._error = error
        if deployment.base_url is None and await self._came_down(deployment, error):
            return True
        if not (may_help(error) or isinstance(error, _ELSEWHERE)):
            return False
        self._tried.add(deployment.id)
        failures = self._failures[deployment.id] = self._failures.get(deployment.id, 0) + 1
        if self._fresh(self._seats.resolve(self._request, self._request.model)) is not None:
            return True
        if deployment.base_url is None or not may_help(error) or failures > self._routes.settings.retries:
            return False
        pause = self._routes.pause(failures, error)
        if pause is None:
            return False
        await asyncio.sleep(pause)
        self._tried.discard(deployment.id)
        return True

    async def _came_down(self, deployment: Deployment, error: EnginehouseError) -> bool:
        """Once: an engine process that has just ended has a fresh one the next time."""
        if self._revived or not isinstance(error, UpstreamDied):
            return False
        self._revived = await self._seats.came_down(deployment)
        return self._revived

    def _fresh(self, model: Model) -> tuple[Model, Deployment] | None:
        for one in self._routes.alternatives(model):
            deployment = self._routes.pick(one, self._tried, self._beginning)
            if deployment is not None:
                return one, deployment
        return None

    def _beginning(self) -> bytes:
        """What the conversation begins with, told once."""
        if self._begins is None:
            self._begins = self._head()
        return self._begins
