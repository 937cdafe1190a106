"""What the owner does for its workers: its own rooms, asked on their behalf."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from enginehouse.app.ground import Ground
from enginehouse.app.rooms import Rooms
from enginehouse.app.workers.desk import Call, Caller, Desk
from enginehouse.app.workers.frames import packed
from enginehouse.app.workers.words import (
    Ending,
    Given,
    Hello,
    Landing,
    Report,
    Reserve,
    SeatAsked,
    Waiting,
    Welcome,
)
from enginehouse.core.cache.flights import Landed, Lead, Turn
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.stores.kv import Asked, Spent
from enginehouse.types import Deployment, Model, Principal, Queueing, Request, Timings
from enginehouse.types.cached import Entry

__all__ = ["Services"]

_LOOK = 0.1
"""Seconds between two looks at where those stand who wait."""

_seat_asked = msgspec.msgpack.Decoder(SeatAsked).decode
_ending = msgspec.msgpack.Decoder(Ending | None).decode
_landing = msgspec.msgpack.Decoder(Landing).decode
_asked = msgspec.msgpack.Decoder(Asked).decode
_spent = msgspec.msgpack.Decoder(Spent).decode
_reserve = msgspec.msgpack.Decoder(Reserve).decode
_records = msgspec.msgpack.Decoder(list[UsageRecord]).decode
_report = msgspec.msgpack.Decoder(Report).decode
_hello = msgspec.msgpack.Decoder(Hello).decode
_keys = msgspec.msgpack.Decoder(list[bytes]).decode
_entry = msgspec.msgpack.Decoder(Entry).decode
_text = msgspec.msgpack.Decoder(str).decode
_texts = msgspec.msgpack.Decoder(list[str]).decode
_any = msgspec.msgpack.Decoder().decode


class _Holder(Struct):
    """For whom a worker holds dollars; satisfies `core.ledger.budgets.Holder`."""

    id: str
    reserved: bool = False


class _Said:
    """What a user says, as a worker tells it; satisfies `core.gateway.guarding.Says`."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def said(self) -> list[str]:
        """The same."""
        return self._texts


class _Unanswered(Exception):
    """The worker's request was not answered to its end."""


class _Known:
    """What is known of one worker."""

    def __init__(self) -> None:
        self.hello: Hello | None = None
        self.seats: dict[tuple[str, bool], tuple[str, ...]] = {}
        """Seats of limits that its requests have, by the request's id and whether they are counted here."""
        self.report = Report()
        self.requests = 0
        self.models: tuple[Model, ...] = ()


class Services:
    """Satisfies `Serves`.

    Args:
        ground, rooms: the owner's.
    """

    def __init__(self, ground: Ground, rooms: Rooms) -> None:
        self._ground, self._rooms = ground, rooms
        self._workers: dict[Caller, _Known] = {}
        self._standing: dict[Call, tuple[Timings, Waiting | None]] = {}
        self._does: Mapping[str, Callable[[Call, bytes], Awaitable[None]]] = {
            "seat": self._seat,
            "came_down": self._came_down,
            "unload": self._unload,
            "take": partial(self._take, here=False),
            "take_here": partial(self._take, here=True),
            "reserve": self._reserve,
            "write": self._write,
            "guard": self._guard,
            "answers.get": self._get,
            "answers.put": self._put,
            "answers.drop": self._drop,
            "flight": self._flight,
            "meaning": self._meaning,
        }

    async def serve(self, call: Call, word: str, body: bytes) -> None:
        """As `Serves` has it."""
        await self._does[word](call, body)

    def came(self, caller: Caller) -> None:
        """It hears first of all which models there are."""
        self._workers[caller] = _Known()
        self._show(caller)

    async def gone(self, caller: Caller) -> None:
        """What its requests had of limits is free."""
        known = self._workers.pop(caller)
        self._ground.traces.on_the_way -= known.report.on_the_way
        for (request_id, here), seats in known.seats.items():
            await self._ground.access.limits.tallies(here=here).settle(Spent(id=request_id, seats=seats))

    def told(self, caller: Caller, word: str, body: bytes) -> None:
        """As `Serves` has it."""
        match word:
            case "hello":
                self._workers[caller].hello = _hello(body)
            case "report":
                self._reported(self._workers[caller], _report(body))
            case "settle" | "settle_here":
                here = word == "settle_here"
                caller.begin(self._settle(self._workers[caller], _spent(body), here=here), word)
            case _:
                raise AssertionError(word)

    @asynccontextmanager
    async def serving(self, desk: Desk) -> AsyncGenerator[None]:
        """Inside, workers hear what they have to."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._follow_models(desk), name="tell models"),
                group.create_task(self._follow_lines(), name="tell places"),
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    def show_models(self, desk: Desk) -> None:
        """Every worker knows the same models as the owner."""
        for caller in desk:
            if self._workers[caller].models != self._ground.catalogue.everything:
                self._show(caller)

    def _show(self, caller: Caller) -> None:
        models = self._workers[caller].models = self._ground.catalogue.everything
        caller.say(0, "welcome", packed(Welcome(models=models, meaning=self._ground.cache.meaning is not None)))

    async def _follow_models(self, desk: Desk) -> None:
        with self._ground.changes.subscribe() as subscription:
            while True:
                await subscription.news()
                self.show_models(desk)

    async def _follow_lines(self) -> None:
        """Who waits is told its place when that has changed."""
        while True:
            await asyncio.sleep(_LOOK)
            for call, (timings, before) in list(self._standing.items()):
                place = timings.place
                now = Waiting(
                    position=0 if place is None else place.position,
                    expected=0.0 if place is None else round(place.expected_wait, 1),
                    queue=timings.queue,
                )
                if now != before:
                    self._standing[call] = timings, now
                    call.news(now)

    # Places to run

    async def _seat(self, call: Call, body: bytes) -> None:
        asked = _seat_asked(body)
        request = _request_of(asked)
        model, deployment = self._place(asked)
        if model is None or deployment is None:
            self._answer_none(call)
            return
        self._standing[call] = request.timings, None
        try:
            with suppress(_Unanswered):
                async with self._rooms.seats.seat(request, model, deployment) as seat:
                    del self._standing[call]
                    if seat is None:
                        self._answer_none(call)
                        return
                    call.answer(self._given(seat.deployment, request.timings))
                    ending = _ending(await call.left())
                    if ending is None or ending.upstream is None:
                        raise _Unanswered
                    request.timings.upstream = ending.upstream
        finally:
            self._standing.pop(call, None)

    def _answer_none(self, call: Call) -> None:
        """The name means another model by now, which the worker hears first."""
        self._show(call.caller)
        call.answer(None)

    def _place(self, asked: SeatAsked) -> tuple[Model | None, Deployment | None]:
        model = self._ground.catalogue.find(asked.model)
        places = () if model is None else model.deployments
        return model, next((place for place in places if place.id == asked.deployment), None)

    def _given(self, deployment: Deployment, timings: Timings) -> Given:
        return Given(
            deployment=deployment.id,
            door=self._ground.residency.door(deployment.id),
            queue=timings.queue or 0.0,
            load=timings.load or 0.0,
            stood=timings.stood,
        )

    async def _came_down(self, call: Call, body: bytes) -> None:
        call.answer(await self._ground.residency.came_down(_text(body)))

    async def _unload(self, call: Call, body: bytes) -> None:
        model = self._ground.catalogue.find(_text(body))
        if model is not None:
            await self._rooms.copies.unload(model)
        call.answer(None)

    # What callers may take, and have taken

    async def _take(self, call: Call, body: bytes, *, here: bool) -> None:
        asked = _asked(body)
        if asked.seats:  # first, so that they are given back whatever happens meanwhile
            self._workers[call.caller].seats[asked.id, here] = tuple(one.key for one in asked.seats)
        call.answer(await self._ground.access.limits.tallies(here=here).take(asked))

    async def _settle(self, known: "_Known", spent: Spent, *, here: bool) -> None:
        known.seats.pop((spent.id, here), None)
        await self._ground.access.limits.tallies(here=here).settle(spent)

    async def _reserve(self, call: Call, body: bytes) -> None:
        asked = _reserve(body)
        budgets = self._rooms.spending.budgets
        if budgets is not None:
            await budgets.reserve(_Holder(asked.id), asked.accounts, asked.amount)
        call.answer(None)

    async def _write(self, call: Call, body: bytes) -> None:
        await self._ground.ledger.keep(_records(body))
        call.answer(None)

    async def _guard(self, call: Call, body: bytes) -> None:
        call.answer(await self._rooms.guarding.verdict(_Said(_texts(body))))

    # Kept answers

    async def _get(self, call: Call, body: bytes) -> None:
        call.answer(await self._ground.cache.answers.get(_keys(body)))

    async def _put(self, call: Call, body: bytes) -> None:
        await self._ground.cache.answers.put(_entry(body))
        call.answer(None)

    async def _drop(self, call: Call, body: bytes) -> None:
        call.answer(await self._ground.cache.answers.drop(_keys(body)))

    async def _flight(self, call: Call, body: bytes) -> None:
        """One of those who ask the same asks for all; dying it leaves that to the next."""
        flights, key = self._ground.cache.flights, tuple(_any(body))
        turn = await flights.turn(key)
        if turn is not Turn.LEAD:
            call.answer(Landing(entry=turn.entry, tier=turn.tier) if isinstance(turn, Landed) else None)
            return
        with flights.leading(key) as lead:
            call.answer(Landing())
            _land(lead, _landing(await call.left()))

    async def _meaning(self, call: Call, body: bytes) -> None:
        meaning = self._ground.cache.meaning
        name, args, named = _any(body)
        if meaning is None:
            call.answer(None)
            return
        if "without" in named:
            named["without"] = frozenset(named["without"])
        asked: Mapping[str, Callable[..., Awaitable[Any]]] = {
            "find": meaning.find,
            "put": meaning.put,
            "forget": meaning.forget,
            "learn": meaning.learn,
        }
        call.answer(await asked[name](*args, **named))

    # What workers report

    def _reported(self, known: _Known, report: Report) -> None:
        ground = self._ground
        ground.traces.on_the_way += report.on_the_way - known.report.on_the_way
        known.report = report
        known.requests += len(report.traces)
        for decision in report.decisions:
            ground.cache.decisions.note(decision)
        for entry in report.spared:
            ground.cache.stats.spared(entry)
        for name, args in report.cached:
            getattr(ground.cache.stats, name)(*args)
        for mode, outcome in report.guarded:
            self._rooms.guarding.count(mode, outcome)
        ground.traces.take(*report.traces)


def _request_of(asked: SeatAsked) -> Request:
    return Request(
        operation=asked.operation,
        model=asked.model,
        principal=Principal(user=asked.user, tenant=asked.tenant, role=asked.role),
        request_id=asked.request_id,
        priority=asked.priority,
        timings=Timings(),
        queueing=None if asked.line is None else Queueing(tenant=asked.line[0], limit=asked.line[1]),
    )


def _land(lead: Lead, said: Landing) -> None:
    lead.landed = None if said.entry is None else Landed(said.entry, said.tier)
    lead.failed = said.failed
