"""The gateway: joins the rooms of the core into the way of one request.

A request is a stack of contexts: a slot, a lease, the engine's answer. Who leaves early unwinds it, in every
phase, and each exit runs once.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
from msgspec import Struct

from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies
from enginehouse.core.identity import SERVICE
from enginehouse.engines.base import Call, Embedding, Embeds, Engine, Forwards, Reply
from enginehouse.engines.openai_http import error_from_reply
from enginehouse.errors import (
    EnginehouseError,
    InvalidRequest,
    LoadTimeout,
    ModelNotFound,
    QueueTimeout,
    UpstreamTimeout,
)
from enginehouse.residency.manager import Residency
from enginehouse.types import Deployment, Kind, Model, Operation, Request

__all__ = ["Gateway", "Seat", "patience"]

_KINDS = {
    Operation.CHAT: {Kind.CHAT},
    Operation.COMPLETION: {Kind.CHAT},
    Operation.EMBEDDING: {Kind.EMBEDDING},
}


class Seat(Struct, frozen=True, kw_only=True):
    """A slot and a lease in one hand."""

    model: Model
    deployment: Deployment
    engine: Engine


class Gateway:
    """Where faces hand in requests."""

    def __init__(self, catalogue: Catalogue, admission: Admission, residency: Residency, copies: Copies) -> None:
        self._catalogue = catalogue
        self._admission = admission
        self._residency = residency
        self._copies = copies

    @asynccontextmanager
    async def seat(self, request: Request) -> AsyncGenerator[Seat]:
        """A place to run: waits for a slot, then for the model to be in memory.

        Raises:
            ModelNotFound, InvalidRequest: no such model, or it is for something else.
            PermissionDenied: the caller's role may not claim this priority.
            QueueFull, QueueTimeout, ModelLoadFailed, LoadTimeout, ShuttingDown: it cannot be had.
        """
        while True:
            async with AsyncExitStack() as stack:
                seat = await self._sit(stack, request)
                if seat is not None:
                    yield seat
                    self._answered(request, seat)
                    return
            request.timings.queue = None  # it stands in another line now

    def _answered(self, request: Request, seat: Seat) -> None:
        """What the engine took goes into its figures; the service's own requests are nobody's use of it."""
        if request.principal != SERVICE and request.timings.upstream is not None:
            self._residency.answered(seat.deployment.id, request.timings.upstream)

    async def _sit(self, stack: AsyncExitStack, request: Request) -> Seat | None:
        """None when the model went away while the request waited: its name may mean another one by now."""
        model = self._catalogue.resolve(request.model)
        _check_kind(model, request.operation)
        request.timings.model = model.id
        principal = request.principal
        self._admission.check_claim(principal, request.priority)
        ticket = self._admission.slot(
            model.deployments[0],
            slots=self._copies.slots(model),
            priority=request.priority,
            tenant=principal.tenant or principal.user,
        )
        request.timings.place = ticket
        slot = await stack.enter_async_context(ticket)
        request.timings.place, request.timings.queue = None, slot.waited
        current = self._catalogue.find(model.id)
        if current is None:
            return None
        deployment, terms = self._copies.pick(current)
        request.timings.deployment = deployment.id
        counted = principal != SERVICE
        try:
            lease = await stack.enter_async_context(self._residency.lease(deployment, terms, counted=counted))
        except ModelNotFound:
            return None
        request.timings.load = lease.waited
        return Seat(model=current, deployment=deployment, engine=lease.engine)

    @asynccontextmanager
    async def forward(self, request: Request, seat: Seat) -> AsyncGenerator[Reply]:
        """The engine's own answer, its body unread; an error of the engine is raised as ours.

        Raises:
            InvalidRequest, ContextLengthExceeded: the engine refused what the caller wrote.
            UpstreamRefused, UpstreamDied, UpstreamTimeout: the engine failed.
        """
        if not isinstance(seat.engine, Forwards):
            raise InvalidRequest(f"The model {seat.model.id!r} cannot do this.", param="model")
        call = Call(
            operation=request.operation,
            body=_prepared(seat.deployment, request.body),
            stream=request.stream,
            request_id=request.request_id,
        )
        async with _measured(request), seat.engine.forward(call) as reply:
            if reply.status >= 400:
                raise await error_from_reply(reply)
            yield reply

    async def came_down(self, request: Request) -> bool:
        """Whether the engine here that this request was on has just ended, so that asking again may help."""
        deployment_id = request.timings.deployment
        return deployment_id is not None and await self._residency.came_down(deployment_id)

    async def embed(self, request: Request, engine: Embeds, texts: list[str] | list[list[int]]) -> Embedding:
        """Vectors from an engine that computes them itself."""
        async with _measured(request):
            return await engine.embed(texts)


@asynccontextmanager
async def patience(request: Request) -> AsyncGenerator[asyncio.Timeout]:
    """What the caller is willing to wait; reschedule it to None when the first byte is there.

    Raises:
        QueueTimeout, LoadTimeout, UpstreamTimeout: by the phase in which the time ran out.
    """
    limit = asyncio.timeout(request.timeout)
    try:
        async with limit:
            yield limit
    except TimeoutError:
        if not limit.expired():
            raise
        raise _too_late(request) from None


def _too_late(request: Request) -> EnginehouseError:
    waited = f"Nothing came within the {request.timeout:g} s of X-Request-Timeout"
    if request.timings.queue is None:
        return QueueTimeout(f"{waited}: the request was still waiting for a slot.", retry_after=1)
    if request.timings.load is None:
        return LoadTimeout(f"{waited}: the model was still loading.", retry_after=1)
    return UpstreamTimeout(f"{waited}: the engine had not answered yet.")


@asynccontextmanager
async def _measured(request: Request) -> AsyncGenerator[None]:
    clock = asyncio.get_running_loop().time
    started = clock()
    try:
        yield
    finally:
        request.timings.upstream = clock() - started


def _check_kind(model: Model, operation: Operation) -> None:
    if model.kind not in _KINDS[operation]:
        article = "an" if model.kind is Kind.EMBEDDING else "a"
        raise InvalidRequest(
            f"{model.id!r} is {article} {model.kind.value} model; it cannot be used for {operation.value}.",
            param="model",
        )


def _prepared(deployment: Deployment, body: bytes) -> bytes:
    """The body with what the configuration adds: the engine's name for the model, parameters nobody gave.

    Untouched, to the byte, when there is nothing to add.
    """
    if deployment.upstream_model is None and not deployment.defaults:
        return body
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if deployment.upstream_model is not None:
        fields["model"] = msgspec.Raw(msgspec.json.encode(deployment.upstream_model))
    for name, value in deployment.defaults:
        fields.setdefault(name, msgspec.Raw(value.encode()))
    return msgspec.json.encode(fields)
