"""Copies of one model side by side: who takes the next request, and when more are worth their memory.

A model with `instances` has one line of waiters for all of its copies. The line grows them, up to the most that
is allowed; an idle timeout shrinks them again. A copy beyond the least takes free memory only: nobody leaves for
it, and it is the first to leave for others.
"""

from collections.abc import Iterable, Sequence
from math import ceil

from msgspec import structs

from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.errors import Conflict, ModelNotFound
from enginehouse.residency.base import Terms, terms_of
from enginehouse.residency.manager import Residency, ResidentStatus
from enginehouse.settings.schema import ResidencySettings
from enginehouse.types import Deployment, Instances, Model, Priority, ResidentState

__all__ = ["Copies", "copies_of", "next_copies", "told_as_model"]


def copies_of(model: Model) -> tuple[Deployment, ...]:
    """Every copy a model may have, the first being the deployment itself."""
    first = model.deployments[0]
    rest = (structs.replace(first, id=f"{first.id}#{number}") for number in range(2, model.instances.max + 1))
    return (first, *rest)


def next_copies(
    instances: Instances, states: Sequence[ResidentState], *, waited: float, patience: float, lacking: int
) -> tuple[int, ...]:
    """Which copies to load now, as indices: none when there are enough.

    When somebody has waited for too long there are as many more as those who wait would fill. But with every round
    there are at most twice as many as before, since the line that grows while copies load says little of how many
    are wanted.

    Args:
        states: of every copy, in order.
        waited: seconds for which the longest waiting request has waited.
        patience: seconds after which more copies are worth it.
        lacking: copies that those who wait would fill.
    """
    off = [n for n, state in enumerate(states) if state is ResidentState.OFF]
    loading = states.count(ResidentState.LOADING)
    least = sum(n < instances.min for n in off)
    wanted = max(least, lacking - loading if waited >= patience else 0)
    return tuple(off[: max(min(wanted, states.count(ResidentState.READY) - loading), 0)])


def places_of(model: Model) -> tuple[Deployment, ...]:
    """Every copy, and every further server."""
    return (*copies_of(model), *model.deployments[1:])


class Copies:
    """Joins the lines of admission with what residency has in memory.

    Args:
        admission: whose lines get as many slots as there are copies.
        residency: where copies live.
        settings: whether and when to grow and shrink.
    """

    def __init__(self, admission: Admission, residency: Residency, settings: ResidencySettings) -> None:
        self._admission = admission
        self._residency = residency
        self._settings = settings
        self._cramped: set[str] = set()
        """Copies that found no room, as it was last told."""

    def adopt(self, settings: ResidencySettings) -> None:
        """New settings count from the next review on."""
        self._settings = settings

    def slots(self, model: Model) -> int:
        """How many requests may run on all copies that are in memory."""
        each = model.deployments[0].slots
        return each if model.instances.max == 1 else each * max(len(self._ready(model)), 1)

    def pick(self, model: Model, deployment: Deployment | None = None) -> tuple[Deployment, Terms]:
        """The copy of a deployment for the next request: the least busy ready one, the first when none is."""
        first = model.deployments[0]
        wanted = deployment or first
        if model.instances.max == 1 or wanted.id != first.id:
            return wanted, terms_of(model)
        best = min(self._ready(model), default=(0, 0))
        return copies_of(model)[best[1]], self._terms(model, best[1])

    def review(self, models: Iterable[Model]) -> None:
        """Let lines have the slots that are there now, and begin to load what is worth it."""
        for model in models:
            if model.instances.max > 1:
                self._admission.resize(model.deployments[0].id, self.slots(model))
                if self._settings.enable_auto_scaling:
                    self._grow(model)

    def status(self, model: Model) -> ResidentStatus:
        """How the model stands: as its best copy does, with the requests of all."""
        return _status(self._residency, model)

    async def unload(self, model: Model) -> None:
        """Every copy out of memory, and off every server; returns when they are gone."""
        refusal = Conflict("The model was unloaded while it was loading. Ask again to load it.")
        for place in places_of(model)[1:]:
            self._residency.dismiss(place.id, refusal)
        for place in places_of(model):
            await self._residency.unload(place.id)

    def reset(self, model: Model) -> None:
        """Forget the failures of every copy and server."""
        for place in places_of(model):
            self._residency.reset(place.id)

    def pin(self, model: Model, *, pinned: bool) -> None:
        """Keep every copy in memory once it is there, or let it go as others do."""
        for copy in copies_of(model):
            self._residency.pin(copy.id, pinned=pinned)

    def replace(self, before: Model, after: Model | None) -> None:
        """A model was configured anew, or is no more: what runs drains, its waiters get the new one or are told."""
        keep = {place.id: place for place in places_of(after)} if after is not None else {}
        for place in places_of(before):
            if place.id in keep:
                self._residency.replace(keep[place.id])
            else:
                self._residency.remove(place.id, ModelNotFound(before.id))
        for deployment in before.deployments:
            if deployment.id not in keep:
                self._admission.forget(deployment.id)
        if after is not None:
            self._admission.resize(after.deployments[0].id, self.slots(after))

    def _ready(self, model: Model) -> list[tuple[int, int]]:
        """Running requests and index of every copy that is ready."""
        every = enumerate(self._residency.status(copy) for copy in copies_of(model))
        return [(one.leases, index) for index, one in every if one.state is ResidentState.READY]

    def _grow(self, model: Model) -> None:
        copies = copies_of(model)
        states = [self._residency.status(copy).state for copy in copies]
        waited, patience = self._admission.longest_wait(copies[0].id), self._settings.scale_up_wait
        lacking = ceil(self._waiting(copies[0]) / copies[0].slots)
        wanted = next_copies(model.instances, states, waited=waited, patience=patience, lacking=lacking)
        if not wanted:
            return
        beside = copies[states.index(ResidentState.READY)].id
        room = next((n for n in range(len(wanted), 0, -1) if self._residency.has_room_beside(beside, n)), 0)
        if not room:
            self._tell_once(copies[wanted[0]].id, "No memory is free for one more copy.")
        for index in wanted[:room]:
            self._cramped.discard(copies[index].id)
            self._residency.decisions.note(copies[index].id, "grows", f"A request has waited for {waited:.1f} s.")
            self._residency.load_soon(copies[index], self._terms(model, index))

    def _waiting(self, deployment: Deployment) -> int:
        stats = self._admission.stats(deployment.id)
        return sum(stats.depth.values()) if stats else 0

    def _tell_once(self, name: str, why: str) -> None:
        if name not in self._cramped:
            self._cramped.add(name)
            self._residency.decisions.note(name, "stays_small", why)

    def _terms(self, model: Model, index: int) -> Terms:
        if index < model.instances.min:
            return terms_of(model)
        return Terms(ttl=self._settings.scale_down_idle, priority=Priority.LOW, evicts=False)


def told_as_model(catalogue: Catalogue, residency: Residency, status: ResidentStatus) -> ResidentStatus:
    """A change of one copy, as those see it who know the model only."""
    try:
        model = catalogue.resolve(status.model)
    except ModelNotFound:
        return status
    return status if model.instances.max == 1 else _status(residency, model)


def _status(residency: Residency, model: Model) -> ResidentStatus:
    every = [residency.status(copy, pinned=model.pinned) for copy in copies_of(model)]
    if len(every) == 1:
        return every[0]
    best = next((one for one in every if one.state is ResidentState.READY), every[0])
    ready = sum(one.state is ResidentState.READY for one in every)
    leases, waiting = sum(one.leases for one in every), sum(one.waiting for one in every)
    ram, vram = _total(one.ram for one in every), _total(one.vram for one in every)
    return structs.replace(
        best, id=every[0].id, leases=leases, waiting=waiting, instances=ready, ram=ram, vram=vram
    )


def _total(amounts: Iterable[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None
