"""A fleet on Ray: its nodes, actors that keep engines there, and the detached actor that owns what is where.

Ray is imported here alone, and this alone where it is wanted. It starts actors, tells which nodes live, and starts
the owner again when it dies; requests and their answers never pass through it.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any, TypeVar
from uuid import uuid4

import structlog

from enginehouse.engines.metadata import Weight
from enginehouse.errors import SettingsError
from enginehouse.residency.base import Door, Terms
from enginehouse.residency.fleet.base import (
    Answer,
    EngineGone,
    NodeFacts,
    OwnerAway,
    Pulse,
    Refusal,
    RemoteEngine,
    Report,
    Stay,
    Survivor,
    error_of,
)
from enginehouse.residency.fleet.keeper import Keeper, Outfit, weighed
from enginehouse.residency.fleet.owner import Owner
from enginehouse.residency.fleet.views import FleetView
from enginehouse.residency.launchers.llama import connecting
from enginehouse.residency.machine import this_machine
from enginehouse.settings.environment import current_environ, keep_ray_quiet
from enginehouse.settings.schema import FleetSettings, ResidencySettings
from enginehouse.types import Deployment

__all__ = ["RayGrid", "RayLine", "leave", "open_line"]

ray: Any = import_module("ray")
_scheduling: Any = import_module("ray.util.scheduling_strategies")
RayError: type[Exception] = ray.exceptions.RayError

log = structlog.get_logger()

T = TypeVar("T")

_OWNER = "owner"
_ENGINE = "engine/"
_ANSWERS = 3.0
"""Seconds in which an actor that lives answers a question that takes it no time."""
_LONGEST_BEAT = 10.0
_MOST_AT_ONCE = 10_000
"""Calls that the owner serves at once: each replica's beat, and whatever waits for a load."""
_OWN_NAME = "ray.io/node-id"
"""Label that is another one on each node, so that nodes alike would be told apart by it."""
_HEAD = "node:__internal_head__"
"""Resource that the head alone has. The owner is there: without the head there is no cluster, so that no other
machine's loss is the owner's."""
_A_TRACE = 0.001
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
        labels = {
            str(name): str(value) for name, value in row.get("Labels", {}).items() if name != "ray.io/node-id"
        }
        return NodeFacts(
            id=node,
            host=self._hosts[node],
            ram=int(resources["memory"]),
            gpus=self._gpus.get(node, {}),
            labels=labels,
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
            raise OwnerAway(_first_line(error)) from error

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
            raise OwnerAway(_first_line(error)) from error


async def open_line(outfit: Outfit, residency: ResidencySettings, settings: FleetSettings) -> RayLine:
    """Join the cluster, and find the owner there.

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
            f"There is no Ray cluster at fleet.ray.address {settings.ray.address!r} ({_first_line(error)}). Start "
            "one (`ray start --head`), or set fleet.placement: local."
        ) from error
    line = RayLine(partial(_owner_of, outfit, residency, settings))
    with suppress(OwnerAway):  # it is asked again with every beat
        await line.open()
    return line


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


def _on(node: str) -> Any:
    return _scheduling.NodeAffinitySchedulingStrategy(node_id=node, soft=False)


def _is_ours(row: Mapping[str, Any]) -> bool:
    name, off = _NO_ENGINES
    return bool(row["Resources"].get("memory")) and row.get("Labels", {}).get(name) != off


async def _asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except RayError as error:
        raise EngineGone(_first_line(error)) from error


@asynccontextmanager
async def _in_time() -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(_LONGEST_BEAT):
            yield
    except TimeoutError as error:
        raise OwnerAway(f"no answer within {_LONGEST_BEAT:g} s") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _weigh_here(deployment: Deployment, outfit: Outfit) -> Weight | Refusal:
    return asyncio.run(weighed(deployment, outfit))


def _gpus_here(outfit: Outfit) -> Mapping[int, int]:
    machine = this_machine(outfit.gpus, current_environ())
    return {gpu.index: gpu.memory.total for gpu in machine.gpus()}


_remote: Any = ray.remote
_weigh: Any = _remote(num_cpus=0)(_weigh_here)
_gpus_of: Any = _remote(num_cpus=0)(_gpus_here)
_keeper: Any = _remote(KeeperHost)
_owner_host: Any = _remote(OwnerHost)
