"""Where a worker's requests sit down: a slot and a lease at the owner, and an engine that is asked from here."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from enginehouse.app.workers.link import Asks, Held
from enginehouse.app.workers.words import Ending, Given, SeatAsked, Waiting
from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import copies_of
from enginehouse.core.gateway.naming import Naming
from enginehouse.core.gateway.seats import Seat
from enginehouse.engines.base import Engine
from enginehouse.engines.providers import connect_of
from enginehouse.errors import ModelLoadFailed
from enginehouse.residency.base import Door
from enginehouse.residency.launchers.llama import connecting
from enginehouse.types import Deployment, Model, Request
from enginehouse.types.phases import Span

__all__ = ["Engines", "LinkedSeats"]

_given = msgspec.msgpack.Decoder(Given | None).decode
_waiting = msgspec.msgpack.Decoder(Waiting).decode
_yes = msgspec.msgpack.Decoder(bool).decode


class _Open(Struct, eq=False):
    """An engine that is asked from here."""

    deployment: Deployment
    door: Door | None
    engine: Engine
    stack: AsyncExitStack
    users: int = 0


class _Within:
    """An engine that runs within the owner, of which nobody asks more here than that it is in memory."""

    async def healthy(self) -> bool:
        """As far as is known."""
        return True


class Engines:
    """The ways to engines, opened when they are first wanted; use as a context.

    Args:
        silence: seconds without a byte after which one counts as gone, where its model does not say.
    """

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._open: dict[str, _Open] = {}

    async def __aenter__(self) -> Self:
        """None are open yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all of them, and cut what is under way."""
        every, self._open = list(self._open.values()), {}
        for one in every:
            await one.stack.aclose()

    async def take(self, deployment: Deployment, door: Door | None) -> _Open:
        """The way to an engine, to be given back."""
        known = self._open.get(deployment.id)
        if known is None or known.door != door or known.deployment != deployment:
            fresh = await self._opened(deployment, door)
            before, self._open[deployment.id] = self._open.get(deployment.id), fresh
            if before is not None and not before.users:
                await before.stack.aclose()
            known = fresh
        known.users += 1
        return known

    async def give_back(self, one: _Open) -> None:
        """Who was the last to use what is out of date closes it."""
        one.users -= 1
        if not one.users and self._open.get(one.deployment.id) is not one:
            await one.stack.aclose()

    async def _opened(self, deployment: Deployment, door: Door | None) -> _Open:
        way: AbstractAsyncContextManager[Engine]
        if door is not None:
            way = connecting(self._silence)(deployment, door)
        elif deployment.base_url is not None or not deployment.engine.here:
            way = connect_of(deployment.engine)(deployment, deployment.request_timeout or self._silence)
        else:
            way = nullcontext(_Within())
        stack = AsyncExitStack()
        return _Open(deployment, door, await stack.enter_async_context(way), stack)


class _Place:
    """Where a request stands, as the owner told last; satisfies `types.requests.Place`."""

    def __init__(self) -> None:
        self.told = Waiting(position=0, expected=0.0, queue=None)

    @property
    def position(self) -> int:
        """1 for who goes next."""
        return self.told.position

    @property
    def expected_wait(self) -> float:
        """Seconds until it may run."""
        return self.told.expected

    def hear(self, body: bytes) -> None:
        """It has moved."""
        self.told = _waiting(body)


class LinkedSeats(Naming):
    """Satisfies `core.gateway.Seating`: the owner decides who runs, and on what.

    Args:
        link: to the owner.
        catalogue: what names mean.
        admission: who may go first.
        engines: the ways to engines.
    """

    def __init__(self, link: Asks, catalogue: Catalogue, admission: Admission, engines: Engines) -> None:
        super().__init__(catalogue, admission)
        self._link, self._engines = link, engines

    def seat(self, request: Request, model: Model, deployment: Deployment) -> "_Sitting":
        """A place at this deployment; None when the model went away while the request waited."""
        return _Sitting(self._link, self._engines, request, model, deployment)

    async def came_down(self, deployment: Deployment) -> bool:
        """Whether the engine there has just ended."""
        return _yes(await self._link.ask("came_down", deployment.id))


class _Sitting:
    """One request's slot and lease, as a context."""

    def __init__(
        self, link: Asks, engines: Engines, request: Request, model: Model, deployment: Deployment
    ) -> None:
        self._link, self._engines, self._request = link, engines, request
        self._wanted = model, deployment
        self._held: Held | None = None
        self._open: _Open | None = None

    async def __aenter__(self) -> Seat | None:
        model, deployment = self._wanted
        self._held = await self._seated(model, deployment)
        given = _given(self._held.answer)
        if given is None:
            self._held = None
            return None
        try:
            place = _place_of(model, given.deployment)
            self._request.timings.deployment = place.id
            self._open = await self._engines.take(place, given.door)
        except BaseException:
            self._leave(None)
            raise
        return Seat(model=model, deployment=place, engine=self._open.engine)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(self._request.timings.upstream if kind is None else None)
        if self._open is not None:
            await self._engines.give_back(self._open)

    async def _seated(self, model: Model, deployment: Deployment) -> Held:
        """Wait; where the time went is known when it is over, however it ends."""
        timings, clock = self._request.timings, asyncio.get_running_loop().time
        timings.model, timings.queue, timings.load = model.id, None, None
        place, began = _Place(), clock()
        timings.place = place
        try:
            held = await self._link.hold("seat", self._asked(model, deployment), place.hear)
        except BaseException:
            self._note(began, place.told.queue, clock() - began)
            raise
        finally:
            timings.place = None
        if (given := _given(held.answer)) is not None:
            self._note(began, given.queue, given.queue + given.load)
            timings.queue, timings.load, timings.stood = given.queue, given.load, given.stood
        return held

    def _note(self, began: float, queue: float | None, total: float) -> None:
        spans = self._request.timings.spans
        if queue is None:
            spans.append(Span("queue", began, total))
            return
        self._request.timings.queue = queue
        spans.append(Span("queue", began, queue))
        spans.append(Span("load", began + queue, max(0.0, total - queue)))

    def _asked(self, model: Model, deployment: Deployment) -> SeatAsked:
        request = self._request
        principal, queueing = request.principal, request.queueing
        return SeatAsked(
            model=model.id,
            deployment=deployment.id,
            operation=request.operation,
            request_id=request.request_id,
            user=principal.user,
            tenant=principal.tenant,
            role=principal.role,
            priority=request.priority,
            line=None if queueing is None else (queueing.tenant, queueing.limit),
        )

    def _leave(self, upstream: float | None) -> None:
        if self._held is not None:
            self._held.leave(Ending(upstream=upstream))
            self._held = None


def _place_of(model: Model, deployment_id: str) -> Deployment:
    """The copy or the server that the owner has chosen."""
    places = (*model.deployments, *copies_of(model)[1:])
    found = next((place for place in places if place.id == deployment_id), None)
    if found is None:
        raise ModelLoadFailed("The model was configured anew; ask again.", retry_after=1)
    return found
