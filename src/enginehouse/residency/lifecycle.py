"""One life of a resident: weighed, given room, loaded, measured, watched while it serves, and gone.

The owner of residency decides who lives; here is how a life goes, as one task from its beginning to its end.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import inf

import structlog

from enginehouse.errors import EnginehouseError, LoadTimeout, ModelLoadFailed
from enginehouse.residency.base import Launcher, Loaded
from enginehouse.residency.decisions import Decisions
from enginehouse.residency.memory import Footprints, footprint_of, measured
from enginehouse.residency.policy import Footprint
from enginehouse.residency.resident import Resident, now
from enginehouse.residency.room import Room
from enginehouse.settings.schema import ResidencySettings
from enginehouse.types import Deployment, EngineName, ResidentState

__all__ = ["Lifecycle"]

log = structlog.get_logger()

_UNANSWERED = 3
"""Health checks in a row that an engine may leave unanswered."""


class Lifecycle:
    """What all lives share.

    Args:
        launchers: who loads, by engine.
        settings: limits and time-outs; a new value counts from the next decision on.
        footprints: what was measured before.
        room: where memory is asked for.
        decisions: where reasons are kept.
    """

    def __init__(
        self,
        launchers: Mapping[EngineName, Launcher],
        settings: ResidencySettings,
        footprints: Footprints,
        room: Room,
        decisions: Decisions,
    ) -> None:
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
                need = await self._weigh(resident, deployment)
                stack.callback(self._room.give_back, deployment.id)
                await self._wait_for_room(resident, deployment, need)
                resident.ready(await self._load(stack, resident, deployment))
                await self._measure(resident, deployment)
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

    async def _weigh(self, resident: Resident, deployment: Deployment) -> Footprint:
        """What it needs; files are fetched for that, for as long as they keep coming."""
        async with self._progressing(resident, None):
            estimate = await self._launcher(deployment).weigh(deployment, resident)
        known = self._footprints.known(deployment)
        ram = known if known is not None else round(estimate * self.settings.vram_multiplier)
        return footprint_of(deployment, ram)

    async def _wait_for_room(self, resident: Resident, deployment: Deployment, need: Footprint) -> None:
        self._room.check(deployment.id, need)
        try:
            async with asyncio.timeout(self.settings.load_timeout):
                await self._room.take(deployment.id, need, since=resident.asked_since, terms=resident.terms)
        except TimeoutError as error:
            raise LoadTimeout(
                "No room in memory came free: what is there is of a higher priority, or does not end. "
                "Unload something, or raise residency.load_timeout.",
                retry_after=30,
            ) from error

    async def _load(self, stack: AsyncExitStack, resident: Resident, deployment: Deployment) -> Loaded:
        self._decisions.note(deployment.id, "loads", "It was asked for, and there is room.")
        resident.since = now()
        async with self._progressing(resident, self.settings.load_timeout):
            loaded = await stack.enter_async_context(self._launcher(deployment).load(deployment, resident))
        self._decisions.note(deployment.id, "ready", f"It answers after {now() - resident.since:.3f} s.")
        return loaded

    async def _measure(self, resident: Resident, deployment: Deployment) -> None:
        """What it really takes replaces the estimate, now and after a restart."""
        pid = resident.loaded.pid if resident.loaded else None
        size = await asyncio.to_thread(measured, pid) if pid is not None else None
        if size is not None:
            self._room.ledger.settle(deployment.id, footprint_of(deployment, size))
            await asyncio.to_thread(self._footprints.remember, deployment, size)
            self._room.review()

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
            if left is not None and left <= 0:
                resident.drain()
                return f"It was idle for {resident.ttl:g} s."
            if now() >= ask_at:
                await self._ask_how_it_is(resident)
                ask_at = now() + self.settings.health_interval
                continue
            resident.wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(ask_at - now(), inf if left is None else left)):
                    await resident.wake.wait()

    async def _ask_how_it_is(self, resident: Resident) -> None:
        """An engine that runs but does not answer so often in a row is as good as gone, and is made so."""
        assert resident.loaded is not None, "only what is loaded is asked"
        if resident.is_elsewhere:
            return  # a server of somebody else's is not ours to replace, nor to be asked every half minute
        resident.unanswered = 0 if await resident.loaded.engine.healthy() else resident.unanswered + 1
        if resident.unanswered >= _UNANSWERED:
            resident.ended(f"The engine runs, but did not answer {_UNANSWERED} health checks in a row.")
