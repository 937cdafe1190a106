"""Residency: which deployments are in memory, one task per resident, one writer for all of its state.

A decision contains no `await`: what is read to decide is still true when it is acted on. "Ready" and "reserved"
are one fact: whoever gets a resident gets it with the lease already counted.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Self

import structlog
from msgspec import Struct

from enginehouse.engines.base import Engine
from enginehouse.errors import Conflict, EnginehouseError, LoadTimeout, ModelLoadFailed, ModelNotFound, ShuttingDown
from enginehouse.residency.base import Launcher, Loaded
from enginehouse.residency.resident import Resident, ResidentStatus, now
from enginehouse.settings.schema import ResidencySettings
from enginehouse.types import Deployment, EngineName, ResidentState

__all__ = ["Lease", "Residency", "ResidentStatus"]

log = structlog.get_logger()


class Lease(Struct, frozen=True, kw_only=True):
    """The right to use a resident now; while it is held the resident is not stopped by us."""

    engine: Engine
    waited: float
    """Seconds from asking to having it: next to nothing when it was ready."""


class Residency:
    """The owner of all residents.

    Args:
        launchers: who loads, by engine.
        settings: limits and time-outs.
    """

    def __init__(self, launchers: Mapping[EngineName, Launcher], settings: ResidencySettings) -> None:
        self._launchers = launchers
        self._settings = settings
        self._residents: dict[str, Resident] = {}
        self._tasks = asyncio.TaskGroup()
        self._closing = False

    async def __aenter__(self) -> Self:
        """Open for business."""
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Let every lease end, then stop every engine; after an error or a cancel, stop them at once."""
        self._closing = True
        for resident in self._residents.values():
            resident.dismiss(_shutting_down())
            if error[0] is not None and resident.task is not None:
                resident.task.cancel()
        await self._tasks.__aexit__(None, None, None)

    @property
    def closing(self) -> bool:
        """Whether it lets nobody in any more."""
        return self._closing

    @asynccontextmanager
    async def lease(self, deployment: Deployment, *, ttl: float | None = None) -> AsyncGenerator[Lease]:
        """The deployment's engine, loaded first if it has to be; N callers at once cause one load.

        Args:
            deployment: what to use; when it differs from what runs under the same id, that drains first.
            ttl: idle seconds before it leaves memory; None takes the service's default, 0 means never.

        Raises:
            ModelLoadFailed, SourceError, LoadTimeout: the load failed, for every waiter alike.
            Conflict: it was unloaded while it was loading.
            ShuttingDown: the service is on its way out.
        """
        asked = now()
        resident = self._resident(deployment.id)
        resident.ttl = self._ttl(ttl)
        loaded = resident.take(deployment) or await self._join(resident, deployment)
        try:
            yield Lease(engine=loaded.engine, waited=now() - asked)
        finally:
            resident.release(loaded)

    async def load(self, deployment: Deployment, *, ttl: float | None = None) -> ResidentStatus:
        """Bring it into memory; returns when it is ready."""
        async with self.lease(deployment, ttl=ttl):
            return self.status(deployment)

    async def unload(self, deployment_id: str) -> None:
        """Out of memory: running requests end first, a load under way is stopped. Returns when it is gone."""
        resident = self._residents.get(deployment_id)
        if resident is None or resident.state in {ResidentState.OFF, ResidentState.FAILED}:
            return
        resident.dismiss(Conflict("The model was unloaded while it was loading. Ask again to load it."))
        await resident.gone.wait()

    def replace(self, deployment: Deployment) -> None:
        """A deployment was configured anew: what runs drains, waiters get the new one."""
        resident = self._residents.get(deployment.id)
        if resident is not None and resident.wanted != deployment:
            resident.wanted = deployment
            resident.dismiss()

    def adopt(self, settings: ResidencySettings) -> None:
        """New limits count from the next decision on."""
        self._settings = settings

    def forget(self, deployment_id: str) -> None:
        """A deployment is no more: running requests end, waiters are told."""
        if resident := self._residents.get(deployment_id):
            resident.dismiss(ModelNotFound(deployment_id))

    def status(self, deployment: Deployment) -> ResidentStatus:
        """How it stands now."""
        resident = self._residents.get(deployment.id)
        if resident is None:
            return ResidentStatus(
                id=deployment.id, model=deployment.model, engine=deployment.engine, state=ResidentState.OFF
            )
        return resident.status(deployment)

    def log(self, deployment_id: str) -> Sequence[str]:
        """The last lines its engine process wrote, over all of its lives."""
        resident = self._residents.get(deployment_id)
        return tuple(resident.log) if resident else ()

    def _resident(self, deployment_id: str) -> Resident:
        if self._closing:
            raise _shutting_down()
        return self._residents.setdefault(deployment_id, Resident())

    async def _join(self, resident: Resident, deployment: Deployment) -> Loaded:
        waiter: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        resident.waiters.append(waiter)
        resident.wanted = deployment
        self._start_if_off(resident)
        try:
            return await waiter
        except asyncio.CancelledError:
            # The grant may have come in the same tick as the cancel; its lease must not stay behind.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                resident.release(waiter.result())
            raise
        finally:
            if waiter in resident.waiters:
                resident.waiters.remove(waiter)

    def _start_if_off(self, resident: Resident) -> None:
        if resident.state in {ResidentState.OFF, ResidentState.FAILED} and resident.wanted is not None:
            name = f"resident {resident.wanted.id}"
            resident.begin(self._tasks.create_task(self._live(resident), name=name))

    async def _live(self, resident: Resident) -> None:
        """One life: load, serve, leave."""
        deployment = resident.deployment
        assert deployment is not None, "begin() has chosen what to load"
        failure: EnginehouseError | None = None
        try:
            async with AsyncExitStack() as stack:
                resident.ready(await self._load(stack, resident, deployment))
                log.info("model_leaves", model=deployment.id, reason=await self._stay(resident))
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
        if resident.waiters and not self._closing:
            self._start_if_off(resident)

    async def _load(self, stack: AsyncExitStack, resident: Resident, deployment: Deployment) -> Loaded:
        launcher = self._launchers.get(deployment.engine)
        if launcher is None:
            raise ModelLoadFailed(f"No launcher for the engine {deployment.engine.value!r} is installed.")
        log.info("model_loads", model=deployment.id)
        stalls = self._settings.load_stall_timeout
        try:
            async with asyncio.timeout(self._settings.load_timeout), asyncio.timeout(stalls) as stall:
                resident.on_progress = lambda: stall.reschedule(now() + stalls)
                loaded = await stack.enter_async_context(launcher.load(deployment, resident))
        except TimeoutError as error:
            raise LoadTimeout(
                f"Loading took longer than allowed ({resident.last_sign}). Raise residency.load_timeout "
                "or residency.load_stall_timeout.",
                retry_after=10,
            ) from error
        finally:
            resident.on_progress = None
        log.info("model_ready", model=deployment.id, seconds=round(now() - resident.since, 3))
        return loaded

    async def _stay(self, resident: Resident) -> str:
        """Until it has to leave and nobody holds a lease; returns why it leaves."""
        while True:
            if resident.ended_by_itself:
                resident.drain()
                raise ModelLoadFailed(resident.ended_by_itself)
            if resident.state is ResidentState.DRAINING and not resident.leases:
                return "asked to"
            left = resident.idle_left()
            if left is not None and left <= 0:
                resident.drain()
                return "idle"
            resident.wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await resident.wake.wait()

    def _ttl(self, ttl: float | None) -> float:
        if not self._settings.enable_idle_timeout:
            return 0.0
        return self._settings.idle_timeout if ttl is None else ttl


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("The service is shutting down.", retry_after=5)
