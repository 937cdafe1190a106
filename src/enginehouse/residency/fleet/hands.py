"""How the owner of a fleet's residency loads: on the node that was chosen, by a keeper there, watched from here."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self

from enginehouse.engines.metadata import Weight
from enginehouse.errors import InsufficientMemory, ModelLoadFailed
from enginehouse.residency.base import Door, Loaded, Watcher
from enginehouse.residency.fleet.base import Connect, EngineGone, Grid, RemoteEngine, Stay, Survivor
from enginehouse.residency.fleet.room import FleetRoom
from enginehouse.residency.policy import bytes_by_pool
from enginehouse.types import Deployment

__all__ = ["FleetHands"]

_NEWS_OF_NODES = 1.5
"""Seconds in which the loss of a node is known after an engine on it was: then who was there is told to begin
elsewhere, and what is said of the engine is of no interest."""
_AS_BEFORE = 0.5
"""What survived is reckoned lightly, so that it finds room where it lies, and is measured there."""
_ANSWERS = 3.0
"""Seconds in which a keeper that lives answers."""
_LOOK_FOR_NODES = 1.0
_LOOKED_AT_IN_VAIN = 5


class FleetHands:
    """Satisfies `Launcher` and `Offloads` over the nodes of a fleet.

    Args:
        grid: the nodes.
        room: who says which of them.
        connect: opens the way to an engine.
    """

    def __init__(self, grid: Grid, room: FleetRoom, connect: Connect) -> None:
        self._grid = grid
        self._room = room
        self._connect = connect
        self._listeners = asyncio.TaskGroup()
        self._survivors: dict[str, Survivor] = {}
        self._engines: dict[str, RemoteEngine] = {}
        self._weights: dict[str, tuple[Deployment, Weight]] = {}
        """What nodes said, so that what moves need not be looked at again."""
        self.stays: dict[str, Stay] = {}
        """Where what is ready is reached, by deployment id."""

    async def __aenter__(self) -> Self:
        """Ready to listen to engines."""
        await self._listeners.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        """All of them have been left."""
        await self._listeners.__aexit__(None, None, None)

    def take_over(self, survivor: Survivor) -> None:
        """It lives already: when it is loaded, that is found to have been done."""
        self._survivors[survivor.deployment.id] = survivor
        self._room.settled(survivor.deployment.id, survivor.node)

    async def is_kept(self, deployment_id: str) -> bool:
        """Whether what runs its engine answers."""
        if (engine := self._engines.get(deployment_id)) is None:
            return False
        try:
            async with asyncio.timeout(_ANSWERS):
                await engine.measure()
        except (EngineGone, TimeoutError):
            return False
        return True

    async def weigh(self, deployment: Deployment, watcher: Watcher) -> int:
        """All of it, as one of the nodes says."""
        return (await self._weight(deployment, watcher)).total

    async def offload(self, deployment: Deployment, watcher: Watcher) -> Weight | None:
        """With its layers on GPUs; None when the engine there can use none."""
        weight = await self._weight(deployment, watcher)
        return weight if weight.vram else None

    def load(self, deployment: Deployment, watcher: Watcher) -> AbstractAsyncContextManager[Loaded]:
        """On its node; GPUs are left to its flags."""
        return self._load(deployment, watcher, None)

    def load_on(
        self, deployment: Deployment, watcher: Watcher, gpus: Mapping[int, int]
    ) -> AbstractAsyncContextManager[Loaded]:
        """On its node, on these GPUs of it."""
        return self._load(deployment, watcher, gpus)

    @asynccontextmanager
    async def _load(
        self, deployment: Deployment, watcher: Watcher, gpus: Mapping[int, int] | None
    ) -> AsyncGenerator[Loaded]:
        node = self._room.fleet.node_of(deployment.id)
        assert node is not None, "its room was granted before it is loaded"
        engine = self._engines[deployment.id] = self._engine(deployment, node, gpus)
        listening = self._listeners.create_task(_listen(engine, watcher), name=f"listen {deployment.id}")
        try:
            door = await self._start(engine)
            async with self._connect(deployment, door) as client:
                self.stays[deployment.id] = Stay(door=door, life=engine.life, node=node)
                yield Loaded(engine=client, port=door.port, measure=_measuring(engine))
        finally:
            self.stays.pop(deployment.id, None)
            self._engines.pop(deployment.id, None)
            listening.cancel()
            await engine.stop()

    def _engine(self, deployment: Deployment, node: str, gpus: Mapping[int, int] | None) -> RemoteEngine:
        survivor = self._survivors.pop(deployment.id, None)
        if survivor is not None and survivor.node == node and survivor.deployment == deployment:
            return survivor.engine
        if survivor is not None:
            self._listeners.create_task(survivor.engine.stop(), name=f"stop {deployment.id}")
        pools = bytes_by_pool([self._room.fleet.held(deployment.id).standing.size])
        ram = pools.pop("ram", 0)
        return self._grid.engine(deployment, node, Weight(ram=ram, vram=sum(pools.values())), gpus)

    async def _start(self, engine: RemoteEngine) -> Door:
        try:
            return await engine.start()
        except EngineGone as gone:
            await asyncio.sleep(_NEWS_OF_NODES)
            raise ModelLoadFailed(f"What was to run the engine ended: {gone}") from gone

    async def _weight(self, deployment: Deployment, watcher: Watcher) -> Weight:
        if (survivor := self._survivors.get(deployment.id)) is not None:
            return survivor.weight.times(_AS_BEFORE)
        known = self._weights.get(deployment.id)
        if known is None or known[0] != deployment:
            known = self._weights[deployment.id] = (deployment, await self._looked_at(deployment, watcher))
        return known[1]

    async def _looked_at(self, deployment: Deployment, watcher: Watcher) -> Weight:
        """As some node says, which may be lost before it does; that is soon known, and another one is asked."""
        failures = 0
        while True:
            if (node := self._room.scout(deployment)) is not None:
                try:
                    return await self._grid.weigh(deployment, node)
                except EngineGone as gone:
                    failures += 1
                    if failures > _LOOKED_AT_IN_VAIN:
                        raise ModelLoadFailed(f"No node could look at its files: {gone}") from gone
            elif not self._room.patient and not self._room.has_suspects:
                raise InsufficientMemory(
                    f"No node of the fleet has what {deployment.id!r} wants: check its labels, and the nodes."
                )
            watcher.progressed("waiting for a node")
            await asyncio.sleep(_LOOK_FOR_NODES)


async def _listen(engine: RemoteEngine, watcher: Watcher) -> None:
    """What its keeper tells, told on."""
    while True:
        try:
            pulse = await engine.listen()
        except EngineGone as gone:
            await asyncio.sleep(_NEWS_OF_NODES)
            watcher.ended(f"The engine was lost with what ran it: {gone}")
            return
        if pulse.lines:
            watcher.printed(pulse.lines)
        if pulse.sign is not None:
            watcher.progressed(pulse.sign)
        if pulse.ended is not None:
            watcher.ended(pulse.ended)
            return


def _measuring(engine: RemoteEngine) -> Callable[[], Awaitable[int | None]]:
    async def measure() -> int | None:
        try:
            return await engine.measure()
        except EngineGone:
            return None

    return measure
