"""The running service: what it stands on, its rooms, its door, and what goes on beside the requests."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from enginehouse.api.metrics import open_paths
from enginehouse.api.sockets import Sockets
from enginehouse.app.doors import front_door
from enginehouse.app.fast import fast_path
from enginehouse.app.ground import Ground, open_ground
from enginehouse.app.replicas import replicas_of
from enginehouse.app.rooms import Rooms
from enginehouse.app.side_tasks import side_tasks
from enginehouse.app.surroundings import looking, slowly, surroundings
from enginehouse.core.identity import check_exposure
from enginehouse.core.replicas import Views
from enginehouse.core.traces.lines import RequestLines
from enginehouse.core.traces.pulse import Pulse
from enginehouse.errors import EnginehouseError, SettingsError
from enginehouse.settings.schema import Settings
from enginehouse.types import Model

__all__ = ["House", "open_house"]

log = structlog.get_logger()


class House:
    """The ASGI application and what stands behind it."""

    def __init__(self, settings: Settings, ground: Ground) -> None:
        self.settings = settings
        self.ground = ground
        self.rooms = Rooms(ground, lambda: self.settings)
        self.leaving = ground.leaving
        """Set when the service has been told to stop, and is about to."""
        self.stopping = ground.stopping
        """Set when the service begins to stop: endless streams end then, so that only requests have to drain."""
        self.sockets = Sockets(self.rooms.answers, ground.access.limits, settings.chat, self.stopping)
        self._lines = RequestLines(wanted=settings.telemetry.log_requests)
        ground.traces.listen(self._lines.hear)
        around = surroundings(self.rooms, self.sockets)
        self.pulse = Pulse(ground.traces, around, lambda: slowly(self.rooms), look=looking(ground.admission))
        self.replicas = replicas_of(self.rooms, self.pulse)
        views = Views(self.replicas)
        self.asgi = front_door(self.rooms, self.sockets, self.pulse, views, settings.server, self.stopping)
        self.lane = fast_path(self.rooms, settings)
        """Answers what needs no ASGI; the server offers it requests before it offers them to the door."""

    async def adopt(self, settings: Settings) -> None:
        """Let an edited configuration count, as far as it can without a restart.

        An edit that would open the service to strangers, or names a model twice, is refused and logged; what was
        before stays.
        """
        try:
            check_exposure(self.settings.server, settings.auth)
            models = await self.ground.read(settings)
        except SettingsError as error:
            log.warning("settings_refused", error=error.message)
            return
        self.settings = settings
        self._lines.adopt(wanted=settings.telemetry.log_requests)
        self.rooms.adopt(settings)
        self.sockets.adopt(settings.chat)
        self.lane.adopt(self.ground.access.identity, settings.server)
        self.asgi.adopt(self.ground.access.identity, settings.server, open_paths(settings))
        self.show("settings", models)
        await self.rooms.registry.adopt(settings)

    async def look_again(self) -> None:
        """Let the list say what the models' files say, now that there are more of them."""
        self.show("settings", await self.ground.read(self.settings))
        await self.rooms.registry.adopt(self.settings)

    def show(self, origin: str, models: Iterable[Model]) -> None:
        """Let the catalogue hold these models of one origin, and residency know what that changes.

        A change that is refused changes nothing and is logged: the service goes on with what it has.
        """
        try:
            self.rooms.listing.replace(origin, models)
        except EnginehouseError as error:
            log.warning("models_refused", origin=origin, error=error.message)


@asynccontextmanager
async def open_house(
    settings: Settings, environ: Mapping[str, str], *, config: Path | None = None
) -> AsyncGenerator[House]:
    """Build everything, run the side tasks, and take it all down in order.

    Leaving stops what was started last first: answers that nobody reads, side tasks, then what the ledger has not
    written yet, residents (their leases end before their engines), then stores.

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
    async with AsyncExitStack() as stack:
        house = House(settings, await stack.enter_async_context(open_ground(settings, environ)))
        await house.rooms.registry.open()
        await house.rooms.sessions.start()
        await stack.enter_async_context(house.rooms.warm_ups)
        await stack.enter_async_context(side_tasks(house, environ, config))
        await stack.enter_async_context(house.rooms.answers)
        await stack.enter_async_context(house.sockets)
        yield house
