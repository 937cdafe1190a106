"""Composition root: wires every room together, by hand, in one exit stack whose order is the shutdown's order.

The only module that knows every other. Leaving the house stops what was started last first: side tasks, then
what the ledger has not written yet, residents (their leases end before their engines), then stores.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import structlog

from enginehouse import __version__
from enginehouse.api.anthropic import anthropic_faces
from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.feed import Watch
from enginehouse.api.framework import framework_app
from enginehouse.api.health import Ask, health_router
from enginehouse.api.inference import InferenceFace
from enginehouse.api.keys import keys_router
from enginehouse.api.llm import llm_faces, llm_router
from enginehouse.api.model_cache import model_cache_router
from enginehouse.api.models import models_router
from enginehouse.api.ollama import ollama_faces
from enginehouse.api.ollama_models import ollama_router
from enginehouse.api.openai import openai_faces
from enginehouse.api.queue import queue_router
from enginehouse.api.registration import registration_router
from enginehouse.api.rerank import rerank_faces
from enginehouse.api.residents import residents_router
from enginehouse.api.usage import savings_router, usage_router
from enginehouse.api.vectors import vectors_router
from enginehouse.api.vram import vram_router
from enginehouse.core.access import Access
from enginehouse.core.admission import Admission, SharedGates
from enginehouse.core.catalogue import Catalogue, enrich, watch_folder
from enginehouse.core.copies import Copies, told_as_model
from enginehouse.core.embedding import Embedder
from enginehouse.core.gateway import Gateway, Seats, Spending
from enginehouse.core.holdings import Holdings
from enginehouse.core.identity import check_exposure
from enginehouse.core.identity.secret import key_secret
from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.budgets import Budgets
from enginehouse.core.ledger.digests import Digests
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.savings import Savings
from enginehouse.core.ledger.usage import UsageReports
from enginehouse.core.listing import Listing, Update
from enginehouse.core.registration import Registry, RegistryFile
from enginehouse.core.routes import Routes
from enginehouse.core.structured import Structured
from enginehouse.core.vectors.vectors import Vectors
from enginehouse.core.warmups import WarmUps
from enginehouse.engines.metadata import Cards
from enginehouse.errors import EnginehouseError, SettingsError
from enginehouse.residency.base import Launcher, terms_of
from enginehouse.residency.cleanup import Cleanup
from enginehouse.residency.launchers.files import FetchedFiles
from enginehouse.residency.launchers.llama import LlamaLauncher
from enginehouse.residency.launchers.onnx import OnnxLauncher
from enginehouse.residency.launchers.remote import RemoteLauncher
from enginehouse.residency.machine import Machine, this_machine
from enginehouse.residency.manager import Residency, ResidentStatus
from enginehouse.residency.memory import Footprints
from enginehouse.settings import watch
from enginehouse.settings.schema import Settings
from enginehouse.stores.artifacts import Artifacts
from enginehouse.stores.kv import RedisLines, RedisStore
from enginehouse.stores.spool import Spool
from enginehouse.stores.sql import Database, database_url, open_database, prepare
from enginehouse.stores.vectors.base import VectorStore
from enginehouse.stores.vectors.opening import open_vectors, server_url
from enginehouse.telemetry.events import EventStream
from enginehouse.types import EngineName, Model

__all__ = ["House", "open_house"]

log = structlog.get_logger()

_RETRY_SIDE_TASK = 5.0
_REVIEW_COPIES = 0.5
"""Seconds between looks at who waits for models with instances; a copy that comes or goes is seen at once."""
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "DATABASE_URL", "REDIS_URL")

ReadModels: TypeAlias = Callable[[Settings], Awaitable[tuple[Model, ...]]]
"""From settings to models, with what their files say."""


class House:
    """The running service: the ASGI application and what stands behind it."""

    def __init__(
        self,
        settings: Settings,
        artifacts: Artifacts,
        read: ReadModels,
        catalogue: Catalogue,
        residency: Residency,
        admission: Admission,
        machine: Machine,
        changes: EventStream[Update],
        arrivals: asyncio.Event,
        dependencies: Mapping[str, Ask],
        ledger: Ledger,
        database: Database,
        access: Access,
        vectors: VectorStore,
    ) -> None:
        self.settings = settings
        self.artifacts = artifacts
        self.read = read
        self.catalogue = catalogue
        self.residency = residency
        self.changes = changes
        self.arrivals = arrivals
        self.ledger = ledger
        self.access = access
        self.stopping = asyncio.Event()
        """Set when the service begins to stop: endless streams end then, so that only requests have to drain."""
        self._admission = admission
        self._database = database
        self.copies = Copies(self._admission, residency, settings.residency)
        self.listing = Listing(catalogue, residency, self.copies, changes.publish)
        file = RegistryFile(settings.data_dir / "registered-models.json")
        self.registry = Registry(file, self.listing, settings, artifacts.local)
        self.spending = Spending(Budgets(database, settings.budgets))
        self.routes = Routes(catalogue, settings.routing, time.monotonic)
        secret = key_secret(settings.auth, settings.data_dir)
        self.digests = Digests(secret, enabled=settings.ledger.request_digests)
        seats = Seats(catalogue, self._admission, residency, self.copies)
        gateway = Gateway(seats, self.routes, ledger, self.spending, self.digests)
        self.warm_ups = WarmUps(gateway, residency)
        self.cleanup = Cleanup(residency, machine)
        holdings = Holdings(residency, self.copies, machine)
        hot = {
            **openai_faces(gateway),
            **anthropic_faces(gateway),
            **ollama_faces(gateway, catalogue, self.copies.unload),
            **llm_faces(gateway),
            **rerank_faces(gateway),
            "/v1/inference": InferenceFace(gateway, Structured()),
        }
        watch = Watch(stopping=self.stopping, ping_interval=settings.server.ping_interval)
        routers = [
            health_router(catalogue, residency, holdings, self.cleanup, dependencies),
            vram_router(catalogue, holdings),
            model_cache_router(catalogue, residency, self.copies, holdings, self.warm_ups, self.cleanup),
            queue_router(catalogue, self._admission),
            residents_router(catalogue, residency, self.copies, self._admission, changes, watch),
            models_router(catalogue, self.copies),
            ollama_router(catalogue, self.copies),
            llm_router(catalogue),
            registration_router(self.registry, self.copies),
            usage_router(UsageReports(database)),
            savings_router(self._savings()),
            keys_router(access.keys, access.audit),
            vectors_router(Vectors(vectors, Embedder(gateway, "vectors"), settings.vectors.max_payload_bytes)),
        ]
        self.asgi = FrontDoor(
            hot,
            framework_app(routers, hot),
            access.identity,
            settings.server,
            audit=access.audit,
            limits=access.limits,
        )

    def _savings(self) -> Savings:
        """Reckons with what is configured when it is asked."""
        return Savings(
            self._database,
            self.catalogue.models,
            lambda: _prices(self.settings),
            lambda: self.settings.cache.exact_ttl,
        )

    async def adopt(self, settings: Settings) -> None:
        """Let an edited configuration count, as far as it can without a restart.

        An edit that would open the service to strangers, or names a model twice, is refused and logged; what was
        before stays.
        """
        try:
            check_exposure(self.settings.server, settings.auth)
            models = await self.read(settings)
        except SettingsError as error:
            log.warning("settings_refused", error=error.message)
            return
        self.settings = settings
        self.residency.adopt(settings.residency)
        self.copies.adopt(settings.residency)
        self._admission.adopt(settings.admission)
        self.routes.adopt(settings.routing)
        self.spending.adopt(Budgets(self._database, settings.budgets))
        self.ledger.adopt(_prices(settings))
        self.digests.adopt(enabled=settings.ledger.request_digests)
        self.access.adopt(settings)
        self.asgi.adopt(self.access.identity, settings.server)
        self.show("settings", models)
        await self.registry.adopt(settings)

    def show(self, origin: str, models: Iterable[Model]) -> None:
        """Let the catalogue hold these models of one origin, and residency know what that changes.

        A change that is refused changes nothing and is logged: the service goes on with what it has.
        """
        try:
            self.listing.replace(origin, models)
        except EnginehouseError as error:
            log.warning("models_refused", origin=origin, error=error.message)


@asynccontextmanager
async def open_house(
    settings: Settings, environ: Mapping[str, str], *, config: Path | None = None
) -> AsyncGenerator[House]:
    """Build everything, run the side tasks, and take it all down in order.

    Args:
        settings: the effective configuration.
        environ: the environment, for engine processes and for reading the configuration again.
        config: the file to watch for edits, if there is one.

    Raises:
        SettingsError: the service would be open to strangers, two models claim one name, a store's address cannot
            be one, or the database's schema is not the one this version knows.
        StoreUnavailable: the database cannot be reached.
    """
    check_exposure(settings.server, settings.auth)
    artifacts = Artifacts(settings.data_dir / "artifacts", settings.sources)
    read = partial(enrich, cards=Cards(), locate=artifacts.local, started=int(time.time()))
    catalogue = Catalogue(await read(settings))
    async with AsyncExitStack() as stack:
        arrivals = asyncio.Event()
        launchers = _launchers(settings, FetchedFiles(artifacts, arrivals.set), environ)
        changes: EventStream[Update] = EventStream()
        store = await stack.enter_async_context(_redis(settings))
        dependencies: dict[str, Ask] = {} if store is None else {"redis": store.ping}
        url = database_url(settings.stores.database_url, settings.data_dir)
        database = await stack.enter_async_context(open_database(url, fsync=settings.stores.fsync))
        await prepare(database)
        access = await stack.enter_async_context(Access(settings, database, store))
        if store is not None:
            dependencies = {**dependencies, "limits": access.limits.ask}
        vectors = await stack.enter_async_context(open_vectors(settings))
        if server_url(settings.qdrant):
            dependencies = {**dependencies, "qdrant": vectors.ping}
        admission = await stack.enter_async_context(_admission(settings, store))
        machine = this_machine(settings.engines.llama_server.gpu_devices, environ)
        residency = await stack.enter_async_context(_residency(settings, launchers, catalogue, machine, changes))
        ledger = await stack.enter_async_context(_ledger(settings, database))
        house = House(
            settings,
            artifacts,
            read,
            catalogue,
            residency,
            admission,
            machine,
            changes,
            arrivals,
            dependencies,
            ledger,
            database,
            access,
            vectors,
        )
        await house.registry.open()
        await stack.enter_async_context(house.warm_ups)
        await stack.enter_async_context(_side_tasks(house, environ, config))
        yield house


@asynccontextmanager
async def _redis(settings: Settings) -> AsyncGenerator[RedisStore | None]:
    """The connection to Redis, whether it answers yet or not; None when none is configured."""
    if settings.stores.redis_url:
        async with RedisStore(settings.stores.redis_url, uuid4().hex) as store:
            yield store
    elif settings.stores.enable_queue:
        raise SettingsError("stores.enable_queue wants a Redis: set stores.redis_url, or switch it off.")
    else:
        yield None


@asynccontextmanager
async def _admission(settings: Settings, store: RedisStore | None) -> AsyncGenerator[Admission]:
    """The gates, all our own unless queues are shared."""
    stores = settings.stores
    if store is None or not stores.enable_queue:
        yield Admission(settings.admission)
    else:
        async with SharedGates(RedisLines(store), lease=stores.queue_lease, share=stores.queue_share) as shared:
            yield Admission(settings.admission, shared)


def _residency(
    settings: Settings,
    launchers: Mapping[EngineName, Launcher],
    catalogue: Catalogue,
    machine: Machine,
    changes: EventStream[Update],
) -> Residency:
    def tell(status: ResidentStatus) -> None:
        """How a model leaves memory after it left the list is of no interest to who reads the list."""
        if catalogue.find(status.model) is not None:
            changes.publish(told_as_model(catalogue, residency, status))

    footprints = Footprints(settings.data_dir / "footprints.json", __version__)
    residency = Residency(launchers, settings.residency, footprints=footprints, machine=machine, on_change=tell)
    return residency


def _ledger(settings: Settings, database: Database) -> Ledger:
    spool = Spool(settings.data_dir / "spool", settings.ledger.spool_max_bytes)
    return Ledger(SqlBooks(database), spool, _prices(settings))


def _prices(settings: Settings) -> Prices:
    return Prices({name: model.price for name, model in settings.models.items()}, settings.prices)


def _launchers(
    settings: Settings, files: FetchedFiles, environ: Mapping[str, str]
) -> Mapping[EngineName, Launcher]:
    silence = settings.admission.request_timeout
    llama = LlamaLauncher(
        files,
        binary=settings.engines.llama_server.path,
        environ=_for_engines(environ, settings.engines.llama_server.gpu_devices),
        silence=silence,
        grace=settings.residency.stop_grace,
    )
    elsewhere = RemoteLauncher(silence=silence)
    return {
        EngineName.LLAMA_SERVER: llama,
        EngineName.ONNX: OnnxLauncher(files),
        EngineName.OPENAI: elsewhere,
        EngineName.ANTHROPIC: elsewhere,
        EngineName.OLLAMA: elsewhere,
    }


def _for_engines(environ: Mapping[str, str], gpus: Iterable[int]) -> Mapping[str, str]:
    """What an engine process may know of our environment: no secrets, and only its GPUs."""
    known = {
        name: value for name, value in environ.items() if not any(word in name.upper() for word in _SECRET_WORDS)
    }
    devices = ",".join(map(str, gpus))
    ordered = {**known, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # so that numbers mean what the driver's tools mean
    return {**ordered, _VISIBLE_GPUS: devices} if devices else ordered


@asynccontextmanager
async def _side_tasks(house: House, environ: Mapping[str, str], config: Path | None) -> AsyncGenerator[None]:
    """What goes on beside the requests; one that dies is logged and started again."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_preload(house), name="preload")]
        for name, run in _endless(house, environ, config):
            tasks.append(group.create_task(_kept_alive(name, run), name=name))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def _endless(
    house: House, environ: Mapping[str, str], config: Path | None
) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
    yield "arrivals", partial(_follow_arrivals, house)
    yield "copies", partial(_follow_load, house)
    yield "cleanup", house.cleanup.run
    if config is not None:
        yield "settings", partial(_follow_settings, house, config, environ)
    if house.settings.models_dir is not None:
        yield "models_dir", partial(_follow_folder, house, house.settings.models_dir)


async def _kept_alive(name: str, run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception:
            log.exception("side_task_died", task=name, again_in=_RETRY_SIDE_TASK)
        await asyncio.sleep(_RETRY_SIDE_TASK)


async def _follow_settings(house: House, config: Path, environ: Mapping[str, str]) -> None:
    async for settings in watch(config, house.settings, environ):
        await house.adopt(settings)


async def _follow_arrivals(house: House) -> None:
    """When a model's files have come, the list shall say what they say."""
    while True:
        await house.arrivals.wait()
        house.arrivals.clear()
        house.show("settings", await house.read(house.settings))
        await house.registry.adopt(house.settings)


async def _follow_load(house: House) -> None:
    """Copies grow with the line, and lines with the copies."""
    with house.changes.subscribe() as subscription:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_REVIEW_COPIES):
                    await subscription.news()
            house.copies.review(house.catalogue.models())


async def _follow_folder(house: House, folder: Path) -> None:
    async for models in watch_folder(folder, slots=house.settings.admission.default_slots):
        house.show("models_dir", models)


async def _preload(house: House) -> None:
    """Load what shall be ready before anybody asks, one after the other; what fails is logged and left."""
    for model in house.catalogue.models():
        if model.preload:
            try:
                await house.residency.load(model.deployments[0], terms_of(model))
            except EnginehouseError as error:
                log.warning("preload_failed", model=model.id, error=error.message)
