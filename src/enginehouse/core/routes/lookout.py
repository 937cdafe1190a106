"""How servers of models with several of them are, looked at beside the requests: who answers, who has what loaded.

A server that does not answer is passed over while another one does, before any request has to find that out;
what is known is advice, and the requests' own experience (`breaker`) comes first.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import structlog
from msgspec import Struct

from enginehouse.engines.looking import Sight, look
from enginehouse.settings.secrecy import without_passwords
from enginehouse.types import Deployment, Model

__all__ = ["Look", "Lookout"]

log = structlog.get_logger()

Look: TypeAlias = Callable[[Deployment, float], Awaitable[Sight | None]]
"""Looks at a deployment's server, which may take so many seconds; None where it is not to be asked."""

_MISSES = 2
"""Looks in a row without an answer after which a server counts as away."""
_AGAIN = 1.0
"""Seconds after the first of them until the second."""
_PATIENCE = 3.0
"""Seconds that one may take."""


class Server(Struct):
    """What is known of one server."""

    due: float = 0.0
    """When it is looked at next, by the clock."""
    misses: int = 0
    """Looks in a row that found nobody."""
    loaded: frozenset[str] | None = None
    """Models in its memory; None as long as it has not told."""


class Lookout:
    """Looks at servers now and then.

    Args:
        look: how.
        clock: seconds that never go back.
    """

    def __init__(self, look: Look = look, clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._clock = clock
        self._servers: dict[str, Server] = {}

    async def review(self, models: Iterable[Model], interval: float) -> None:
        """Look at those whose turn it is, side by side.

        Args:
            models: all there are; servers of those with one server only are nobody's choice.
            interval: seconds between two looks at a server that answers.
        """
        places = _by_address(models)
        self._servers = {address: self._servers.get(address, Server()) for address in places}
        async with asyncio.TaskGroup() as group:
            for address, place in places.items():
                server = self._servers[address]
                if self._clock() >= server.due:
                    group.create_task(self._visit(server, place, interval), name=f"look at {place.id}")

    def up(self, deployment: Deployment) -> bool:
        """Whether its server answered when it was last looked at; one that never was is taken to do so."""
        server = self._servers.get(_address(deployment))
        return server is None or server.misses < _MISSES

    def warm(self, deployment: Deployment) -> bool:
        """Whether it has the model in memory, as far as is known."""
        server = self._servers.get(_address(deployment))
        return server is None or server.loaded is None or not server.loaded.isdisjoint(_names(deployment))

    def answered(self, deployment: Deployment) -> None:
        """It must have the model in memory now."""
        if not self._servers:  # as where nobody has a choice
            return
        server = self._servers.get(_address(deployment))
        if server is not None and server.loaded is not None:
            server.loaded |= {deployment.name_there}

    async def _visit(self, server: Server, place: Deployment, interval: float) -> None:
        sight = await self._look(place, _PATIENCE)
        was_away = server.misses >= _MISSES
        server.misses = server.misses + 1 if sight and sight.trouble else 0
        server.due = self._clock() + (_AGAIN if 0 < server.misses < _MISSES else interval)
        if sight is None or not sight.trouble:
            server.loaded = sight.loaded if sight else None
        if was_away != (server.misses >= _MISSES):
            _tell(place, sight)


def _tell(place: Deployment, sight: Sight | None) -> None:
    address = without_passwords(place.base_url or "")
    if sight is not None and sight.trouble:
        log.warning("server_away", address=address, error=sight.trouble)
    else:
        log.info("server_back", address=address)


def _by_address(models: Iterable[Model]) -> dict[str, Deployment]:
    """One place of every server that somebody has to choose."""
    every = (place for model in models if len(model.deployments) > 1 for place in model.deployments)
    return {_address(place): place for place in every if place.base_url is not None}


def _address(place: Deployment) -> str:
    return f"{place.engine.value} {place.base_url}"


def _names(place: Deployment) -> tuple[str, str]:
    """As its server may call it: without a tag the latest one is meant."""
    return place.name_there, f"{place.name_there}:latest"
