"""The nodes of a Ray cluster, and the actors that keep engines there.

Ray is imported here alone, and this alone where it is wanted. It starts actors and tells which nodes live; requests
and their answers never pass through it.
"""

import asyncio
import os
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, TypeVar
from uuid import uuid4

from msgspec import structs

from enginehouse import __version__
from enginehouse.engines.metadata import Weight
from enginehouse.residency.base import Door
from enginehouse.residency.fleet.base import (
    EngineGone,
    NodeFacts,
    Pulse,
    Refusal,
    RemoteEngine,
    Survivor,
    error_of,
)
from enginehouse.residency.fleet.keeper import Keeper, Outfit, weighed
from enginehouse.residency.fleet.views import Surveyed
from enginehouse.residency.machine import this_machine
from enginehouse.settings.environment import current_environ
from enginehouse.types import Deployment

__all__ = ["RayError", "RayGrid", "first_line", "ray", "survey"]

ray: Any = import_module("ray")
_scheduling: Any = import_module("ray.util.scheduling_strategies")
RayError: type[Exception] = ray.exceptions.RayError

T = TypeVar("T")

_ENGINE = "engine/"
_ANSWERS = 3.0
"""Seconds in which an actor that lives answers a question that takes it no time."""
_LONGEST_SURVEY = 30.0
"""Seconds in which a node has started a process and let it say how it is."""
_OWN_NAME = "ray.io/node-id"
"""Label that is another one on each node, so that nodes alike would be told apart by it."""
_NO_ENGINES = ("enginehouse", "off")
"""Label of a node that is left alone."""


class RayEngine:
    """Satisfies `RemoteEngine` over the actor that keeps it."""

    def __init__(self, keeper: Any, life: str, grace: float) -> None:
        self.life = life
        self._keeper = keeper
        self._grace = grace

    async def start(self) -> Door:
        """Load it."""
        answer: Door | Refusal = await _asked(self._keeper.door.remote())
        if isinstance(answer, Refusal):
            raise error_of(answer)
        return answer

    async def listen(self) -> Pulse:
        """What its keeper has to tell."""
        return await _asked(self._keeper.listen.remote())

    async def measure(self) -> int | None:
        """As its keeper sees it."""
        return await _asked(self._keeper.measure.remote())

    async def stop(self) -> None:
        """A keeper that answers ends its engine in peace; in any case both are gone after it."""
        with suppress(EngineGone, TimeoutError):
            async with asyncio.timeout(_ANSWERS / 2):
                await self.measure()
            async with asyncio.timeout(self._grace + _ANSWERS):
                await _asked(self._keeper.stop.remote())
        with suppress(RayError, ValueError, TimeoutError):
            async with asyncio.timeout(
                _ANSWERS / 2
            ):  # it waits for a node that has fallen silent; nobody else shall
                await asyncio.to_thread(ray.kill, self._keeper)


class RayGrid:
    """Satisfies `Grid`.

    Args:
        outfit: what keepers have to know.
        cpus: CPUs that an engine counts as.
    """

    def __init__(self, outfit: Outfit, cpus: float) -> None:
        self._outfit = outfit
        self._cpus = cpus
        self._gpus: dict[str, Mapping[int, int]] = {}
        self._hosts: dict[str, str] = {}

    async def nodes(self) -> Sequence[NodeFacts]:
        """Those that Ray takes to be alive and that have memory to give."""
        rows: list[dict[str, Any]] = await asyncio.to_thread(ray.nodes)
        return [await self._facts(row) for row in rows if row["Alive"] and _is_ours(row)]

    async def weigh(self, deployment: Deployment, node: str) -> Weight:
        """Seen from a node."""
        task = _weigh.options(scheduling_strategy=_on(node))
        answer: Weight | Refusal = await _asked(task.remote(deployment, self._outfit))
        if isinstance(answer, Refusal):
            raise error_of(answer)
        return answer

    def engine(
        self, deployment: Deployment, node: str, weight: Weight, gpus: Mapping[int, int] | None
    ) -> RemoteEngine:
        """A keeper on a node."""
        life = uuid4().hex
        keeper = _keeper.options(
            name=f"{_ENGINE}{deployment.id}/{life}",
            lifetime="detached",
            num_cpus=self._cpus,
            num_gpus=self._share(node, gpus or {}),
            memory=weight.ram,
            max_restarts=0,
            scheduling_strategy=_on(node),
        ).remote(deployment, node, self._hosts[node], weight, gpus, self._outfit)
        keeper.run.remote()
        return RayEngine(keeper, life, self._outfit.grace)

    async def survivors(self) -> Sequence[Survivor]:
        """Every keeper of this namespace that answers; those that do not are ended."""
        names: list[str] = await asyncio.to_thread(ray.util.list_named_actors)
        found = [await self._survivor(name) for name in names if name.startswith(_ENGINE)]
        return [one for one in found if one is not None]

    async def want(self, bundles: Sequence[Mapping[str, float]], labels: Sequence[Mapping[str, str]]) -> None:
        """Told to Ray's autoscaler."""
        sdk: Any = import_module("ray.autoscaler.sdk")
        asking = partial(sdk.request_resources, bundles=[dict(one) for one in bundles])
        if any(labels):
            asking = partial(asking, bundle_label_selectors=[dict(one) for one in labels])
        await asyncio.to_thread(asking)

    async def _facts(self, row: Mapping[str, Any]) -> NodeFacts:
        node, resources = str(row["NodeID"]), row["Resources"]
        self._hosts[node] = str(row["NodeManagerAddress"])
        if resources.get("GPU") and node not in self._gpus:
            self._gpus[node] = await _gpus_of.options(scheduling_strategy=_on(node)).remote(self._outfit)
        return NodeFacts(
            id=node,
            host=self._hosts[node],
            ram=int(resources["memory"]),
            gpus=self._gpus.get(node, {}),
            labels=_labels(row),
        )

    async def _survivor(self, name: str) -> Survivor | None:
        try:
            keeper = await asyncio.to_thread(ray.get_actor, name)
            async with asyncio.timeout(_ANSWERS):
                told: tuple[Deployment, str, Weight] | None = await keeper.describe.remote()
        except (RayError, ValueError, TimeoutError):
            return None
        engine = RayEngine(keeper, name.rpartition("/")[2], self._outfit.grace)
        if told is None:
            await engine.stop()
            return None
        return Survivor(deployment=told[0], node=told[1], weight=told[2], engine=engine)

    def _share(self, node: str, gpus: Mapping[int, int]) -> float:
        """GPUs in Ray's reckoning: a part of one, or several whole ones."""
        totals = self._gpus.get(node, {})
        if len(gpus) != 1:
            return float(len(gpus))
        return next(max(round(size / max(totals.get(index, size), 1), 2), 0.01) for index, size in gpus.items())


class KeeperHost(Keeper):
    """A keeper as an actor, whose process ends with its engine."""

    async def run(self) -> None:
        """As it is, and then the end."""
        try:
            await super().run()
            await asyncio.sleep(1)  # who told it to stop gets the answer
        finally:
            os._exit(0)


async def survey() -> Sequence[Surveyed]:
    """Every node of the cluster that was joined, each asked by a task of its own."""
    rows: list[dict[str, Any]] = await asyncio.to_thread(ray.nodes)
    return await asyncio.gather(*(_surveyed(row) for row in rows if row["Alive"]))


async def _surveyed(row: Mapping[str, Any]) -> Surveyed:
    found = Surveyed(
        host=str(row["NodeManagerAddress"]),
        labels=_labels(row),
        ram=int(row["Resources"].get("memory", 0)),
        takes_engines=_is_ours(row),
    )
    try:
        async with asyncio.timeout(_LONGEST_SURVEY):
            task = _asked_there.options(scheduling_strategy=_on(str(row["NodeID"])))
            version, niceness = await task.remote()
    except TimeoutError:
        return structs.replace(found, fault=f"no answer in {_LONGEST_SURVEY:g} s")
    except RayError as error:
        return structs.replace(found, fault=str(error).strip().splitlines()[-1])
    return structs.replace(found, version=version, niceness=niceness)


def _on(node: str) -> Any:
    return _scheduling.NodeAffinitySchedulingStrategy(node_id=node, soft=False)


def _labels(row: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in row.get("Labels", {}).items() if name != _OWN_NAME}


def _is_ours(row: Mapping[str, Any]) -> bool:
    name, off = _NO_ENGINES
    return bool(row["Resources"].get("memory")) and row.get("Labels", {}).get(name) != off


async def _asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except RayError as error:
        raise EngineGone(first_line(error)) from error


def first_line(error: Exception) -> str:
    """What is wrong, without the stack of the other side."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _weigh_here(deployment: Deployment, outfit: Outfit) -> Weight | Refusal:
    return asyncio.run(weighed(deployment, outfit))


def _how_it_is_here() -> tuple[str, int]:
    return __version__, os.nice(0)


def _gpus_here(outfit: Outfit) -> Mapping[int, int]:
    machine = this_machine(outfit.gpus, current_environ())
    return {gpu.index: gpu.memory.total for gpu in machine.gpus()}


_remote: Any = ray.remote
_weigh: Any = _remote(num_cpus=0)(_weigh_here)
_asked_there: Any = _remote(num_cpus=0, max_retries=0)(_how_it_is_here)
_gpus_of: Any = _remote(num_cpus=0)(_gpus_here)
_keeper: Any = _remote(KeeperHost)
