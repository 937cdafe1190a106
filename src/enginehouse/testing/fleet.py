"""A fleet without machines: nodes that come and are lost, engines that start when they are told to."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count

from enginehouse.engines.metadata import Weight
from enginehouse.errors import ModelLoadFailed
from enginehouse.residency.base import Door
from enginehouse.residency.fleet.base import EngineGone, NodeFacts, Pulse, RemoteEngine, Survivor
from enginehouse.testing.engines import FakeEngine
from enginehouse.types import Deployment

__all__ = ["FakeGrid", "FakeKept"]


class FakeKept:
    """Satisfies `RemoteEngine`: one life of an engine on a node of a `FakeGrid`."""

    def __init__(self, grid: "FakeGrid", deployment: Deployment, node: str, weight: Weight, life: str) -> None:
        self.deployment, self.node, self.weight, self.life = deployment, node, weight, life
        self._grid = grid
        self._ended: str | None = None
        self._news = asyncio.Event()
        self.started = False

    async def start(self) -> Door:
        """After as long as the grid says."""
        if not self.started:
            await self._until_gone(self._grid.load_seconds)
            if self._grid.failure is not None:
                raise ModelLoadFailed(self._grid.failure)
        self.started = True
        return Door(address=f"http://{self.node}:{int(self.life) + 1000}", api_key="key")

    async def listen(self) -> Pulse:
        """Nothing, unless it was made to crash."""
        await self._until_gone(1.0)
        return Pulse(ended=self._ended)

    async def measure(self) -> int | None:
        """Nobody can tell."""
        await self._heard()
        self._check()
        return None

    async def stop(self) -> None:
        """At once, unless who says so is dead already."""
        if self._grid.owner_died:
            return
        self._grid.kept.pop(self.life, None)
        self._news.set()

    def crash(self, reason: str) -> None:
        """The engine ends, its keeper does not."""
        self._ended = reason
        self._news.set()

    async def _heard(self) -> None:
        if self.node in self._grid.silent:
            await asyncio.Event().wait()

    async def _until_gone(self, seconds: float) -> None:
        await self._heard()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass
        self._check()

    def _check(self) -> None:
        if self.life not in self._grid.kept:
            raise EngineGone("its node was lost")

    def lose(self) -> None:
        """Nobody answers any more."""
        self._grid.kept.pop(self.life, None)
        self._news.set()


class FakeGrid:
    """Satisfies `Grid`.

    Args:
        nodes: bytes of main memory, by id.
        weights: bytes by deployment id.
        load_seconds: how long an engine takes to start.
    """

    def __init__(
        self, nodes: Mapping[str, int], weights: Mapping[str, int] | None = None, *, load_seconds: float = 1.0
    ) -> None:
        self.facts = {name: NodeFacts(id=name, ram=ram) for name, ram in nodes.items()}
        self.weights = weights or {}
        self.load_seconds = load_seconds
        self.failure: str | None = None
        """Why every start fails, if it does."""
        self.unseen = False
        """Whether who asks for the nodes gets no answer."""
        self.silent: set[str] = set()
        """Nodes that count as alive and answer nothing."""
        self.owner_died = False
        """Whether nothing that is told to an engine reaches it any more."""
        self.kept: dict[str, FakeKept] = {}
        """What runs or starts now, by life."""
        self.starts: list[tuple[str, str]] = []
        """Deployment and node of every start, in order."""
        self.wanted: list[Mapping[str, float]] = []
        """What the autoscaler was last asked for."""
        self.engine_of: dict[str, FakeEngine] = {}
        """What answers at an address."""
        self._lives = count(1)

    def lose(self, node: str) -> None:
        """With everything on it."""
        self.facts.pop(node, None)
        for one in [one for one in self.kept.values() if one.node == node]:
            one.lose()

    def homes(self) -> dict[str, str]:
        """Where what runs is, by deployment id."""
        return {one.deployment.id: one.node for one in self.kept.values() if one.started}

    async def nodes(self) -> Sequence[NodeFacts]:
        """As told."""
        if self.unseen:
            await asyncio.Event().wait()
        return list(self.facts.values())

    async def weigh(self, deployment: Deployment, node: str) -> Weight:
        """As told."""
        del node
        return Weight(ram=self.weights.get(deployment.id, 1))

    def engine(
        self, deployment: Deployment, node: str, weight: Weight, gpus: Mapping[int, int] | None
    ) -> RemoteEngine:
        """A new life."""
        del gpus
        kept = FakeKept(self, deployment, node, weight, str(next(self._lives)))
        self.kept[kept.life] = kept
        self.starts.append((deployment.id, node))
        return kept

    async def survivors(self) -> Sequence[Survivor]:
        """Everything that has started."""
        return [
            Survivor(deployment=one.deployment, node=one.node, weight=one.weight, engine=one)
            for one in self.kept.values()
            if one.started
        ]

    async def want(self, bundles: Sequence[Mapping[str, float]], labels: Sequence[Mapping[str, str]]) -> None:
        """Remembered."""
        del labels
        self.wanted = list(bundles)

    @asynccontextmanager
    async def connect(self, deployment: Deployment, door: Door) -> AsyncGenerator[FakeEngine]:
        """Satisfies `Connect`: the same engine for the same address."""
        del deployment
        yield self.engine_of.setdefault(door.address, FakeEngine())
