"""The way of one request over fake engines, for tests of what is joined there."""

import asyncio
from contextlib import asynccontextmanager

from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue, from_settings
from enginehouse.core.copies import Copies
from enginehouse.core.gateway import Gateway, Seats, Wording
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.routes import Routes
from enginehouse.dialects.base import Head
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.residency.base import Loaded
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings, RoutingSettings, Settings
from enginehouse.testing import WHOLE, FakeBooks, FakeEngine, FakeLauncher, FakeSpool
from enginehouse.types import Operation, Principal, Request, Timings
from enginehouse.types.generation import Dialect

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0.25}'
STREAM = BODY.replace(b"{", b'{"stream":true,', 1)
USER = Principal(user="u")
ELSEWHERE = {"base_url": "http://127.0.0.1:9"}


class Server(FakeEngine):
    """One that answers the next request with the next of its turns, and all further ones with the last.

    Args:
        turns: chunks each, as `FakeEngine` takes them; one that is no list is its only chunk.
    """

    def __init__(self, *turns):
        super().__init__()
        self._turns = [turn if isinstance(turn, list) else [turn] for turn in turns or ([WHOLE],)]
        self.asked_at = []

    @asynccontextmanager
    async def forward(self, call):
        self.asked_at.append(asyncio.get_running_loop().time())
        self.chunks = self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        async with super().forward(call) as reply:
            yield reply


class Servers(FakeLauncher):
    """Loads engines by the id of their deployment."""

    def __init__(self, **engines):
        super().__init__(load_seconds=0)
        self._engines = {name.replace("_", "~"): engine for name, engine in engines.items()}

    @asynccontextmanager
    async def load(self, deployment, watcher):
        async with super().load(deployment, watcher):
            yield Loaded(engine=self._engines[deployment.id])


def many(number, **stated):
    """A model with so many servers, whose ids are `m`, `m~2`, `m~3`."""
    return {"m": {**ELSEWHERE, **stated, "deployments": [ELSEWHERE] * (number - 1)}}


@asynccontextmanager
async def open_gateway(
    models,
    launchers,
    *,
    books=None,
    draw=lambda: 1.0,
    spending=None,
    prices=None,
    ledger=None,
    digests=None,
    recall=None,
    **routing,
):
    """The gateway of a configuration's models; their servers are asked in the order in which they are named."""
    settings = Settings.model_validate({"models": models, "default_models": False})
    catalogue = Catalogue(from_settings(settings))
    async with (
        Residency(launchers, ResidencySettings()) as residency,
        ledger or Ledger(books or FakeBooks(), FakeSpool(), prices or Prices({}, ())) as ledger,
    ):
        admission = Admission(AdmissionSettings())
        copies = Copies(admission, residency, ResidencySettings())
        clock = asyncio.get_running_loop().time
        routes = Routes(catalogue, RoutingSettings(**{"affinity": 0} | routing), clock, draw)
        yield Gateway(Seats(catalogue, admission, residency, copies), routes, ledger, spending, digests, recall)


def request(body=BODY, *, model="m", principal=USER, operation=Operation.CHAT, **more):
    return Request(
        operation=operation,
        model=model,
        principal=principal,
        request_id="r",
        body=body,
        timings=Timings(),
        **more,
    )


def wording(body=BODY, model="m", *, codec=None, dialect=Dialect.OPENAI_CHAT, wants_usage=True):
    codec = codec or OpenAIChat()
    head = Head(id="1", model=model, created=0.0, wants_usage=wants_usage)
    return Wording(dialect, codec, head, lambda: codec.read_request(body).generation)


async def answer(gateway, asked, words=None):
    """All bytes of the answer."""
    async with gateway.frames(asked, words or wording(asked.body)) as answering:
        return b"".join([piece async for piece in answering.pieces])
