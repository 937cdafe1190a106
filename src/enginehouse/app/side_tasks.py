"""What goes on beside the requests; one that dies is logged and started again."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from enginehouse.app.ground import Ground
from enginehouse.app.rooms import Rooms
from enginehouse.core.catalogue import watch_folder
from enginehouse.core.replicas import Replicas
from enginehouse.core.traces.pulse import Pulse
from enginehouse.errors import EnginehouseError
from enginehouse.residency.base import terms_of
from enginehouse.settings import watch
from enginehouse.settings.schema import Settings
from enginehouse.types import Model

__all__ = ["Housed", "side_tasks"]

log = structlog.get_logger()

_RETRY_SIDE_TASK = 5.0
_REVIEW_COPIES = 0.5
"""Seconds between looks at who waits for models with instances; a copy that comes or goes is seen at once."""
_REVIEW_SERVERS = 0.5
"""Seconds between looks at whether a server of a model with several is to be asked how it is."""
_REVIEW_OLLAMA = 1.0
"""Seconds between looks at whether an Ollama server is to be asked."""


class Housed(Protocol):
    """What the side tasks need to know of the house."""

    settings: Settings
    ground: Ground
    rooms: Rooms
    pulse: Pulse
    replicas: Replicas | None

    async def adopt(self, settings: Settings) -> None: ...

    async def look_again(self) -> None: ...

    def show(self, origin: str, models: Iterable[Model]) -> None: ...


@asynccontextmanager
async def side_tasks(house: Housed, environ: Mapping[str, str], config: Path | None) -> AsyncGenerator[None]:
    """Run them while the context is entered."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_preload(house), name="preload")]
        for name, run in _endless(house, environ, config):
            tasks.append(group.create_task(_kept_alive(name, run), name=name))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if house.replicas is not None:
                await house.replicas.part()


def _endless(
    house: Housed, environ: Mapping[str, str], config: Path | None
) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
    yield "arrivals", partial(_follow_arrivals, house)
    yield "ollama", partial(_follow_ollama, house)
    yield "servers", partial(_follow_servers, house)
    yield "copies", partial(_follow_load, house)
    yield "pulse", house.pulse.run
    yield "events", partial(_relay, house)
    if house.replicas is not None:
        yield "tell replicas", house.replicas.tell
        yield "hear replicas", house.replicas.hear
    yield "cleanup", house.rooms.cleanup.run
    if not house.ground.database.embedded:
        yield "registered models", house.rooms.registry.follow
    yield "sessions", house.rooms.sessions.run
    yield "old sessions", house.rooms.archive.run
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


async def _relay(house: Housed) -> None:
    """What happens to models is told in the stream of all events as well."""
    with house.ground.changes.subscribe() as subscription:
        while True:
            for entry in await subscription.news():
                house.pulse.events.publish(entry.event)


async def _follow_settings(house: Housed, config: Path, environ: Mapping[str, str]) -> None:
    async for settings in watch(config, house.settings, environ):
        await house.adopt(settings)


async def _follow_arrivals(house: Housed) -> None:
    """When a model's files have come, the list shall say what they say."""
    while True:
        await house.ground.arrivals.wait()
        house.ground.arrivals.clear()
        await house.look_again()


async def _follow_load(house: Housed) -> None:
    """Copies grow with the line, and lines with the copies."""
    with house.ground.changes.subscribe() as subscription:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_REVIEW_COPIES):
                    await subscription.news()
            house.rooms.copies.review(house.ground.catalogue.models())


async def _follow_servers(house: Housed) -> None:
    """Whoever chooses among servers knows which of them answer, and what they have in memory."""
    while True:
        models, interval = house.ground.catalogue.models(), house.settings.routing.health_interval
        await house.rooms.routes.lookout.review(models, interval)
        await asyncio.sleep(_REVIEW_SERVERS)


async def _follow_ollama(house: Housed) -> None:
    """The list says what Ollama servers say of their models, and what else one of them has."""
    servers, catalogue = house.ground.ollama, house.ground.catalogue
    while True:
        if await servers.ask(house.settings, catalogue.models()):
            await house.look_again()
        models = servers.offered(house.settings)
        if models != catalogue.given("ollama"):
            house.show("ollama", models)
        await asyncio.sleep(_REVIEW_OLLAMA)


async def _follow_folder(house: Housed, folder: Path) -> None:
    async for models in watch_folder(folder, slots=house.settings.admission.default_slots):
        house.show("models_dir", models)


async def _preload(house: Housed) -> None:
    """Load what shall be ready before anybody asks, one after the other; what fails is logged and left."""
    for model in house.ground.catalogue.models():
        if model.preload:
            try:
                await house.ground.residency.load(model.deployments[0], terms_of(model))
            except EnginehouseError as error:
                log.warning("preload_failed", model=model.id, error=error.message)
