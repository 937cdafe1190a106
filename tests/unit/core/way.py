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
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings, RoutingSettings, Settings
from enginehouse.testing import FakeBooks, FakeSpool
from enginehouse.types import Operation, Principal, Request, Timings
from enginehouse.types.generation import Dialect

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0.25}'
USER = Principal(user="u")


@asynccontextmanager
async def open_gateway(models, launchers, *, books=None, draw=lambda: 1.0, digests=None, **routing):
    """The gateway of a configuration's models."""
    settings = Settings.model_validate({"models": models, "default_models": False})
    catalogue = Catalogue(from_settings(settings))
    async with (
        Residency(launchers, ResidencySettings()) as residency,
        Ledger(books or FakeBooks(), FakeSpool(), Prices({}, ())) as ledger,
    ):
        admission = Admission(AdmissionSettings())
        copies = Copies(admission, residency, ResidencySettings())
        clock = asyncio.get_running_loop().time
        routes = Routes(catalogue, RoutingSettings(**routing), clock, draw)
        yield Gateway(Seats(catalogue, admission, residency, copies), routes, ledger, digests=digests)


def request(body=BODY, *, model="m", principal=USER, **more):
    return Request(
        operation=Operation.CHAT,
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
