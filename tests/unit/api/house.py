"""A front door with fake engines behind it, for tests of the faces."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path

from enginehouse.api.anthropic import anthropic_faces
from enginehouse.api.console import console_assets, console_router
from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.events import events_router
from enginehouse.api.feed import Watch
from enginehouse.api.framework import framework_app
from enginehouse.api.health import health_router
from enginehouse.api.inference import InferenceFace
from enginehouse.api.llm import llm_faces, llm_router
from enginehouse.api.meters import house_metrics, model_metrics, queue_metrics, request_metrics, router_metrics
from enginehouse.api.metrics import guard_metrics, metrics_router, model_cache_metrics
from enginehouse.api.model_cache import model_cache_router
from enginehouse.api.models import models_router
from enginehouse.api.ollama import ollama_faces
from enginehouse.api.ollama_models import ollama_router
from enginehouse.api.openai import openai_faces
from enginehouse.api.predict import predict_faces
from enginehouse.api.queue import queue_router
from enginehouse.api.registration import registration_router
from enginehouse.api.rerank import rerank_faces
from enginehouse.api.residents import residents_router
from enginehouse.api.standing import standing_router
from enginehouse.api.telemetry import telemetry_router
from enginehouse.api.vram import vram_router
from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies
from enginehouse.core.gateway import Gateway, Guarding, Seats
from enginehouse.core.holdings import Holdings
from enginehouse.core.identity import Identity
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.listing import Listing
from enginehouse.core.prediction_cache import PredictionCache
from enginehouse.core.predictions import Predictions
from enginehouse.core.registration import Registry, RegistryFile
from enginehouse.core.routes import Routes
from enginehouse.core.structured import Structured
from enginehouse.core.traces import Listening, Traces
from enginehouse.core.traces.pulse import Pulse, Slow, Surroundings
from enginehouse.core.traces.reports import Reports
from enginehouse.core.usable import may_hear_of
from enginehouse.core.warmups import WarmUps
from enginehouse.residency.cleanup import Cleanup
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import (
    AdmissionSettings,
    AuthSettings,
    GuardSettings,
    PredictionSettings,
    PriceSettings,
    ResidencySettings,
    RoutingSettings,
    ServerSettings,
    Settings,
)
from enginehouse.telemetry.events import EventStream
from enginehouse.telemetry.metrics import Metrics
from enginehouse.telemetry.redaction import Redactor
from enginehouse.testing import (
    Caller,
    FakeBooks,
    FakeEmbedder,
    FakeEngine,
    FakeGpuLauncher,
    FakeLauncher,
    FakeMachine,
    FakeSpool,
)
from enginehouse.types import Deployment, EngineName, Kind, Model

MIB = 1024 * 1024
RAM = 1000 * MIB
NAMES = {"k1": "Ann's laptop"}
WEIGHTS = {"tiny": 200 * MIB, "org/big:8b": 300 * MIB}


def model(name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, **changes):
    deployment = Deployment(id=name, model=name, kind=kind, engine=engine, **changes)
    return Model(id=name, kind=kind, deployments=(deployment,), aliases=(f"{name}-alias",))


async def here(work, *args):
    """Simulated time has no threads."""
    return work(*args)


class Door:
    """What a test talks to."""

    def __init__(
        self,
        app,
        engine,
        launcher,
        residency,
        rest,
        changes,
        stopping,
        catalogue,
        registry,
        machine,
        books,
        onnx,
        pulse=None,
    ):
        self.pulse, self.traces = pulse, app._traces
        self.app, self.engine, self.launcher, self.residency = app, engine, launcher, residency
        self.rest, self.changes, self.stopping = rest, changes, stopping
        self.catalogue, self.registry, self.machine = catalogue, registry, machine
        self.books, self.onnx = books, onnx

    def caller(self, method, path, body=b"", **headers):
        return Caller(self.app, method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    async def call(self, method, path, body=b"", **headers):
        return await self.caller(method, path, body, **headers).run()

    async def post(self, path, body, **headers):
        return await self.call("POST", path, body, **headers)


@asynccontextmanager
async def open_door(
    chunks=(),
    *,
    folder=None,
    settings=None,
    status=200,
    load_seconds=0.0,
    keys=(),
    failure=None,
    admission=None,
    memory=(),
    gpus=(),
    offloaded=None,
    guard=None,
    callers=None,
    prices=None,
    heard=False,
    **server,
):
    engine = FakeEngine(chunks, status=status)
    launcher = FakeLauncher(engine, load_seconds=load_seconds, failure=failure, weights=WEIGHTS)
    if offloaded is not None:
        launcher = FakeGpuLauncher(offloaded, load_seconds=load_seconds)
    machine = FakeMachine(RAM, gpus)
    onnx = FakeLauncher(FakeEmbedder(), load_seconds=0)
    launchers = {EngineName.LLAMA_SERVER: launcher, EngineName.ONNX: onnx}
    catalogue = Catalogue([model("tiny"), model("org/big:8b"), model("vec", Kind.EMBEDDING, EngineName.ONNX)])
    changes, stopping = EventStream(kept=50), asyncio.Event()
    limits = ResidencySettings(**{"vram_multiplier": 1, **dict(memory)})
    async with (
        Residency(launchers, limits, machine=machine, on_change=changes.publish) as residency,
        AsyncExitStack() as stack,
    ):
        gates = Admission(admission or AdmissionSettings())
        copies = Copies(gates, residency, limits)
        books = FakeBooks()
        traces = Traces(20, Listening(most=100, redact=Redactor(["[Zz]ebra"])) if heard else None)
        costs = {name: PriceSettings(**price) for name, price in (prices or {}).items()}
        ledger = await stack.enter_async_context(Ledger(books, FakeSpool(), Prices(costs, ()), witness=traces))
        clock = asyncio.get_running_loop().time
        routes = Routes(catalogue, RoutingSettings(), clock, lambda: 1.0)
        seats = Seats(catalogue, gates, residency, copies)
        remembered = PredictionCache(PredictionSettings(cache_entries=100), clock)
        guarding = Guarding(seats, GuardSettings.model_validate(guard or {}), remembered)
        gateway = Gateway(seats, routes, ledger, guarding=guarding)
        warm_ups = WarmUps(gateway, residency)
        holdings, cleanup = Holdings(residency, copies, machine), Cleanup(residency, machine)
        hot = {
            **openai_faces(gateway),
            **anthropic_faces(gateway),
            **ollama_faces(gateway, catalogue, copies.unload),
            **llm_faces(gateway),
            **rerank_faces(gateway),
            **predict_faces(Predictions(gateway, remembered), lambda: "judge"),
            "/v1/inference": InferenceFace(gateway, Structured()),
        }
        listing = Listing(catalogue, residency, copies, changes.publish)
        registry = Registry(
            RegistryFile((folder or Path("/nowhere")) / "registered-models.json"),
            listing,
            Settings.model_validate(settings or {}),
            lambda source, sha256: None,
            aside=here,
        )
        if folder is not None:
            await registry.open()
        watch = Watch(stopping=stopping, ping_interval=15)

        async def spent():
            return Slow(cost_today=Decimal(7), sessions=2)

        pulse = Pulse(traces, Surroundings, spent, kept=50, clock=clock)
        metrics = Metrics()
        metrics.add(model_cache_metrics(catalogue, residency, holdings, cleanup))
        metrics.add(guard_metrics(guarding, remembered))
        metrics.add(router_metrics(traces, catalogue, holdings, gates))
        metrics.add(request_metrics(traces))
        metrics.add(queue_metrics(catalogue, gates, routes))
        metrics.add(model_metrics(catalogue, holdings))
        metrics.add(house_metrics(ledger, pulse, (), (), {"written": 1}, lambda: 0, lambda: 0))
        rest = framework_app(
            [
                metrics_router(metrics, here),
                health_router(catalogue, residency, holdings, cleanup),
                vram_router(catalogue, holdings),
                model_cache_router(catalogue, residency, copies, holdings, warm_ups, cleanup, remembered),
                queue_router(catalogue, gates),
                telemetry_router(Reports(traces, None, NAMES.get)),
                events_router(
                    pulse, lambda *_: {}, lambda p, name: may_hear_of(p, catalogue, name), NAMES.get, watch
                ),
                residents_router(catalogue, residency, copies, gates, changes, watch),
                models_router(catalogue, copies.status),
                ollama_router(catalogue, copies),
                llm_router(catalogue),
                registration_router(registry, copies),
                standing_router(lambda: Settings.model_validate(settings or {})),
                console_router(console_assets()),
            ],
            hot,
        )
        identity = callers or Identity(AuthSettings.model_validate({"api_keys": list(keys)}))
        door = FrontDoor(hot, rest, identity, ServerSettings(**server), traces=traces)
        async with warm_ups:
            yield Door(
                door,
                engine,
                launcher,
                residency,
                rest,
                changes,
                stopping,
                catalogue,
                registry,
                machine,
                books,
                onnx,
                pulse,
            )
