"""A front door with conversations over an engine that speaks as slowly as it is told."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

from enginehouse.api.chat import ChatFace
from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.sockets import Sockets
from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.chat import Answers
from enginehouse.core.copies import Copies
from enginehouse.core.gateway import Gateway, Seats
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.limits import Limits
from enginehouse.core.routes import Routes
from enginehouse.errors import MissingCredentials
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import (
    AdmissionSettings,
    ChatSettings,
    LimitSettings,
    ResidencySettings,
    RoutingSettings,
    ServerSettings,
)
from enginehouse.stores.kv import MemoryTallies
from enginehouse.testing import Caller, FakeBooks, FakeEngine, FakeLauncher, FakeSpool, SocketCaller, simulate
from enginehouse.testing.turns import FakeSessions
from enginehouse.types import Deployment, EngineName, Kind, Model, Principal, Usage
from enginehouse.types.answer import Began, Counted, Finish, Finished, TextDelta

CHAT = "/api/v1/inference/chat"
ANN = Principal(user="ann")
BOB = Principal(user="bob")


class Speaker(FakeEngine):
    """Says the words of its last question, one every so many seconds; what is an exception is raised there."""

    def __init__(self, pause=0.0, failure=None, after=0):
        super().__init__()
        self.pause, self.failure, self.after = pause, failure, after
        self.asked = []

    @asynccontextmanager
    async def generate(self, generation, *, request_id):
        self.running += 1
        self.asked.append(generation)
        try:
            if self.failure is not None and self.after is None:
                raise self.failure
            yield self._events(generation)
        finally:
            self.running -= 1

    async def _events(self, generation):
        words = generation.turns[-1].parts[0].text.split()
        yield Began(id="x", model="theirs")
        for number, word in enumerate(words):
            await asyncio.sleep(self.pause)
            if self.failure is not None and number == self.after:
                raise self.failure
            yield TextDelta(text=f"{word} ")
        yield Finished(reason=Finish.STOP)
        yield Counted(usage=Usage(input=3, output=len(words)))


class Known:
    """An identity whose callers say who they are; one that is `gone` is known no more."""

    open = False

    def __init__(self):
        self.gone = set()

    async def principal(self, authorization, api_key):
        name = (api_key or authorization or "").removeprefix("Bearer ")
        if not name or name in self.gone:
            raise MissingCredentials("Who are you?")
        return Principal(user=name)


class House:
    """What a test talks to."""

    def __init__(self, door, engine, sessions, books, answers, known, stopping, tasks):
        self.door, self.engine, self.sessions, self.books = door, engine, sessions, books
        self.answers, self.known, self.stopping, self._tasks = answers, known, stopping, tasks

    def socket(self, user="ann", **headers):
        """An open WebSocket."""
        caller = SocketCaller(self.door, f"/ws?token={user}", headers)
        caller.task = self._tasks.create_task(caller.run())
        return caller

    def post(self, body, user="ann", **headers):
        """A request over HTTP, under way."""
        named = {"Authorization": f"Bearer {user}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        caller = Caller(self.door, "POST", CHAT, body, named)
        caller.task = self._tasks.create_task(caller.run())
        return caller

    def records(self):
        """Of usage, in the order in which they were written."""
        return list(self.books.kept.values())

    def said(self, session_id="s"):
        """Words and states of a session's messages."""
        return [(message.text, message.status.value) for message in self.sessions.messages[session_id]]


@asynccontextmanager
async def open_house(
    engine=None, *, slots=1, chat=None, limits=None, admission=None, server=None, identity=None, post=None
):
    engine = engine or Speaker()
    deployment = Deployment(id="tiny", model="tiny", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, slots=slots)
    catalogue = Catalogue([Model(id="tiny", kind=Kind.CHAT, deployments=(deployment,))])
    settings, chat = LimitSettings(**(limits or {})), ChatSettings(**(chat or {}))
    sessions, books, stopping = FakeSessions(), FakeBooks(), asyncio.Event()
    async with AsyncExitStack() as stack:
        launchers = {EngineName.LLAMA_SERVER: FakeLauncher(engine, load_seconds=0)}
        residency = await stack.enter_async_context(Residency(launchers, ResidencySettings()))
        ledger = await stack.enter_async_context(Ledger(books, FakeSpool(), Prices({}, ())))
        gates = Admission(admission or AdmissionSettings())
        copies = Copies(gates, residency, ResidencySettings())
        routes = Routes(catalogue, RoutingSettings(), asyncio.get_running_loop().time, lambda: 1.0)
        gateway = Gateway(Seats(catalogue, gates, residency, copies), routes, ledger)
        answers = await stack.enter_async_context(Answers(gateway, sessions, chat, settings, post))
        known, counted = identity or Known(), Limits(settings, MemoryTallies())
        sockets = await stack.enter_async_context(Sockets(answers, counted, chat, stopping))
        door = FrontDoor(
            {CHAT: ChatFace(answers)},
            _nothing,
            known,
            ServerSettings(**(server or {})),
            limits=counted,
            sockets={"/ws": sockets},
        )
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        yield House(door, engine, sessions, books, answers, known, stopping, tasks)


async def _nothing(scope, receive, send):
    await receive()
    await send({"type": "websocket.close", "code": 1000, "reason": "no such route"})


def simulated(**options):
    """A test that takes a house, on the simulated clock."""

    def decorate(test):
        def run():
            async def main():
                made = {name: value() if callable(value) else value for name, value in options.items()}
                async with open_house(**made) as house:
                    await test(house)

            simulate(main())

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate
