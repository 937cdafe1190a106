"""One life of a resident: weighed, given room, loaded, measured, watched while it serves, and gone.

The owner of residency decides who lives; here is how a life goes, as one task from its beginning to its end.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from math import inf

import structlog
from msgspec import structs

from enginehouse.engines.base import Pulses
from enginehouse.engines.metadata import Weight
from enginehouse.errors import EnginehouseError, InsufficientMemory, LoadTimeout, ModelLoadFailed, OutOfMemory
from enginehouse.residency.base import Launcher, Loaded, Offloads
from enginehouse.residency.decisions import Decisions
from enginehouse.residency.fleet.room import FleetRoom
from enginehouse.residency.machine import Machine
from enginehouse.residency.memory import Footprints, measured
from enginehouse.residency.placement import footprint_of, gpus_of
from enginehouse.residency.policy import Footprint
from enginehouse.residency.resident import Resident, now
from enginehouse.residency.room import Room
from enginehouse.settings.schema import ResidencySettings
from enginehouse.types import Deployment, EngineName, ResidentState

__all__ = ["Lifecycle"]

log = structlog.get_logger()

_REFRESH_AHEAD = 0.1
"""Share of its TTL that a preloaded model has left when it is refreshed."""
_UNANSWERED = 3
"""Health checks in a row that an engine may leave unanswered."""
_MIB = 1024 * 1024
_LEAST_RAISE = 64 * _MIB
"""Bytes that an estimate which proved too small grows by at the least; else by half of it."""


class Lifecycle:
    """What all lives share.

    Args:
        launchers: who loads, by engine.
        settings: limits and time-outs; a new value counts from the next decision on.
        footprints: what was measured before.
        room: where memory is asked for.
        decisions: where reasons are kept.
        machine: who takes how much on GPUs.
        gpus: bytes of each visible GPU, by index.
    """

    def __init__(
        self,
        launchers: Mapping[EngineName, Launcher],
        settings: ResidencySettings,
        footprints: Footprints,
        room: Room | FleetRoom,
        decisions: Decisions,
        machine: Machine,
        gpus: Mapping[int, int],
    ) -> None:
        self._machine = machine
        self._gpus = gpus
        self.settings = settings
        self._launchers = launchers
        self._footprints = footprints
        self._room = room
        self._decisions = decisions

    async def run(self, resident: Resident) -> None:
        """From the decision to load until nothing is left of it; how it failed, if it did, is in the resident."""
        deployment = resident.deployment
        assert deployment is not None, "begin() has chosen what to load"
        failure: EnginehouseError | None = None
        try:
            async with AsyncExitStack() as stack:
                size = await self._weigh(resident, deployment)
                stack.callback(self._room.give_back, deployment.id)
                try:
                    loaded = await self._load(stack, resident, deployment, size)
                except OutOfMemory as error:
                    loaded = await self._load_with_more(stack, resident, deployment, size, error)
                resident.ready(loaded)
                await self._measure(resident)
                self._decisions.note(deployment.id, "leaves", await self._stay(resident))
        except EnginehouseError as error:
            failure = error
        except asyncio.CancelledError:
            if not resident.dismissed:
                raise
        except Exception as error:
            log.exception("resident_broke", model=deployment.id)
            failure = ModelLoadFailed(f"The engine could not be started ({type(error).__name__}).")
        finally:
            resident.end(failure)
        if failure:
            log.warning("model_failed", model=deployment.id, error=failure.message)
            self._decisions.note(deployment.id, "failed", failure.message)

    async def _weigh(self, resident: Resident, deployment: Deployment) -> Weight:
        """Bytes it needs; files are fetched to know that, for as long as they keep coming."""
        async with self._progressing(resident, None):
            estimate = await self._estimate(resident, deployment)
        resident.figures.estimated, resident.figures.measured = estimate.total, 0
        known = self._footprints.known(deployment)
        # What was measured with GPUs says little of a machine without, and the other way round.
        if known is not None and bool(known.vram) == bool(estimate.vram):
            return structs.replace(estimate, ram=known.ram, vram=known.vram)
        return estimate.times(self.settings.vram_multiplier)

    async def _estimate(self, resident: Resident, deployment: Deployment) -> Weight:
        launcher = self._launcher(deployment)
        if self._room.has_gpus and isinstance(launcher, Offloads):
            offloaded = await launcher.offload(deployment, resident)
            if offloaded is not None:
                return offloaded
        return Weight(ram=await launcher.weigh(deployment, resident))

    async def _load_with_more(
        self, stack: AsyncExitStack, resident: Resident, deployment: Deployment, size: Weight, first: OutOfMemory
    ) -> Loaded:
        """Once more, with room for a raised estimate, which is remembered until a load can be measured.

        Raises:
            InsufficientMemory: so much can never be had.
            OutOfMemory: it was not enough either.
        """
        self._room.give_back(deployment.id)
        raised = self._raised(deployment, size)
        if raised.total <= size.total:
            raise InsufficientMemory(_starved(size, "That is all there is for models.", first)) from first
        again = f"It is tried again with {raised.total // _MIB} MiB."
        self._decisions.note(deployment.id, "starved", _starved(size, again, first))
        try:
            self._room.check(deployment, raised)
        except InsufficientMemory as error:
            raise InsufficientMemory(_starved(size, error.message, first)) from first
        self._footprints.remember(deployment, raised)  # a small write, and a rare one
        try:
            return await self._load(stack, resident, deployment, raised)
        except OutOfMemory as error:
            raise OutOfMemory(_starved(size, f"So it did with {raised.total // _MIB} MiB.", error)) from error

    def _raised(self, deployment: Deployment, size: Weight) -> Weight:
        """Half as much again, of each memory it lies in, but no more than there is."""
        most = self._room.most(deployment)
        vram = min(_more(size.vram), most.vram) if size.vram else 0
        return structs.replace(size, ram=max(min(_more(size.ram), most.ram), size.ram), vram=max(vram, size.vram))

    async def _wait_for_room(self, resident: Resident, deployment: Deployment, size: Weight) -> Footprint:
        try:
            async with asyncio.timeout(self.settings.load_timeout):
                return await self._room.take(deployment, size, since=resident.asked_since, terms=resident.terms)
        except TimeoutError as error:
            raise LoadTimeout(
                "No room in memory came free: what is there is of a higher priority, or does not end. "
                "Unload something, or raise residency.load_timeout.",
                retry_after=30,
            ) from error

    async def _load(
        self, stack: AsyncExitStack, resident: Resident, deployment: Deployment, size: Weight
    ) -> Loaded:
        place = await self._wait_for_room(resident, deployment, size)
        self._decisions.note(deployment.id, "loads", "It was asked for, and there is room.")
        resident.since = now()
        async with self._progressing(resident, self.settings.load_timeout):
            loading = self._loading(resident, deployment, size, gpus_of(place))
            loaded = await stack.enter_async_context(loading)
        self._decisions.note(deployment.id, "ready", f"It answers after {now() - resident.since:.3f} s.")
        return loaded

    def _loading(
        self, resident: Resident, deployment: Deployment, size: Weight, gpus: Mapping[int, int]
    ) -> AbstractAsyncContextManager[Loaded]:
        launcher = self._launcher(deployment)
        if size.vram and not size.fixed and isinstance(launcher, Offloads):
            return launcher.load_on(deployment, resident, gpus)
        return launcher.load(deployment, resident)

    async def _measure(self, resident: Resident) -> None:
        """What it really takes replaces the estimate, now and after a restart; it is asked again as it grows."""
        deployment, loaded = resident.deployment, resident.loaded
        if loaded is None or deployment is None:
            return
        ram = await (loaded.measure() if loaded.measure is not None else _measured_here(loaded.pid))
        if ram:
            gpus = await self._measured_on_gpus(loaded.pid, deployment)
            self._room.ledger.settle(deployment.id, footprint_of(deployment, ram, gpus))
            size = Weight(ram=ram, vram=sum(gpus.values()))
            resident.figures.measured = resident.figures.measured or size.total
            await asyncio.to_thread(self._footprints.remember, deployment, size)
            self._room.relieve(deployment.id)
            self._room.review()

    async def _measured_on_gpus(self, pid: int | None, deployment: Deployment) -> Mapping[int, int]:
        """Bytes by GPU; what was set aside, where the driver does not know the process."""
        reserved = gpus_of(self._room.ledger.entries.get(deployment.id, {}))
        if not reserved or pid is None:
            return reserved
        used = await asyncio.to_thread(self._machine.on_gpus, pid)
        return {index: amount for index, amount in used.items() if index in self._gpus} or reserved

    @asynccontextmanager
    async def _progressing(self, resident: Resident, total: float | None) -> AsyncGenerator[None]:
        """Stops what makes no progress for too long, or takes too long in all.

        Raises:
            LoadTimeout: it did.
        """
        stalls = self.settings.load_stall_timeout
        try:
            async with asyncio.timeout(total), asyncio.timeout(stalls) as stall:
                resident.on_progress = lambda: stall.reschedule(now() + stalls)
                yield
        except TimeoutError as error:
            raise LoadTimeout(
                f"Loading took longer than allowed ({resident.last_sign}). Raise residency.load_timeout "
                "or residency.load_stall_timeout.",
                retry_after=10,
            ) from error
        finally:
            resident.on_progress = None

    def _launcher(self, deployment: Deployment) -> Launcher:
        launcher = self._launchers.get(deployment.engine)
        if launcher is None:
            raise ModelLoadFailed(f"No launcher for the engine {deployment.engine.value!r} is installed.")
        return launcher

    async def _stay(self, resident: Resident) -> str:
        """Until it has to leave and nobody holds a lease; returns why it leaves."""
        ask_at = now() + self.settings.health_interval
        while True:
            if resident.ended_by_itself:
                resident.drain()
                raise ModelLoadFailed(resident.ended_by_itself)
            if resident.state is ResidentState.DRAINING and not resident.leases:
                return "It was asked to, and its last request has ended."
            left = resident.idle_left()
            if left is not None and resident.terms.refreshed:
                left -= _REFRESH_AHEAD * resident.ttl
            if left is not None and left <= 0 and resident.terms.refreshed:
                async with _while_it_runs(resident):
                    await self._ask_how_it_is(resident)
                resident.refreshed_at = now()
                continue
            if left is not None and left <= 0:
                resident.drain()
                return f"It was idle for {resident.ttl:g} s."
            silence = self._silence_left(resident)
            if silence is not None and silence <= 0:
                limit = self.settings.wedge_timeout
                resident.ended(f"The engine runs, but for {limit:g} s it wrote nothing to those who waited for it.")
                continue
            if now() >= ask_at:
                async with _while_it_runs(resident):
                    await self._ask_how_it_is(resident)
                    await self._measure(resident)
                ask_at = now() + self.settings.health_interval
                continue
            resident.wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(ask_at - now(), _or_ever(left), _or_ever(silence))):
                    await resident.wake.wait()

    def _silence_left(self, resident: Resident) -> float | None:
        """Seconds until an engine that owes an answer has been silent for too long; None while it owes none."""
        assert resident.loaded is not None, "only what is loaded is listened to"
        engine, limit = resident.loaded.engine, self.settings.wedge_timeout
        silence = engine.silence if limit and isinstance(engine, Pulses) else 0.0
        return limit - silence if silence else None

    async def _ask_how_it_is(self, resident: Resident) -> None:
        """An engine that runs but does not answer so often in a row is as good as gone, and is made so."""
        assert resident.loaded is not None, "only what is loaded is asked"
        if resident.is_elsewhere:
            return  # a server of somebody else's is not ours to replace, nor to be asked every half minute
        resident.unanswered = 0 if await resident.loaded.engine.healthy() else resident.unanswered + 1
        if resident.unanswered >= _UNANSWERED:
            resident.ended(f"The engine runs, but did not answer {_UNANSWERED} health checks in a row.")


@asynccontextmanager
async def _while_it_runs(resident: Resident) -> AsyncGenerator[None]:
    """What is asked of an engine is asked no more when it is heard to have ended: a node that is cut off lets
    questions hang."""
    try:
        async with asyncio.timeout(None) as asking:
            resident.on_end = lambda: asking.reschedule(now())
            yield
    except TimeoutError:
        if not resident.ended_by_itself:
            raise
    finally:
        resident.on_end = None


async def _measured_here(pid: int | None) -> int | None:
    return None if pid is None else await asyncio.to_thread(measured, pid)


def _or_ever(seconds: float | None) -> float:
    return inf if seconds is None else seconds


def _more(size: int) -> int:
    return size + max(size // 2, _LEAST_RAISE)


def _starved(size: Weight, then: str, error: OutOfMemory) -> str:
    return f"Memory ran out while it loaded with {size.total // _MIB} MiB set aside for it. {then}\n{error.message}"
