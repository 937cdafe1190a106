"""Residency: which deployments are in memory, one task per resident, one writer for all of its state.

A decision contains no `await`: what is read to decide is still true when it is acted on. "Ready" and "reserved"
are one fact: whoever gets a resident gets it with the lease already counted.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Self

from msgspec import structs

from enginehouse.engines.base import Engine
from enginehouse.errors import Conflict, EnginehouseError, ShuttingDown
from enginehouse.residency.base import USUAL, Door, Launcher, Lease, Loaded, Terms
from enginehouse.residency.decisions import Decisions
from enginehouse.residency.figures import Cause, Figures, WarmUp
from enginehouse.residency.fleet.room import FleetRoom
from enginehouse.residency.lifecycle import Lifecycle
from enginehouse.residency.machine import Machine, ThisMachine
from enginehouse.residency.memory import ByteLedger, Footprints, capacity_of
from enginehouse.residency.placement import elsewhere, places
from enginehouse.residency.policy import Footprint, Rules, Standing, bytes_by_pool, fits, tidy
from enginehouse.residency.resident import Resident, ResidentStatus, now
from enginehouse.residency.room import Places, Room
from enginehouse.settings.schema import ResidencySettings
from enginehouse.telemetry.context import nobodys
from enginehouse.telemetry.events import EventStream
from enginehouse.types import Deployment, EngineName, ResidentState

__all__ = ["Residency", "ResidentStatus"]

_LAST_GASP = 2.0
"""Seconds in which an engine that dropped a connection has to be gone for that to count as its end."""


class Residency:
    """The owner of all residents.

    Args:
        launchers: who loads, by engine.
        settings: limits and time-outs.
        footprints: what was measured before; forgotten with the process when left out.
        machine: what there is; this one, without its GPUs, when left out.
        ram: bytes of main memory; the machine's when left out.
        places: where a deployment may lie here; by its weight and its flags when left out.
        fleet: the room of many nodes, when residents lie there and not here.
        on_change: called with a picture of a resident after every change of its state; it must not wait or raise.
    """

    def __init__(
        self,
        launchers: Mapping[EngineName, Launcher],
        settings: ResidencySettings,
        *,
        footprints: Footprints | None = None,
        machine: Machine | None = None,
        ram: int | None = None,
        places: Places = places,
        fleet: FleetRoom | None = None,
        on_change: Callable[[ResidentStatus], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        machine = machine or ThisMachine((), None)
        self._ram = machine.ram().total if ram is None else ram
        self._gpus = {gpu.index: gpu.memory.total for gpu in machine.gpus()}
        self._on_change = on_change
        self.decisions = Decisions()
        """Why what happened happened; to be read."""
        self._residents: dict[str, Resident] = {}
        self._room = fleet or Room(
            ByteLedger(capacity_of(settings, self._ram, self._gpus)),
            _rules(settings),
            gpus=self._gpus,
            places=places,
            standing=self._standing,
            evict=self._make_room,
            decisions=self.decisions,
        )
        if fleet is not None:
            fleet.serve(self._standing, self._make_room, self.decisions)
        self._footprints = footprints = footprints or Footprints(None, "")
        self._lifecycle = Lifecycle(
            launchers, settings, footprints, self._room, self.decisions, machine, self._gpus
        )
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
            resident.dismiss(Cause.SHUTDOWN, _shutting_down())
            if error[0] is not None and resident.task is not None:
                resident.task.cancel()
        await self._tasks.__aexit__(None, None, None)

    @property
    def closing(self) -> bool:
        """Whether it lets nobody in any more."""
        return self._closing

    def lease(self, deployment: Deployment, terms: Terms = USUAL, *, counted: bool = True) -> "Leasing":
        """The deployment's engine, loaded first if it has to be; N callers at once cause one load.

        Args:
            deployment: what to use; when it differs from what runs under the same id, that drains first.
            terms: how long it stays, and how it stands against others.
            counted: whether this is a caller's request, to be seen in the figures.

        Raises:
            InsufficientMemory: it would not fit with all else gone.
            ModelLoadFailed, SourceError, LoadTimeout: the load failed, for every waiter alike, or did a short while
                ago: then the error says when it is tried again.
            Conflict: it was unloaded while it was loading.
            ShuttingDown: the service is on its way out.
        """
        return Leasing(self, deployment, terms, counted=counted)

    async def taken(self, deployment: Deployment, terms: Terms, *, counted: bool) -> tuple[Resident, Loaded]:
        """The resident and what is loaded of it, once it is ready; to be given back. Raises as `lease`."""
        resident = self._resident(deployment.id)
        resident.terms, resident.ttl = terms, self._ttl(terms.ttl)
        ready = resident.take(deployment)
        if counted:
            resident.figures.was_asked(found=ready is not None)
        loaded = ready or await self._join(resident, deployment)
        self._room.note(deployment.id)
        return resident, loaded

    def ready_now(self, deployment: Deployment) -> Loaded | None:
        """What `lend_now` would lend."""
        resident = self._residents.get(deployment.id)
        return None if resident is None or self._closing else resident.lendable(deployment)

    def lend_now(
        self, deployment: Deployment, terms: Terms = USUAL, number: int = 1, *, counted: bool = True
    ) -> tuple[Resident, Loaded] | None:
        """What `taken` gives, if it is ready and there is nothing else to do; else None, and nothing has happened.

        Args:
            deployment: what to use.
            terms: how long it stays, and how it stands against others.
            number: leases; each is to be given back.
            counted: whether these are callers' requests, to be seen in the figures.
        """
        resident = self._residents.get(deployment.id)
        if resident is None or self._closing or (loaded := resident.take_now(deployment, number)) is None:
            return None
        resident.terms, resident.ttl = terms, self._ttl(terms.ttl)
        if counted:
            resident.figures.was_asked(number, found=True)
        self._room.note(deployment.id)
        return resident, loaded

    def give_back(self, resident: Resident, loaded: Loaded, number: int = 1) -> None:
        """So many leases have ended."""
        resident.release(loaded, number)
        if not resident.leases:
            if resident.deployment is not None:
                self._room.note(resident.deployment.id)
            self._room.review()

    async def load(self, deployment: Deployment, terms: Terms = USUAL) -> ResidentStatus:
        """Bring it into memory; returns when it is ready."""
        async with self.lease(deployment, terms, counted=False):
            return self.status(deployment)

    def load_soon(self, deployment: Deployment, terms: Terms = USUAL) -> None:
        """Begin to bring it into memory, for nobody in particular: how that ends is seen in its status.

        Raises:
            ShuttingDown: the service is on its way out.
        """
        if self._closing:
            raise _shutting_down()

        async def quietly() -> None:
            with suppress(EnginehouseError):
                await self.load(deployment, terms)

        self._tasks.create_task(quietly(), name=f"load {deployment.id}")

    def used(self, deployment_id: str, *, running: bool, requests: int) -> None:
        """Who holds leases tells whether requests run under them, and how many there were since it last did."""
        if resident := self._residents.get(deployment_id):
            resident.was_used(running=running, requests=requests)
            self._room.note(deployment_id)

    def vacate(self, deployment_id: str) -> None:
        """It shall leave where it is: its leases end first, and who waits for it gets its next life."""
        if resident := self._residents.get(deployment_id):
            resident.dismiss(Cause.ROOM)

    def uproot(self, deployment_id: str) -> None:
        """Where it was is no more: this life is over at once, and who waits for it gets its next one."""
        if resident := self._residents.get(deployment_id):
            resident.dismiss(Cause.LOST)
            if resident.state is ResidentState.DRAINING and resident.task is not None:
                resident.task.cancel()  # it may be asking how the engine is, and would wait for the answer

    def broke(self, deployment_id: str, reason: str) -> None:
        """Somebody who holds a lease found its engine to be out of order: it counts as a crash."""
        resident = self._residents.get(deployment_id)
        if resident is not None and resident.state is ResidentState.READY:
            resident.ended(reason)

    def leased(self, deployment_id: str) -> tuple[int, int, Terms]:
        """Requests that use it now, those that asked for it since the start, and the terms it has."""
        resident = self._residents.get(deployment_id)
        return (resident.leases, resident.figures.asked, resident.terms) if resident else (0, 0, USUAL)

    def reset(self, deployment_id: str) -> None:
        """Forget its failures: the next request tries to load it at once."""
        if resident := self._residents.get(deployment_id):
            resident.forgive()

    def pin(self, deployment_id: str, *, pinned: bool) -> None:
        """Keep it in memory once it is there, or let it go as others do, until this process ends.

        Raises:
            ShuttingDown: the service is on its way out.
        """
        self._resident(deployment_id).hold(pinned=pinned)
        self.decisions.note(deployment_id, "pinned" if pinned else "unpinned", "An admin said so.")
        self._room.review()

    async def unload(self, deployment_id: str) -> None:
        """Out of memory: running requests end first, a load under way is stopped. Returns when it is gone."""
        resident = self._residents.get(deployment_id)
        if resident is None or resident.at_rest:
            return
        resident.dismiss(
            Cause.UNLOADED, Conflict("The model was unloaded while it was loading. Ask again to load it.")
        )
        await resident.gone.wait()

    def dismiss(self, deployment_id: str, refusal: EnginehouseError) -> None:
        """The same without waiting for it; who waits for the deployment gets the refusal."""
        if resident := self._residents.get(deployment_id):
            resident.dismiss(Cause.UNLOADED, refusal)

    def remove(self, deployment_id: str, refusal: EnginehouseError) -> None:
        """Like `dismiss`, since its model is no more: when it is gone, all that was kept of it is forgotten."""
        if resident := self._residents.get(deployment_id):
            resident.removed = True
            resident.dismiss(Cause.REMOVED, refusal)
            self._forget_if_gone(deployment_id, resident)

    def has_room_beside(self, deployment_id: str, copies: int = 1) -> bool:
        """Whether as much as so many copies of this one take is free, there or on one other GPU."""
        ledger = self._room.ledger
        ways = elsewhere(ledger.entries.get(deployment_id, {}), self._gpus)
        return any(fits({axis: copies * one for axis, one in way.items()}, ledger.free()) for way in ways)

    def tidy(self, excess: Footprint) -> Sequence[str]:
        """So much less shall be taken, by pool: who has to leave for that begins to, and is told."""
        standing = tuple(self._standing(self._room.ledger.entries))
        leaving = tidy(standing, excess, self._room.rules, now())
        for deployment_id in leaving:
            self.decisions.note(deployment_id, "evicted", "It is idle, and memory shall be freed.")
            self._residents[deployment_id].dismiss(Cause.CLEANUP)
        return leaving

    async def gone(self, deployment_id: str) -> None:
        """Returns when no engine runs under this id."""
        if resident := self._residents.get(deployment_id):
            await resident.gone.wait()

    def replace(self, deployment: Deployment) -> None:
        """A deployment was configured anew: what runs drains, waiters get the new one."""
        resident = self._residents.get(deployment.id)
        if resident is not None and resident.wanted != deployment:
            resident.wanted = deployment
            resident.forgive()
            resident.dismiss(Cause.EDITED)

    def adopt(self, settings: ResidencySettings) -> None:
        """New limits count from the next decision on; what is beyond them leaves when others need room."""
        self._settings = self._lifecycle.settings = settings
        self._room.ledger.resize(capacity_of(settings, self._ram, self._gpus))
        self._room.rules = _rules(settings)
        self._room.review()

    @property
    def settings(self) -> ResidencySettings:
        """The limits that count now."""
        return self._settings

    @property
    def memory(self) -> ByteLedger:
        """Who takes what; to be read, not written."""
        return self._room.ledger

    async def came_down(self, deployment_id: str) -> bool:
        """Whether its engine has ended or ends within a moment: the broken connection may be seen before the end.

        One that is known to be at its end is waited for, since it may take its time to go.
        """
        resident = self._residents.get(deployment_id)
        if resident is None or resident.is_elsewhere:
            return False
        down = resident.state is ResidentState.LOADING  # whoever noticed first has begun its next life already
        with suppress(TimeoutError):
            async with asyncio.timeout(None if resident.ended_by_itself else _LAST_GASP):
                await self._look_after(resident)
                down = down or await resident.gone.wait()
        return down and resident.state is not ResidentState.OFF

    async def _look_after(self, resident: Resident) -> None:
        """The end of a process on another machine is told late, if at all: what does not answer is gone."""
        loaded = resident.loaded
        if loaded is None or loaded.door is None or loaded.pid is not None or resident.ended_by_itself:
            return
        if not await loaded.engine.healthy():
            resident.ended("The engine does not answer any more.")

    def status(self, deployment: Deployment, *, pinned: bool = False) -> ResidentStatus:
        """How it stands now.

        Args:
            pinned: whether it would be, if nobody has asked for it yet.
        """
        resident = self._residents.get(deployment.id)
        if resident is None:
            model, engine = deployment.model, deployment.engine
            return ResidentStatus(
                id=deployment.id, model=model, engine=engine, state=ResidentState.OFF, pinned=pinned
            )
        return self._with_memory(resident.status(deployment))

    def explain(self, deployment_id: str) -> str | None:
        """Why a request for it would wait now; None when it would not."""
        resident = self._residents.get(deployment_id)
        if resident is None or resident.state is ResidentState.OFF:
            return "It is not in memory; the next request loads it."
        if kept_by := self._room.kept_by(deployment_id):
            return f"It waits for room in memory: {kept_by}."
        if resident.state is ResidentState.LOADING:
            return f"It has been loading for {now() - resident.since:.1f} s; {resident.last_sign}."
        if resident.state is ResidentState.DRAINING:
            return f"It leaves memory once its {resident.leases} running requests have ended."
        if resident.state is ResidentState.FAILED:
            return f"It failed, and is tried again in {resident.cooling:.0f} s."
        return None

    def engine(self, deployment_id: str) -> Engine | None:
        """What runs under this id, to ask how it is. Requests want a lease: this may stop at any moment."""
        resident = self._residents.get(deployment_id)
        return resident.loaded.engine if resident and resident.loaded else None

    def door(self, deployment_id: str) -> Door | None:
        """How what runs under this id is reached over HTTP by who holds a lease; None where it is not."""
        resident = self._residents.get(deployment_id)
        return resident.loaded.door if resident and resident.loaded else None

    def known_bytes(self, deployment: Deployment) -> int:
        """What it took the last time it was measured; 0 when it never was."""
        known = self._footprints.known(deployment)
        return known.total if known else 0

    def figures(self, deployment_id: str) -> Figures:
        """What was counted and measured of it; to be read, not written."""
        resident = self._residents.get(deployment_id)
        return resident.figures if resident else Figures()

    def answered(self, deployment_id: str, *seconds: float) -> None:
        """Its engine answered callers' requests to the end, and took so long for each."""
        if resident := self._residents.get(deployment_id):
            resident.figures.answered(*seconds)

    def warmed_up(self, deployment_id: str, warm_up: WarmUp) -> None:
        """A warm-up of it has ended."""
        if resident := self._residents.get(deployment_id):
            resident.figures.warm_up = warm_up

    def log(self, deployment_id: str) -> EventStream[str]:
        """The last lines its engine process wrote, over all of its lives, and those to come.

        Raises:
            ShuttingDown: the service is on its way out.
        """
        return self._resident(deployment_id).log

    def _resident(self, deployment_id: str) -> Resident:
        if self._closing:
            raise _shutting_down()
        known = self._residents.get(deployment_id)
        if known is None:
            known = self._residents[deployment_id] = Resident(self._tell)
        return known

    async def _join(self, resident: Resident, deployment: Deployment) -> Loaded:
        resident.check_cool_down()
        waiter: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        if not resident.waiters:
            resident.asked_since = now()
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
        if resident.at_rest and resident.wanted is not None:
            name = f"resident {resident.wanted.id}"
            # It outlives the request that begins it, and its lines in the log are not that one's.
            resident.begin(self._tasks.create_task(self._live(resident), name=name, context=nobodys()))

    async def _live(self, resident: Resident) -> None:
        await self._lifecycle.run(resident)
        if resident.waiters and not self._closing:
            self._start_if_off(resident)
        elif resident.deployment is not None:
            self._forget_if_gone(resident.deployment.id, resident)

    def _forget_if_gone(self, deployment_id: str, resident: Resident) -> None:
        if resident.removed and resident.at_rest and self._residents.get(deployment_id) is resident:
            del self._residents[deployment_id]

    def _make_room(self, victim: str) -> None:
        self._residents[victim].dismiss(Cause.ROOM)

    def _tell(self, status: ResidentStatus) -> None:
        self._room.note(status.id)
        self._on_change(self._with_memory(status))

    def _with_memory(self, status: ResidentStatus) -> ResidentStatus:
        entry = self._room.ledger.entries.get(status.id)
        if not entry:
            return status
        pools = bytes_by_pool([entry])
        ram = pools.pop("ram", 0)
        return structs.replace(status, ram=ram, vram=sum(pools.values()))

    def _standing(self, entries: Mapping[str, Footprint]) -> Iterable[Standing]:
        return [self._residents[name].standing(name, size) for name, size in entries.items()]

    def _ttl(self, ttl: float | None) -> float:
        if not self._settings.enable_idle_timeout:
            return 0.0
        return self._settings.idle_timeout if ttl is None else ttl


class Leasing:
    """One lease, as a context; from `Residency.lease`."""

    def __init__(self, residency: Residency, deployment: Deployment, terms: Terms, *, counted: bool) -> None:
        self._residency = residency
        self._wanted = deployment, terms
        self._counted = counted

    async def __aenter__(self) -> Lease:
        asked = now()
        self._resident, self._loaded = await self._residency.taken(*self._wanted, counted=self._counted)
        return Lease(engine=self._loaded.engine, waited=now() - asked)

    async def __aexit__(self, *_: object) -> None:
        self._residency.give_back(self._resident, self._loaded)


def _rules(settings: ResidencySettings) -> Rules:
    return Rules(max_wait=settings.max_wait, min_residency=settings.min_residency)


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("The service is shutting down.", retry_after=5)
