"""What the service stands on: the database, what replicas share, the machine, and what is opened over them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from functools import partial
from typing import TypeAlias
from uuid import uuid4

from msgspec import Struct

from enginehouse.api.health import Ask
from enginehouse.app.engines import make_launchers, make_residency
from enginehouse.app.exporting import exported
from enginehouse.app.fleet import open_fleet
from enginehouse.app.presence import Presence
from enginehouse.core.access import Access
from enginehouse.core.admission import Admission, SharedGates
from enginehouse.core.cache.cache import Cache
from enginehouse.core.cache.opening import open_cache
from enginehouse.core.cache.types import Meaning
from enginehouse.core.catalogue import Catalogue, enrich
from enginehouse.core.catalogue.servers import OllamaServers
from enginehouse.core.embedding import OwnEmbedder
from enginehouse.core.identity.secret import key_secret
from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.core.listing import Update
from enginehouse.core.traces import Listening, Traces
from enginehouse.core.traces.keeping import Keeper, Keeping
from enginehouse.engines.encodings import Encodings
from enginehouse.engines.metadata import Cards
from enginehouse.errors import SettingsError
from enginehouse.residency.fleet.replica import FleetLauncher
from enginehouse.residency.launchers.files import FetchedFiles
from enginehouse.residency.machine import Machine, this_machine
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import Settings, TelemetrySettings
from enginehouse.stores.artifacts import Artifacts
from enginehouse.stores.kv import RedisChronicle, RedisLines, RedisStore
from enginehouse.stores.spool import Spool
from enginehouse.stores.sql import Database, database_url, open_database, prepare
from enginehouse.stores.vectors.base import VectorStore
from enginehouse.stores.vectors.opening import open_vectors, server_url
from enginehouse.telemetry.events import EventStream
from enginehouse.telemetry.redaction import Redactor
from enginehouse.types import Model

__all__ = ["Ground", "ReadModels", "keeping", "listening", "open_ground", "prices_of"]

ReadModels: TypeAlias = Callable[[Settings], Awaitable[tuple[Model, ...]]]
"""From settings to models, with what their files say."""


class Ground(Struct, frozen=True, kw_only=True):
    """What is opened first and closed last.

    Args:
        read: from settings to models, also when they are edited.
        ollama: what Ollama servers say of their models.
        arrivals: set when a model's files have come.
        changes: the stream of what happens to models.
        leaving: set when it has been told to stop; requests are still taken for `server.drain_delay`.
        stopping: set when the service begins to stop.
        store: what replicas share, if they do.
        presence: which replica this is, and which others there are.
        fleet: the nodes on which engines run, if that is not here.
        dependencies: who is asked for the health of the whole, by name.
    """

    artifacts: Artifacts
    read: ReadModels
    catalogue: Catalogue
    ollama: OllamaServers
    arrivals: asyncio.Event
    changes: EventStream[Update]
    leaving: asyncio.Event
    stopping: asyncio.Event
    machine: Machine
    store: RedisStore | None
    presence: Presence
    database: Database
    access: Access
    vectors: VectorStore
    admission: Admission
    residency: Residency
    encodings: Encodings
    traces: Traces
    keeper: Keeper
    ledger: Ledger
    cache: Cache
    fleet: FleetLauncher | None
    dependencies: Mapping[str, Ask]


@asynccontextmanager
async def open_ground(settings: Settings, environ: Mapping[str, str]) -> AsyncGenerator[Ground]:
    """Open everything in order, and close it in reverse.

    Raises:
        SettingsError: two models claim one name, a store's address cannot be one, or the database's schema is not
            the one this version knows.
        StoreUnavailable: the database cannot be reached.
    """
    artifacts = Artifacts(settings.data_dir / "artifacts", settings.sources)
    started = int(time.time())
    ollama = OllamaServers(started=started)
    read = partial(enrich, cards=Cards(), locate=artifacts.local, started=started, facts=ollama.facts)
    catalogue = Catalogue(await read(settings))
    async with AsyncExitStack() as stack:
        arrivals, leaving, stopping = asyncio.Event(), asyncio.Event(), asyncio.Event()
        fleet = await stack.enter_async_context(open_fleet(settings))
        launchers = make_launchers(settings, FetchedFiles(artifacts, arrivals.set), environ, fleet)
        changes: EventStream[Update] = EventStream()
        name = uuid4().hex
        presence = Presence(name[:8], leaving.is_set)
        store = await stack.enter_async_context(_redis(settings, name, presence))
        presence.join(store)
        url = database_url(settings.stores.database_url, settings.data_dir)
        database = await stack.enter_async_context(open_database(url, fsync=settings.stores.fsync))
        await prepare(database)
        access = await stack.enter_async_context(Access(settings, database, store))
        vectors = await stack.enter_async_context(open_vectors(settings))
        admission = await stack.enter_async_context(_admission(settings, store))
        machine = this_machine(settings.engines.llama_server.gpu_devices, environ)
        residency = await stack.enter_async_context(
            make_residency(settings, launchers, catalogue, machine, changes, fleet)
        )
        traces = Traces(settings.telemetry.kept, listening(settings.telemetry))
        keeper = await stack.enter_async_context(Keeper(database, keeping(settings.telemetry)))
        traces.listen(keeper.hear)
        await stack.enter_async_context(exported(traces, settings.telemetry))
        ledger = await stack.enter_async_context(_ledger(settings, database, stopping, traces))
        meaning = await stack.enter_async_context(_meaning(settings, catalogue, residency, store))
        cache = await stack.enter_async_context(_cache(settings, database, store, meaning))
        yield Ground(
            artifacts=artifacts,
            read=read,
            catalogue=catalogue,
            ollama=ollama,
            arrivals=arrivals,
            changes=changes,
            leaving=leaving,
            stopping=stopping,
            machine=machine,
            store=store,
            presence=presence,
            database=database,
            access=access,
            vectors=vectors,
            admission=admission,
            residency=residency,
            encodings=Encodings(environ),
            traces=traces,
            keeper=keeper,
            ledger=ledger,
            cache=cache,
            fleet=fleet,
            dependencies=_dependencies(settings, store, database, ledger, access, vectors, fleet),
        )


def keeping(settings: TelemetrySettings) -> Keeping:
    """What the database keeps of requests."""
    return Keeping(enabled=settings.database, retention=settings.retention)


def listening(settings: TelemetrySettings) -> Listening | None:
    """What is kept of what is said, if anything is."""
    return Listening(most=settings.content_chars, redact=Redactor(settings.redact)) if settings.content else None


def prices_of(settings: Settings) -> Prices:
    """What the settings say that tokens cost."""
    return Prices({name: model.price for name, model in settings.models.items()}, settings.prices)


def _dependencies(
    settings: Settings,
    store: RedisStore | None,
    database: Database,
    ledger: Ledger,
    access: Access,
    vectors: VectorStore,
    fleet: FleetLauncher | None,
) -> Mapping[str, Ask]:
    """Those that are elsewhere, and what their being away means here."""

    async def answers() -> None:
        await database.ping()

    shared: dict[str, Ask] = {} if store is None else {"redis": store.ping, "limits": access.limits.ask}
    kept: dict[str, Ask] = {} if database.embedded else {"database": answers, "ledger": ledger.ask}
    found: dict[str, Ask] = {"qdrant": vectors.ping} if server_url(settings.qdrant) else {}
    owned: dict[str, Ask] = {} if fleet is None else {"fleet": fleet.look}
    return {**kept, **shared, **found, **owned}


@asynccontextmanager
async def _redis(settings: Settings, name: str, presence: Presence) -> AsyncGenerator[RedisStore | None]:
    """The connection to Redis, whether it answers yet or not; None when none is configured."""
    if settings.stores.redis_url:
        async with RedisStore(settings.stores.redis_url, name, presence.introduction) as store:
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


def _cache(
    settings: Settings, database: Database, store: RedisStore | None, meaning: Meaning | None
) -> AbstractAsyncContextManager[Cache]:
    secret = key_secret(settings.auth, settings.data_dir)
    return open_cache(settings.cache, secret, database, store, meaning)


@asynccontextmanager
async def _meaning(
    settings: Settings, catalogue: Catalogue, residency: Residency, store: RedisStore | None
) -> AsyncGenerator[Meaning | None]:
    """What finds questions that mean the same, where the settings want it."""
    wanted = settings.cache.semantic
    if not (settings.cache.enabled and wanted.enabled):
        yield None
        return
    from enginehouse.core.cache.semantic import open_semantic  # with word lists that nobody else may need

    embed = OwnEmbedder(catalogue, residency, wanted.model)
    feed = None if store is None else RedisChronicle(store, "questions")
    folder = settings.data_dir / "cache"
    async with open_semantic(wanted, folder, embed, lasting=store is not None, chronicle=feed) as meaning:
        yield meaning


@asynccontextmanager
async def _ledger(
    settings: Settings, database: Database, stopping: asyncio.Event, traces: Traces
) -> AsyncGenerator[Ledger]:
    with closing(Spool[UsageRecord](settings.data_dir / "spool", settings.ledger.spool_max_bytes)) as spool:
        async with Ledger(
            SqlBooks(database),
            spool,
            prices_of(settings),
            ahead=database.embedded and not settings.stores.fsync,
            stopping=stopping.is_set,
            witness=traces,
        ) as ledger:
            yield ledger
