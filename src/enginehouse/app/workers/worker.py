"""A worker: the way of requests that generate, in a process of its own, joined over what the owner decides."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import structlog

from enginehouse.api.anthropic import anthropic_faces
from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.faces import Face
from enginehouse.api.generation import GenerationFace
from enginehouse.api.ollama import ollama_faces
from enginehouse.api.openai import openai_faces
from enginehouse.api.wire import Receive, Scope, Send
from enginehouse.app.exporting import exported
from enginehouse.app.ground import listening, prices_of
from enginehouse.app.workers.link import Link
from enginehouse.app.workers.linked import (
    LinkedAnswers,
    LinkedBooks,
    LinkedBudgets,
    LinkedFlights,
    LinkedGuarding,
    LinkedMeaning,
    LinkedTallies,
)
from enginehouse.app.workers.places import Engines, LinkedSeats
from enginehouse.app.workers.reporting import Reporting, TellingDecisions, TellingStats
from enginehouse.app.workers.words import Hello, Welcome
from enginehouse.core.access import Access
from enginehouse.core.admission import Admission
from enginehouse.core.cache.cache import Cache
from enginehouse.core.cache.rulings import Rulings
from enginehouse.core.cache.sources import KeptRulings
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.gateway import Gateway, Recall, Spending
from enginehouse.core.identity import check_exposure
from enginehouse.core.identity.secret import key_secret
from enginehouse.core.ledger.digests import Digests
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.core.limits import Limits
from enginehouse.core.routes import Routes
from enginehouse.core.traces import Traces
from enginehouse.errors import SettingsError, StoreError
from enginehouse.settings import watch
from enginehouse.settings.schema import Settings
from enginehouse.stores.spool import Spool
from enginehouse.stores.sql import Database, database_url, open_database
from enginehouse.types import Model

__all__ = ["Worker", "open_worker"]

log = structlog.get_logger()

_REVIEW_SERVERS = 0.5
_AGAIN = 5.0
_welcome = msgspec.msgpack.Decoder(Welcome).decode


class Worker:
    """One worker; use as a context. Its rooms are made anew of the owner's, and none of them decides anything.

    Args:
        settings: the effective configuration.
        folder: where the owner is asked, by a socket of its own.
        number: which process this is; the owner is the first.
        database: read, never written.
    """

    def __init__(self, settings: Settings, folder: Path, number: int, database: Database) -> None:
        self.settings = settings
        self.leaving, self.stopping = asyncio.Event(), asyncio.Event()
        self._number = number
        self._welcomed = asyncio.Event()
        self._stack = AsyncExitStack()
        self.link = link = Link(
            folder / "desk", {"welcome": self._hear_models, "look": self._look, "carry": self._carry}
        )
        secret = key_secret(settings.auth, settings.data_dir)
        here = LinkedTallies(link, here=True) if settings.stores.redis_url else None
        tallies = LinkedTallies(link, here=False)
        limits = Limits(settings.limits, here or tallies, None if here is None else tallies)
        self.access = Access(settings, database, limits=limits)
        self.traces = Traces(0, listening(settings.telemetry))
        self._reporting = Reporting(link, self.traces)
        self._catalogue = Catalogue()
        self._admission = Admission(settings.admission)
        self._engines = Engines(settings.admission.request_timeout)
        seats = LinkedSeats(link, self._catalogue, self._admission, self._engines)
        self._routes = Routes(self._catalogue, settings.routing, time.monotonic)
        self._spool = Spool[UsageRecord](settings.data_dir / "spool", settings.ledger.spool_max_bytes)
        self._ledger = Ledger(
            LinkedBooks(link),
            self._spool,
            prices_of(settings),
            ahead=database.embedded and not settings.stores.fsync,
            stopping=self.stopping.is_set,
            witness=self.traces,
        )
        self._budgets = partial(LinkedBudgets, link, database)
        self._spending = Spending(self._budgets(settings.budgets))
        self._digests = Digests(secret, enabled=settings.ledger.request_digests)
        self._cache = self._open_cache(secret, database)
        self._guarding = LinkedGuarding(link, seats, settings.guard, self._reporting.guarded)
        gateway = Gateway(
            seats, self._routes, self._ledger, self._spending, self._digests, Recall(self._cache), self._guarding
        )
        self.hot = _hot(gateway, self._catalogue, link)
        """What is answered here, by path; all else is the owner's."""
        self.asgi = FrontDoor(
            self.hot,
            _come_again,
            self.access.identity,
            settings.server,
            limits=limits,
            traces=self.traces,
            leaving=self.leaving.is_set,
        )

    async def __aenter__(self) -> "Worker":
        """Know what the owner knows.

        Raises:
            StoreUnavailable: the database is away.
        """
        enter = self._stack.enter_async_context
        await enter(exported(self.traces, self.settings.telemetry))
        await enter(self._engines)
        await enter(self.link)
        await self._welcomed.wait()
        await enter(self.access)
        await self._cache.rulings.open()
        self._stack.callback(self._spool.close)
        await enter(self._ledger)
        await enter(self._side_tasks())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the last records be kept, and hang up."""
        await self._stack.aclose()

    async def follow(self, config: Path, environ: Mapping[str, str]) -> None:
        """Let edits of the configuration count, as the owner does."""
        async for settings in watch(config, self.settings, environ):
            try:
                check_exposure(self.settings.server, settings.auth)
            except SettingsError:  # the owner says so
                continue
            self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Let edited settings count from the next request on."""
        self.settings = settings
        self.access.adopt(settings)
        self.traces.adopt(0, listening(settings.telemetry))
        self._admission.adopt(settings.admission)
        self._routes.adopt(settings.routing)
        self._ledger.adopt(prices_of(settings))
        self._spending.adopt(self._budgets(settings.budgets))
        self._digests.adopt(enabled=settings.ledger.request_digests)
        self._cache.adopt(settings.cache)
        self._guarding.adopt(settings.guard)
        self.asgi.adopt(self.access.identity, settings.server)

    def _open_cache(self, secret: bytes, database: Database) -> Cache:
        settings = self.settings.cache
        longest = max(settings.exact_ttl, settings.semantic_ttl)
        cache = Cache(LinkedAnswers(self.link), settings, secret, Rulings(KeptRulings(database), longest=longest))
        cache.flights = LinkedFlights(self.link)
        cache.stats, cache.decisions = TellingStats(self._reporting), TellingDecisions(self._reporting)
        return cache

    async def _hear_models(self, body: bytes) -> None:
        """The owner's models, which are told first of all, and after every change."""
        welcome = _welcome(body)
        self._cache.meaning = LinkedMeaning(self.link) if welcome.meaning else None
        self._catalogue.mirror(welcome.models)
        if not self._welcomed.is_set():
            self._welcomed.set()
        self.link.tell("hello", Hello(number=self._number, pid=os.getpid()))

    async def _look(self, body: bytes) -> None:
        """Something was changed by an admin: keys, or what is cached."""
        del body
        try:
            await self.access.look()
            await self._cache.rulings.look()
        except StoreError as error:
            log.warning("change_not_seen", error=error.message)

    async def _carry(self, body: bytes) -> None:
        """Somebody wants to read the books."""
        del body
        await self._ledger.caught_up()

    @asynccontextmanager
    async def _side_tasks(self) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as group:
            runs = {
                "report": self._reporting.run(),
                "cache rulings": self._cache.rulings.run(),
                "cache chores": self._cache.chores.run(),
                "servers": self._follow_servers(),
            }
            tasks = [group.create_task(run, name=name) for name, run in runs.items()]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _follow_servers(self) -> None:
        """Whoever chooses among servers knows which of them answer."""
        while True:
            try:
                models, interval = self._catalogue.models(), self.settings.routing.health_interval
                await self._routes.lookout.review(models, interval)
            except Exception:
                log.exception("servers_not_reviewed", again_in=_AGAIN)
                await asyncio.sleep(_AGAIN)
            await asyncio.sleep(_REVIEW_SERVERS)


@asynccontextmanager
async def open_worker(settings: Settings, folder: Path, number: int) -> AsyncGenerator[Worker]:
    """A worker that has found its owner.

    Args:
        folder: where the owner is asked.
        number: which process this is.

    Raises:
        StoreUnavailable: the database is away.
    """
    url = database_url(settings.stores.database_url, settings.data_dir)
    async with (
        open_database(url, fsync=settings.stores.fsync) as database,
        Worker(settings, folder, number, database) as worker,
    ):
        yield worker


def _hot(gateway: Gateway, catalogue: Catalogue, link: Link) -> Mapping[str, Face]:
    """The routes that generate."""

    async def unload(model: Model) -> None:
        await link.ask("unload", model.id)

    faces = {**openai_faces(gateway), **anthropic_faces(gateway), **ollama_faces(gateway, catalogue, unload)}
    return {path: face for path, face in faces.items() if isinstance(face, GenerationFace)}


async def _come_again(scope: Scope, receive: Receive, send: Send) -> None:
    """A request that is the owner's, sent right behind one that is not: it cannot be handed over."""
    del scope, receive
    head = [(b"content-length", b"0"), (b"connection", b"close"), (b"retry-after", b"0")]
    await send({"type": "http.response.start", "status": 503, "headers": head})
    await send({"type": "http.response.body", "body": b""})
