"""The owner of a fleet's residency: one for all replicas, to which they come for engines.

It is the same residency as that of one machine, over the room of many. What is added here: replicas hold leases
from afar, which end when a replica is not heard of; nodes come and are lost; and an owner that begins anew finds
what lives already.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Self

import structlog
from msgspec import structs

from enginehouse.errors import EnginehouseError, ModelLoadFailed
from enginehouse.residency.base import Terms
from enginehouse.residency.fleet.base import (
    Answer,
    Connect,
    Ended,
    Grid,
    NodeFacts,
    OwnerAway,
    Recalled,
    Refusal,
    Report,
    Sign,
    Stay,
    Tiding,
    refusal_of,
)
from enginehouse.residency.fleet.demand import bundles
from enginehouse.residency.fleet.hands import FleetHands
from enginehouse.residency.fleet.nodes import Node
from enginehouse.residency.fleet.room import FleetRoom
from enginehouse.residency.fleet.views import FleetView, viewed
from enginehouse.residency.manager import Residency, ResidentStatus
from enginehouse.residency.memory import capacity_of
from enginehouse.residency.policy import Rules
from enginehouse.settings.schema import FleetSettings, ResidencySettings
from enginehouse.types import Deployment, EngineName, ResidentState

__all__ = ["Owner"]

log = structlog.get_logger()

_LOOK = 0.5
"""Seconds between two looks at the nodes."""
_BEAT = 1.0
"""Seconds for which a replica waits for news before it says again that it lives."""
_SUSPECTED = 10.0
"""Seconds for which nothing new comes to a node on which a replica found an engine out of order."""


class _Hold:
    """What one replica holds, or waits for."""

    def __init__(self, ticket: str, deployment: Deployment, terms: Terms) -> None:
        self.ticket = ticket
        self.deployment = deployment
        self.terms = terms
        self.answer: asyncio.Future[Stay | Refusal] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()
        self.running = False
        self.task: asyncio.Task[None] | None = None

    def let_go(self) -> None:
        """It is wanted no more, or is no more."""
        self.over.set()
        if not self.answer.done() and self.task is not None:
            self.task.cancel()


class _Replica:
    def __init__(self) -> None:
        self.until = 0.0
        self.holds: dict[str, _Hold] = {}
        self.tidings: list[Tiding] = []
        self.news = asyncio.Event()

    def tell(self, tiding: Tiding) -> None:
        self.tidings.append(tiding)
        self.news.set()


class Owner:
    """Satisfies `Line`; every method is called on one event loop.

    Args:
        grid: the nodes.
        connect: opens the way to an engine, to ask how it is.
        residency: limits and time-outs; those of memory count for each node.
        settings: what is said of the fleet.
    """

    def __init__(self, grid: Grid, connect: Connect, residency: ResidencySettings, settings: FleetSettings) -> None:
        self._grid = grid
        self._settings = settings
        self._limits = residency
        rules = Rules(max_wait=residency.max_wait, min_residency=residency.min_residency)
        self._room = FleetRoom(rules, patient=settings.autoscale)
        self._hands = FleetHands(grid, self._room, connect)
        launchers = {EngineName.LLAMA_SERVER: self._hands}
        # Whether idle models stay is for the replicas to say; what nobody holds leaves in any case.
        limits = residency.model_copy(update={"enable_idle_timeout": True})
        self._residency = Residency(launchers, limits, fleet=self._room, ram=0, on_change=self._changed)
        self._tasks = asyncio.TaskGroup()
        self._stack = AsyncExitStack()
        self._replicas: dict[str, _Replica] = {}
        self._wanted: object = ()
        self._idle_since = 0.0
        """Since when there was neither a replica nor a resident."""

    async def __aenter__(self) -> Self:
        """Know the nodes, and take over what lives on them."""
        await self._stack.enter_async_context(self._hands)
        await self._stack.enter_async_context(self._residency)
        await self._stack.enter_async_context(self._tasks)
        self._idle_since = _now()
        await self._look_at_nodes()
        for survivor in await self._grid.survivors():
            if survivor.node in self._room.fleet.nodes:
                log.info("taken_over", model=survivor.deployment.id, node=survivor.node)
                self._hands.take_over(survivor)
                self._residency.load_soon(survivor.deployment, self._lingering(Terms()))
        return self

    async def __aexit__(self, *error: object) -> None:
        """Whoever holds something lets go, and every engine is stopped."""
        for replica in self._replicas.values():
            self._drop(replica)
        await self._stack.aclose()

    async def run(self) -> None:
        """Look at nodes and replicas, until neither a replica nor an engine has been there for `orphan_timeout`.

        Raises:
            OwnerAway: the nodes were not seen for too long. Somebody else owns them by now, where they are seen.
        """
        seen = _now()
        while _now() - self._idle_since < self._settings.orphan_timeout:
            await asyncio.sleep(_LOOK)
            try:
                async with asyncio.timeout(self._settings.orphan_timeout / 2):
                    await self._look_at_nodes()
                    await self._tell_demand()
                seen = _now()
            except Exception:  # the grid is somebody else's, and comes back
                log.exception("fleet_not_seen", again_in=_LOOK)
            if _now() - seen >= self._settings.orphan_timeout / 2:
                raise OwnerAway("it does not see the nodes")
            self._look_at_replicas()

    # What replicas say

    async def hold(self, replica: str, ticket: str, deployment: Deployment, terms: Terms) -> Stay | Refusal:
        """As `Line` has it."""
        known = self._replica(replica)
        if (hold := known.holds.get(ticket)) is None:
            hold = known.holds[ticket] = _Hold(ticket, deployment, terms)
            hold.task = self._tasks.create_task(self._keep(known, hold), name=f"hold {deployment.id}")
        return await asyncio.shield(hold.answer)

    async def release(self, replica: str, ticket: str, fault: str | None) -> None:
        """As `Line` has it."""
        known = self._replica(replica)
        if (hold := known.holds.pop(ticket, None)) is None:
            return
        if fault is not None and hold.answer.done() and isinstance(stay := hold.answer.result(), Stay):
            self._doubt(hold.deployment, stay, fault)
        hold.let_go()
        self._used(hold.deployment.id, 0)

    async def beat(self, replica: str, tickets: Sequence[str], reports: Sequence[Report]) -> Answer:
        """As `Line` has it."""
        known = self._replica(replica)
        for report in reports:
            if (hold := known.holds.get(report.ticket)) is not None:
                hold.running = report.running
                self._used(hold.deployment.id, report.requests)
        unknown = tuple(ticket for ticket in tickets if ticket not in known.holds)
        if not known.tidings and not unknown:
            known.news.clear()
            try:
                async with asyncio.timeout(_BEAT):
                    await known.news.wait()
            except TimeoutError:
                pass
        tidings, known.tidings = (*known.tidings, *self._signs(known)), []
        return Answer(tidings=tidings, unknown=unknown)

    async def view(self) -> FleetView:
        """As `Line` has it."""
        waiting = tuple(demand.deployment.id for demand in self._room.unmet())
        return FleetView(nodes=viewed(self._room.fleet), replicas=len(self._replicas), waiting=waiting)

    def _replica(self, name: str) -> _Replica:
        known = self._replicas.setdefault(name, _Replica())
        known.until = _now() + self._settings.lease
        return known

    async def _keep(self, replica: _Replica, hold: _Hold) -> None:
        """A lease for as long as the replica wants it."""
        try:
            async with self._residency.lease(hold.deployment, self._lingering(hold.terms), counted=False):
                stay = self._hands.stays.get(hold.deployment.id)
                hold.answer.set_result(stay or refusal_of(ModelLoadFailed("The engine ended at once.")))
                await hold.over.wait()
        except EnginehouseError as error:
            if not hold.answer.done():
                hold.answer.set_result(refusal_of(error))
        finally:
            hold.answer.cancel()
            if replica.holds.get(hold.ticket) is hold:
                del replica.holds[hold.ticket]

    def _lingering(self, terms: Terms) -> Terms:
        """The TTL is the replicas' business; when none holds it any more it stays for a moment."""
        return structs.replace(terms, ttl=self._settings.linger, refreshed=False)

    def _used(self, deployment_id: str, requests: int) -> None:
        holds = [hold for _, hold in self._holders(deployment_id)]
        if holds:
            running = any(hold.running for hold in holds)
            self._residency.used(deployment_id, running=running, requests=requests)

    def _signs(self, replica: _Replica) -> Iterator[Tiding]:
        for hold in replica.holds.values():
            if not hold.answer.done():
                why = self._residency.explain(hold.deployment.id) or "It is ready."
                yield Sign(ticket=hold.ticket, sign=why)

    def _doubt(self, deployment: Deployment, stay: Stay, fault: str) -> None:
        """A replica found an engine out of order: it is replaced, if nobody has done so yet, and not there."""
        if self._hands.stays.get(deployment.id) != stay:
            return
        log.warning("engine_doubted", model=deployment.id, node=stay.node, why=fault)
        self._room.suspect(stay.node, suspected=True)
        self._tasks.create_task(self._trust_again(deployment.id, stay.node), name=f"suspect {stay.node}")
        self._residency.broke(deployment.id, fault)

    async def _trust_again(self, deployment_id: str, node_id: str) -> None:
        """At once, when what ran the engine there still answers."""
        if not await self._hands.is_kept(deployment_id):
            await asyncio.sleep(_SUSPECTED)
        self._room.suspect(node_id, suspected=False)

    # What happens to residents

    def _changed(self, status: ResidentStatus) -> None:
        for replica, hold in self._holders(status.id):
            if not hold.answer.done():
                continue
            if status.state is ResidentState.DRAINING:
                replica.tell(Recalled(ticket=hold.ticket))
            elif status.state in {ResidentState.FAILED, ResidentState.OFF}:
                self._end(replica, hold, status.error or "The engine is no more.")

    def _end(self, replica: _Replica, hold: _Hold, reason: str) -> None:
        replica.tell(Ended(ticket=hold.ticket, reason=reason))
        replica.holds.pop(hold.ticket, None)
        hold.let_go()

    def _holders(self, deployment_id: str) -> Sequence[tuple[_Replica, _Hold]]:
        return [
            (replica, hold)
            for replica in self._replicas.values()
            for hold in replica.holds.values()
            if hold.deployment.id == deployment_id
        ]

    # What happens to nodes and replicas

    async def _look_at_nodes(self) -> None:
        there = {facts.id: facts for facts in await self._grid.nodes()}
        known = self._room.fleet.nodes
        for lost in [name for name in known if name not in there]:
            self._lose(lost)
        for name, facts in there.items():
            if name not in known:
                log.info("node_joined", node=name, ram=facts.ram, gpus=facts.gpus, labels=facts.labels)
                self._room.join(self._node(facts))

    def _node(self, facts: NodeFacts) -> Node:
        capacity = capacity_of(self._limits, facts.ram, facts.gpus)
        return Node(id=facts.id, host=facts.host, capacity=capacity, gpus=facts.gpus, labels=facts.labels)

    def _lose(self, node_id: str) -> None:
        """Who was on it is brought up elsewhere, whether somebody waits for it or not."""
        gone = self._room.lose(node_id)
        log.warning("node_lost", node=node_id, models=gone)
        for deployment_id in gone:
            ready = [(r, h) for r, h in self._holders(deployment_id) if h.answer.done()]
            for replica, hold in ready:
                self._end(replica, hold, f"The node {node_id} was lost.")
            self._residency.uproot(deployment_id)
            if ready:
                _, hold = ready[0]
                self._residency.load_soon(hold.deployment, structs.replace(hold.terms, refreshed=False))

    def _look_at_replicas(self) -> None:
        for name in [name for name, replica in self._replicas.items() if replica.until < _now()]:
            log.warning("replica_lost", replica=name)
            self._drop(self._replicas.pop(name))
        if self._replicas or self._room.ledger.entries:
            self._idle_since = _now()

    def _drop(self, replica: _Replica) -> None:
        for hold in list(replica.holds.values()):
            replica.holds.pop(hold.ticket, None)
            hold.let_go()

    async def _tell_demand(self) -> None:
        if not self._settings.autoscale:
            return
        placed = [
            (held.standing.size, dict[str, str]())
            for yard in self._room.fleet.nodes.values()
            for held in yard.held.values()
        ]
        patience, cpus = self._limits.scale_up_wait, self._settings.cpus
        wanted = bundles(placed, self._room.unmet(), now=_now(), patience=patience, cpus=cpus)
        if wanted != self._wanted:
            await self._grid.want([one.resources for one in wanted], [one.labels for one in wanted])
            self._wanted = wanted


def _now() -> float:
    return asyncio.get_running_loop().time()
