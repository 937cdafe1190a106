"""A slot and a lease in one hand: waits for the right to run, then for the model to be in memory."""

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies
from enginehouse.core.identity import SERVICE
from enginehouse.core.usable import resolved_for
from enginehouse.engines.base import Engine
from enginehouse.errors import InvalidRequest, ModelNotFound
from enginehouse.residency.manager import Residency
from enginehouse.types import Deployment, Kind, Model, Operation, Request

__all__ = ["Seat", "Seats", "Served"]

_KINDS: Mapping[Operation, Collection[Kind]] = {
    Operation.CHAT: {Kind.CHAT},
    Operation.COMPLETION: {Kind.CHAT},
    Operation.COUNT: {Kind.CHAT},
    Operation.EMBEDDING: {Kind.EMBEDDING},
    Operation.RERANK: {Kind.RERANK, Kind.EMBEDDING},
    Operation.CLASSIFICATION: {Kind.CLASSIFIER},
}


class Served(Struct, frozen=True, kw_only=True):
    """By whom a request is answered."""

    model: Model
    deployment: Deployment


class Seat(Served, frozen=True, kw_only=True):
    """A place to run."""

    engine: Engine


class Seats:
    """Where requests sit down.

    Args:
        catalogue: what names mean.
        admission: whose slots.
        residency: whose leases.
        copies: which copy of a model is next.
    """

    def __init__(self, catalogue: Catalogue, admission: Admission, residency: Residency, copies: Copies) -> None:
        self.catalogue = catalogue
        self.residency = residency
        self._admission = admission
        self._copies = copies

    @asynccontextmanager
    async def seat(self, request: Request, model: Model, deployment: Deployment) -> AsyncGenerator[Seat | None]:
        """A place at this deployment; None when the model went away while the request waited.

        Raises:
            QueueFull, QueueTimeout, ModelLoadFailed, LoadTimeout, ShuttingDown: it cannot be had.
        """
        async with AsyncExitStack() as stack:
            seat = await self._sit(stack, request, model, deployment)
            yield seat
            if seat is not None:
                self._answered(request, seat)

    def resolve(self, request: Request, name: str) -> Model:
        """The model of this name, which has to be one for what is asked.

        Raises:
            ModelNotFound, InvalidRequest: no such model, or it is for something else.
            PermissionDenied: the caller may not use this model, or not claim this priority.
        """
        model = resolved_for(request.principal, self.catalogue, name)
        _check_kind(model, request.operation)
        self._admission.check_claim(request.principal, request.priority)
        return model

    async def came_down(self, deployment: Deployment) -> bool:
        """Whether the engine here has just ended, so that asking again may help."""
        return await self.residency.came_down(deployment.id)

    async def _sit(
        self, stack: AsyncExitStack, request: Request, model: Model, deployment: Deployment
    ) -> Seat | None:
        timings, principal = request.timings, request.principal
        timings.model, timings.queue, timings.load = model.id, None, None
        queueing = request.queueing
        ticket = self._admission.slot(
            deployment,
            slots=self._copies.slots(model) if deployment is model.deployments[0] else None,
            priority=request.priority,
            tenant=principal.tenant or principal.user if queueing is None else queueing.tenant,
            limit=None if queueing is None else queueing.limit,
        )
        timings.place = ticket
        with timings.phase("queue"):
            slot = await stack.enter_async_context(ticket)
        timings.place, timings.queue, timings.stood = None, slot.waited, ticket.stood
        current = self.catalogue.find(model.id)
        place = None if current is None else next((d for d in current.deployments if d.id == deployment.id), None)
        if current is None or place is None:
            return None
        place, terms = self._copies.pick(current, place)
        timings.deployment = place.id
        counted = principal != SERVICE
        try:
            with timings.phase("load"):
                lease = await stack.enter_async_context(self.residency.lease(place, terms, counted=counted))
        except ModelNotFound:
            return None
        timings.load = lease.waited
        return Seat(model=current, deployment=place, engine=lease.engine)

    def _answered(self, request: Request, seat: Seat) -> None:
        """What the engine took goes into its figures; the service's own requests are nobody's use of it."""
        if request.principal != SERVICE and request.timings.upstream is not None:
            self.residency.answered(seat.deployment.id, request.timings.upstream)


def _check_kind(model: Model, operation: Operation) -> None:
    if operation in _KINDS and model.kind not in _KINDS[operation]:
        article = "an" if model.kind is Kind.EMBEDDING else "a"
        raise InvalidRequest(
            f"{model.id!r} is {article} {model.kind.value} model; it cannot be used for {operation.value}.",
            param="model",
        )
