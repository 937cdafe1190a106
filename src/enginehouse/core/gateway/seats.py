"""A slot and a lease in one hand: waits for the right to run, then for the model to be in memory."""

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol

from msgspec import Struct

from enginehouse.core.admission import Admission
from enginehouse.core.admission.gate import Gate
from enginehouse.core.admission.ticket import Ticket
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies
from enginehouse.core.gateway.naming import Naming
from enginehouse.core.identity import SERVICE
from enginehouse.engines.base import Engine
from enginehouse.errors import ModelNotFound
from enginehouse.residency.base import Lease, Terms
from enginehouse.residency.manager import Residency
from enginehouse.types import Deployment, Model, Request

__all__ = ["Seat", "Seating", "Seats", "Served", "Sitting"]


class Served(Struct, frozen=True, kw_only=True):
    """By whom a request is answered."""

    model: Model
    deployment: Deployment


class Seat(Served, frozen=True, kw_only=True):
    """A place to run."""

    engine: Engine


class Seating(Protocol):
    """Where requests sit down: `Seats`, or at the owner, for whom this process only works."""

    def seat(
        self, request: Request, model: Model, deployment: Deployment
    ) -> AbstractAsyncContextManager[Seat | None]:
        """A place at this deployment; None when the model went away while the request waited.

        Raises:
            QueueFull, QueueTimeout, ModelLoadFailed, LoadTimeout, ShuttingDown: it cannot be had.
        """
        ...

    def resolve(self, request: Request, name: str) -> Model:
        """The model of this name: `Naming.resolve`."""
        ...

    async def came_down(self, deployment: Deployment) -> bool:
        """Whether the engine here has just ended, so that asking again may help."""
        ...


class Seats(Naming):
    """Satisfies `Seating` by what this process owns.

    Args:
        catalogue: what names mean.
        admission: whose slots.
        residency: whose leases.
        copies: which copy of a model is next.
    """

    def __init__(self, catalogue: Catalogue, admission: Admission, residency: Residency, copies: Copies) -> None:
        super().__init__(catalogue, admission)
        self.residency = residency
        self._copies = copies

    def seat(self, request: Request, model: Model, deployment: Deployment) -> "Sitting":
        """A place at this deployment; None when the model went away while the request waited.

        Raises:
            QueueFull, QueueTimeout, ModelLoadFailed, LoadTimeout, ShuttingDown: it cannot be had.
        """
        return Sitting(self, request, self.ticket(request, model, deployment), model, deployment)

    async def came_down(self, deployment: Deployment) -> bool:
        """Whether the engine here has just ended, so that asking again may help."""
        return await self.residency.came_down(deployment.id)

    def ticket(self, request: Request, model: Model, deployment: Deployment) -> Ticket:
        """The right to a slot there, in its turn."""
        principal, queueing = request.principal, request.queueing
        return self._admission.slot(
            deployment,
            slots=self._copies.slots(model) if deployment is model.deployments[0] else None,
            priority=request.priority,
            tenant=principal.tenant or principal.user if queueing is None else queueing.tenant,
            limit=None if queueing is None else queueing.limit,
        )

    def gate_now(self, deployment: Deployment) -> Gate | None:
        """Where a slot there may be had without waiting; None where others have a word in it."""
        return self._admission.gate_now(deployment)

    def place(self, model: Model, deployment: Deployment) -> tuple[Model, Deployment, Terms] | None:
        """The copy that takes the next request, as things are by now; None when the model went away."""
        current = self.catalogue.find(model.id)
        place = None if current is None else next((d for d in current.deployments if d.id == deployment.id), None)
        return None if current is None or place is None else (current, *self._copies.pick(current, place))

    def answered(self, request: Request, seat: Seat) -> None:
        """What the engine took goes into its figures; the service's own requests are nobody's use of it."""
        if request.principal != SERVICE and request.timings.upstream is not None:
            self.residency.answered(seat.deployment.id, request.timings.upstream)


class Sitting:
    """One request's slot and lease, as a context; from `Seats.seat`."""

    def __init__(
        self, seats: Seats, request: Request, ticket: Ticket, model: Model, deployment: Deployment
    ) -> None:
        self._seats, self._request, self._ticket = seats, request, ticket
        self._wanted = model, deployment
        self._lease: AbstractAsyncContextManager[Lease] | None = None
        self._seat: Seat | None = None

    async def __aenter__(self) -> Seat | None:
        timings, ticket = self._request.timings, self._ticket
        timings.model, timings.queue, timings.load = self._wanted[0].id, None, None
        timings.place = ticket
        with timings.phase("queue"):
            slot = await ticket.__aenter__()
        timings.place, timings.queue, timings.stood = None, slot.waited, ticket.stood
        try:
            self._seat = await self._leased()
        except BaseException as error:
            await ticket.__aexit__(type(error), error, error.__traceback__)
            raise
        return self._seat

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._seat is not None:
                self._seats.answered(self._request, self._seat)
        finally:
            try:
                if self._lease is not None:
                    await self._lease.__aexit__(kind, error, trace)
            finally:
                await self._ticket.__aexit__(kind, error, trace)

    async def _leased(self) -> Seat | None:
        found = self._seats.place(*self._wanted)
        if found is None:
            return None
        model, place, terms = found
        timings = self._request.timings
        timings.deployment = place.id
        lease = self._seats.residency.lease(place, terms, counted=self._request.principal != SERVICE)
        try:
            with timings.phase("load"):
                held = await lease.__aenter__()
        except ModelNotFound:
            return None
        self._lease, timings.load = lease, held.waited
        return Seat(model=model, deployment=place, engine=held.engine)
