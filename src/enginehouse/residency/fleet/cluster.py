"""A fleet on Ray: the detached actor that owns what is where, and how replicas speak to it.

Ray starts the owner again when it dies.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import structlog

from enginehouse.errors import SettingsError
from enginehouse.residency.base import Terms
from enginehouse.residency.fleet.base import Answer, OwnerAway, Refusal, Report, Stay
from enginehouse.residency.fleet.grid import RayError, RayGrid, first_line, ray
from enginehouse.residency.fleet.keeper import Outfit
from enginehouse.residency.fleet.owner import Owner
from enginehouse.residency.fleet.views import FleetView
from enginehouse.residency.launchers.llama import connecting
from enginehouse.settings.environment import keep_ray_quiet
from enginehouse.settings.schema import FleetSettings, ResidencySettings
from enginehouse.types import Deployment

__all__ = ["RayLine", "join", "leave", "open_line"]

log = structlog.get_logger()

T = TypeVar("T")

_OWNER = "owner"
_LONGEST_BEAT = 10.0
_MOST_AT_ONCE = 10_000
"""Calls that the owner serves at once: each replica's beat, and whatever waits for a load."""
_HEAD = "node:__internal_head__"
"""Resource that the head alone has. The owner is there: without the head there is no cluster, so that no other
machine's loss is the owner's."""
_A_TRACE = 0.001


class OwnerHost:
    """The owner as an actor: begins when it is told to run, also after Ray has started it again.

    Args:
        outfit, residency, settings: as of the replica that came first.
    """

    def __init__(self, outfit: Outfit, residency: ResidencySettings, settings: FleetSettings) -> None:
        grid = RayGrid(outfit, settings.cpus)
        self._make = partial(Owner, grid, connecting(outfit.silence), residency, settings)
        self._owner: asyncio.Future[Owner] | None = None
        self._runs = False

    async def run(self) -> None:
        """Until nobody wants it; who comes second is told at once.

        What it cannot live through ends it, and Ray begins anew.
        """
        if self._runs:
            return
        self._runs = True
        try:
            async with self._make() as owner:
                self._opened().set_result(owner)
                try:
                    await owner.run()
                except BaseException:
                    log.exception("fleet_owner_failed")
                    os._exit(1)  # at once: whoever comes next takes the engines over
        except BaseException:
            log.exception("fleet_owner_not_opened")
            os._exit(1)
        log.info("fleet_owner_unwanted")
        ray.actor.exit_actor()  # for good: the next replica lets there be another

    async def hold(self, replica: str, ticket: str, deployment: Deployment, terms: Terms) -> Stay | Refusal:
        """As `Line` has it."""
        return await (await self._opened()).hold(replica, ticket, deployment, terms)

    async def release(self, replica: str, ticket: str, fault: str | None) -> None:
        """As `Line` has it."""
        await (await self._opened()).release(replica, ticket, fault)

    async def beat(self, replica: str, tickets: Sequence[str], reports: Sequence[Report]) -> Answer:
        """As `Line` has it."""
        return await (await self._opened()).beat(replica, tickets, reports)

    async def view(self) -> FleetView:
        """As `Line` has it."""
        return await (await self._opened()).view()

    def _opened(self) -> "asyncio.Future[Owner]":
        if self._owner is None:
            self._owner = asyncio.get_running_loop().create_future()
        return self._owner


class RayLine:
    """Satisfies `Line`: finds the owner, or lets it be, and finds it again.

    Args:
        owner: gets its handle, by whatever takes a moment.
    """

    def __init__(self, owner: Callable[[], Any]) -> None:
        self._find = owner
        self._owner: Any = None

    async def open(self) -> None:
        """Find the owner, and see to it that it runs.

        Raises:
            OwnerAway: the cluster does not answer.
        """
        try:
            self._owner = await asyncio.to_thread(self._find)
            self._owner.run.remote()
        except (RayError, ValueError, ConnectionError) as error:
            raise OwnerAway(first_line(error)) from error

    async def hold(self, replica: str, ticket: str, deployment: Deployment, terms: Terms) -> Stay | Refusal:
        """Asked of the owner."""
        return await self._call(lambda owner: owner.hold.remote(replica, ticket, deployment, terms))

    async def release(self, replica: str, ticket: str, fault: str | None) -> None:
        """Told to the owner."""
        async with _in_time():
            await self._call(lambda owner: owner.release.remote(replica, ticket, fault))

    async def beat(self, replica: str, tickets: Sequence[str], reports: Sequence[Report]) -> Answer:
        """Told to the owner, who answers when there is something to tell."""
        async with _in_time():
            return await self._call(lambda owner: owner.beat.remote(replica, tickets, reports))

    async def view(self) -> FleetView:
        """Asked of the owner."""
        async with _in_time():
            return await self._call(lambda owner: owner.view.remote())

    async def _call(self, asking: Callable[[Any], Awaitable[T]]) -> T:
        if self._owner is None:
            await self.open()
        try:
            return await asking(self._owner)
        except RayError as error:
            self._owner = None
            raise OwnerAway(first_line(error)) from error


async def open_line(outfit: Outfit, residency: ResidencySettings, settings: FleetSettings) -> RayLine:
    """Join the cluster, and find the owner there.

    Raises:
        SettingsError: there is no such cluster.
    """
    await join(settings)
    line = RayLine(partial(_owner_of, outfit, residency, settings))
    with suppress(OwnerAway):  # it is asked again with every beat
        await line.open()
    return line


async def join(settings: FleetSettings) -> None:
    """Be one of the cluster's processes.

    Raises:
        SettingsError: there is no such cluster.
    """
    keep_ray_quiet()
    joining = partial(
        ray.init,
        address=settings.ray.address,
        namespace=settings.ray.namespace,
        log_to_driver=False,
        logging_level="ERROR",
        ignore_reinit_error=True,
    )
    try:
        # Beside the loop, since it takes seconds; and where it cannot take the signal by which we are stopped.
        await asyncio.to_thread(joining)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"There is no Ray cluster at fleet.ray.address {settings.ray.address!r} ({first_line(error)}). Start "
            "one (`ray start --head`), or set fleet.placement: local."
        ) from error


async def leave() -> None:
    """Leave the cluster; what runs there goes on."""
    await asyncio.to_thread(ray.shutdown)


def _owner_of(outfit: Outfit, residency: ResidencySettings, settings: FleetSettings) -> Any:
    return _owner_host.options(
        name=_OWNER,
        namespace=settings.ray.namespace,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_concurrency=_MOST_AT_ONCE,
        num_cpus=0,
        resources={_HEAD: _A_TRACE},
    ).remote(outfit, residency, settings)


@asynccontextmanager
async def _in_time() -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(_LONGEST_BEAT):
            yield
    except TimeoutError as error:
        raise OwnerAway(f"no answer within {_LONGEST_BEAT:g} s") from error


_remote: Any = ray.remote
_owner_host: Any = _remote(OwnerHost)
