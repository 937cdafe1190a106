"""A replica's side of a fleet: loading is asking the owner for an engine, and telling it how that is used."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol, Self
from uuid import uuid4

import structlog
from msgspec import Struct, structs

from enginehouse.engines.metadata import Weight
from enginehouse.errors import EnginehouseError, ModelLoadFailed, OutOfMemory, UpstreamDied
from enginehouse.residency.base import Loaded, Terms, Watcher
from enginehouse.residency.fleet.base import (
    Connect,
    Ended,
    Line,
    OwnerAway,
    Recalled,
    Refusal,
    Report,
    Sign,
    Stay,
    Tiding,
    error_of,
)
from enginehouse.residency.fleet.views import FleetView
from enginehouse.residency.placement import places
from enginehouse.residency.policy import Footprint
from enginehouse.types import Deployment, EngineName

__all__ = ["FLEET_ENGINES", "FleetLauncher", "Sight", "places_beside_fleet"]

log = structlog.get_logger()

FLEET_ENGINES = frozenset({EngineName.LLAMA_SERVER})
"""What lies on the nodes; what is small, and runs within the service, stays with each replica."""
_AWAY = 0.5
"""Seconds after which an owner that did not answer is asked again."""
_LOOK = 5.0
"""Seconds between two looks at the whole fleet."""


def places_beside_fleet(deployment: Deployment, weight: Weight, gpus: Mapping[int, int]) -> tuple[Footprint, ...]:
    """Where something may lie in a replica: what is on the nodes takes nothing here."""
    return ({},) if deployment.engine in FLEET_ENGINES else places(deployment, weight, gpus)


class Sight(Struct, frozen=True, kw_only=True):
    """What is known here of the whole fleet."""

    view: FleetView | None = None
    """As the owner told it last."""
    at: float = 0.0
    """When that was, on the clock of the event loop."""
    away: str | None = None
    """Why the owner did not answer when it was last asked."""


class Tenants(Protocol):
    """The replica's residency, as the launcher needs it."""

    def vacate(self, deployment_id: str) -> None:
        """It shall be let go once its running requests have ended."""
        ...

    def leased(self, deployment_id: str) -> tuple[int, int, Terms]:
        """Requests that use it now, those since the start, and its terms."""
        ...


class _Ticket:
    def __init__(self, deployment: Deployment, watcher: Watcher, asked: int) -> None:
        self.id = uuid4().hex
        self.deployment = deployment
        self.watcher = watcher
        self.asked = asked
        self.stay: Stay | None = None
        self.over = False
        """Whether the owner has said that the engine is no more."""
        self.asking = False
        """Whether the owner, having begun anew, is asked again."""

    @property
    def held(self) -> bool:
        """Whether the owner should know of it."""
        return self.stay is not None and not self.over and not self.asking


class FleetLauncher:
    """Satisfies `Launcher`.

    Args:
        line: to the owner.
        connect: opens the way to an engine.
        name: of this replica, unlike any other's.
    """

    def __init__(self, line: Line, connect: Connect, name: str) -> None:
        self._line = line
        self._connect = connect
        self._name = name
        self._tasks = asyncio.TaskGroup()
        self._tickets: dict[str, _Ticket] = {}
        self._tenants: Tenants | None = None
        self._side: list[asyncio.Task[None]] = []
        self.sight = Sight()
        """The fleet, as it was a moment ago."""

    async def __aenter__(self) -> Self:
        """Begin to tell the owner that we live."""
        await self._tasks.__aenter__()
        for run, name in ((self._beat, "fleet beat"), (self._watch, "fleet watch")):
            self._side.append(self._tasks.create_task(run(), name=name))
        return self

    async def __aexit__(self, *error: object) -> None:
        """Everything has been given back."""
        for task in self._side:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def serve(self, tenants: Tenants) -> None:
        """For whom it loads."""
        self._tenants = tenants

    async def look(self) -> None:
        """Ask the owner how the fleet is.

        Raises:
            UpstreamDied: it does not answer.
        """
        try:
            view = await self._line.view()
        except OwnerAway as away:
            self.sight = structs.replace(self.sight, away=str(away))
            raise UpstreamDied(f"The owner of the fleet does not answer ({away}).") from away
        self.sight = Sight(view=view, at=asyncio.get_running_loop().time())

    async def weigh(self, deployment: Deployment, watcher: Watcher) -> int:
        """Nothing here."""
        del deployment, watcher
        return 0

    @asynccontextmanager
    async def load(self, deployment: Deployment, watcher: Watcher) -> AsyncGenerator[Loaded]:
        """Wait for the owner to have it loaded, and hold it."""
        ticket = _Ticket(deployment, watcher, self._leased(deployment.id)[1])
        self._tickets[ticket.id] = ticket
        fault: str | None = None
        try:
            ticket.stay = stay = await self._ask(ticket)
            watcher.progressed(f"it is on node {stay.node}")
            async with self._connect(deployment, stay.door) as engine:
                yield Loaded(engine=engine, port=stay.door.port, door=stay.door)
        except ModelLoadFailed as error:
            fault = error.message if ticket.stay is not None and not ticket.over else None
            raise
        finally:
            del self._tickets[ticket.id]
            with suppress(OwnerAway):
                await self._line.release(self._name, ticket.id, fault)

    def _leased(self, deployment_id: str) -> tuple[int, int, Terms]:
        assert self._tenants is not None, "it is told for whom it loads before it loads"
        return self._tenants.leased(deployment_id)

    async def _ask(self, ticket: _Ticket) -> Stay:
        terms = self._leased(ticket.deployment.id)[2]
        while True:
            try:
                answer = await self._line.hold(self._name, ticket.id, ticket.deployment, terms)
            except OwnerAway as away:
                ticket.watcher.progressed(f"the owner of the fleet does not answer ({away})")
                await asyncio.sleep(_AWAY)
                continue
            if isinstance(answer, Stay):
                return answer
            raise _raised(answer)

    async def _beat(self) -> None:
        while True:
            try:
                answer = await self._line.beat(self._name, self._known(), self._reports())
            except OwnerAway as away:
                log.warning("fleet_owner_away", error=str(away), again_in=_AWAY)
                await asyncio.sleep(_AWAY)
                continue
            for tiding in answer.tidings:
                self._hear(tiding)
            for lost in answer.unknown:
                if (ticket := self._tickets.get(lost)) is not None and ticket.held:
                    ticket.asking = True
                    self._tasks.create_task(self._ask_again(ticket), name=f"hold again {ticket.deployment.id}")

    async def _watch(self) -> None:
        while True:
            with suppress(UpstreamDied):  # the beat says so
                await self.look()
            await asyncio.sleep(_LOOK)

    def _known(self) -> list[str]:
        return [ticket.id for ticket in self._tickets.values() if ticket.held]

    def _reports(self) -> list[Report]:
        reports: list[Report] = []
        for ticket in self._tickets.values():
            if ticket.stay is not None:
                leases, asked, _ = self._leased(ticket.deployment.id)
                reports.append(Report(ticket=ticket.id, running=leases > 0, requests=asked - ticket.asked))
                ticket.asked = asked
        return reports

    async def _ask_again(self, ticket: _Ticket) -> None:
        """The owner began anew: it has found our engine where it was, or we have lost it."""
        before = ticket.stay
        try:
            ticket.stay = await self._ask(ticket)
        except EnginehouseError as error:
            self._end(ticket, error.message)
        else:
            if ticket.stay != before:
                self._end(ticket, "The owner of the fleet had it loaded anew.")
        finally:
            ticket.asking = False

    def _hear(self, tiding: Tiding) -> None:
        ticket = self._tickets.get(tiding.ticket)
        if ticket is None:
            return
        match tiding:
            case Recalled():
                if self._tenants is not None:
                    self._tenants.vacate(ticket.deployment.id)
            case Ended(reason=reason):
                self._end(ticket, reason)
            case Sign(sign=sign):
                ticket.watcher.progressed(sign)

    def _end(self, ticket: _Ticket, reason: str) -> None:
        ticket.over = True
        ticket.watcher.ended(reason)


def _raised(refusal: Refusal) -> EnginehouseError:
    """The owner has given it more memory already, if that could help."""
    error = error_of(refusal)
    if isinstance(error, OutOfMemory):
        return ModelLoadFailed(error.message, retry_after=error.retry_after)
    return error
