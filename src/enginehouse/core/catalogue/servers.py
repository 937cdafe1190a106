"""Ollama servers, asked now and then beside the requests: which models they have, and what these can do."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import structlog
from msgspec import Struct, structs

from enginehouse.core.catalogue.build import Common, build_model, common_of
from enginehouse.core.catalogue.names import check_name
from enginehouse.engines.metadata import Capability, Facts
from enginehouse.engines.ollama import Known, Shown, server_of
from enginehouse.errors import EnginehouseError, SettingsError, UpstreamTimeout
from enginehouse.settings.schema import ModelSettings, Settings
from enginehouse.settings.secrecy import without_passwords
from enginehouse.types import Deployment, EngineName, Kind, Model

__all__ = ["OllamaServers"]

log = structlog.get_logger()

INTERVAL = 30.0
"""Seconds between two questions to a server that answers."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds until one that is away is asked again; doubled each time."""
SILENCE = 10.0
"""Seconds without a byte after which it counts as away."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "completion": (Capability.CHAT.value, Capability.COMPLETION.value, Capability.JSON_SCHEMA.value)
}
"""What Ollama's words for what a model can do are here, where they are others."""


class Asked(Protocol):
    """A server that is asked about a model."""

    async def tags(self) -> tuple[Known, ...]:
        """All models it has."""
        ...

    async def show(self) -> Shown:
        """What this one can do."""
        ...


Connect: TypeAlias = Callable[[Deployment, float], AbstractAsyncContextManager[Asked]]
"""Reaches the server of a deployment, given the seconds for which it may be silent."""


class Memory(Struct):
    """What is remembered of one server."""

    due: float = 0.0
    """When it is asked again, by the clock."""
    pause: float = 0.0
    """Seconds it was given when it was last found away; 0 while it answers."""
    sought: frozenset[str] = frozenset()
    """Models that were looked for."""
    has: Mapping[str, str] = {}
    """Digest of every model it has."""
    described: dict[str, str] = {}
    """Digest that a model had when it was described."""


class OllamaServers:
    """What they have said last; one that is away has not taken back what it said.

    Args:
        connect: how they are reached.
        clock: seconds that never go back.
        started: Unix seconds; the age of the models they offer.
    """

    def __init__(
        self, connect: Connect = server_of, clock: Callable[[], float] = time.monotonic, started: int = 0
    ) -> None:
        self.facts: dict[tuple[str, str], Facts] = {}
        """Of models, by address and name there."""
        self._connect = connect
        self._clock = clock
        self._started = started
        self._servers: dict[str, Memory] = {}
        self._passed_over: set[str] = set()

    async def ask(self, settings: Settings, models: Iterable[Model]) -> bool:
        """Ask those whose turn it is about these models, and the one whose models shall be found about all it has.

        Returns:
            Whether anything is known of a model that was not known before.
        """
        before = dict(self.facts)
        async with asyncio.TaskGroup() as group:
            for address, places in by_address(models, home_of(settings)).items():
                server = self._servers.setdefault(address, Memory())
                if self._is_due(server, places):
                    group.create_task(self._visit(address, server, places), name=f"ask {address}")
        return self.facts != before

    def offered(self, settings: Settings) -> tuple[Model, ...]:
        """Every model of the server whose models shall be found, by id."""
        home = home_of(settings)
        server = self._servers.get(home.base_url or "") if home else None
        if server is None:
            return ()
        common = common_of(settings, self._started, self.facts)
        return tuple(offer(name, server.has, common) for name in sorted(server.has) if self._can_be_named(name))

    def _is_due(self, server: Memory, places: Mapping[str, Deployment]) -> bool:
        """A model that was not looked for yet need not wait for the next turn, unless the server is away."""
        return self._clock() >= server.due or not (server.pause or places.keys() <= server.sought)

    async def _visit(self, address: str, server: Memory, places: Mapping[str, Deployment]) -> None:
        try:
            has = await self._list(next(iter(places.values())))
            home = places.get("")
            every = {name: structs.replace(home, model=name) for name in has} if home else {}
            wanted = {**every, **places}
            await self._describe(address, server, has, wanted)
        except EnginehouseError as error:
            if not server.pause:
                log.warning("ollama_server_away", address=without_passwords(address), error=error.message)
            server.pause = min(server.pause * 2, LONGEST_PAUSE) or FIRST_PAUSE
        else:
            if server.pause:
                log.info("ollama_server_back", address=without_passwords(address))
            server.pause, server.has, server.sought = 0.0, has, frozenset(wanted)
        server.due = self._clock() + (server.pause or INTERVAL)

    async def _list(self, place: Deployment) -> dict[str, str]:
        async with self._connect(place, SILENCE) as server:
            return {known.name: known.digest for known in await server.tags()}

    async def _describe(
        self, address: str, server: Memory, has: Mapping[str, str], places: Mapping[str, Deployment]
    ) -> None:
        """Ask about each model that is new or another; one that the server cannot describe is asked about again."""
        for name, place in places.items():
            digest = digest_of(name, has)
            if digest is None or server.described.get(name) == digest:
                continue
            try:
                async with self._connect(place, SILENCE) as asked:
                    self.facts[address, name] = facts_of(await asked.show())
            except UpstreamTimeout:
                raise
            except EnginehouseError as error:
                log.debug("ollama_model_not_described", address=address, model=name, error=error.message)
            else:
                server.described[name] = digest

    def _can_be_named(self, name: str) -> bool:
        try:
            check_name(name)
        except SettingsError as error:
            if name not in self._passed_over:
                self._passed_over.add(name)
                log.warning("model_not_shown", model=name, reason=error.message)
            return False
        return True


def home_of(settings: Settings) -> Deployment | None:
    """The server whose models are to be found, as the place of a model without a name; None when none is."""
    if not (settings.ollama.discover and settings.ollama.base_url):
        return None
    return build_model("", ModelSettings(engine=EngineName.OLLAMA), common_of(settings)).deployments[0]


def by_address(models: Iterable[Model], home: Deployment | None) -> dict[str, dict[str, Deployment]]:
    """Where models run on Ollama servers, by address and name there."""
    found: dict[str, dict[str, Deployment]] = {}
    places = [place for model in models for place in model.deployments if place.engine is EngineName.OLLAMA]
    for place in [*places, home] if home else places:
        if place.base_url is not None:
            found.setdefault(place.base_url, {})[place.name_there] = place
    return found


def digest_of(name: str, has: Mapping[str, str]) -> str | None:
    """Of a model as its server finds it: without a tag the latest one is meant."""
    return has.get(name, has.get(f"{name}:latest"))


def offer(name: str, has: Mapping[str, str], common: Common) -> Model:
    """A model that was found; where its tag is the latest one, it may be left out as there."""
    short = name.removesuffix(":latest")
    aliases = (short,) if short and short not in has else ()
    stated = ModelSettings(engine=EngineName.OLLAMA, aliases=aliases)
    return build_model(name, stated, common, origin="ollama")


def facts_of(shown: Shown) -> Facts:
    """What was said of a model, in our words."""
    embeds = "embedding" in shown.capabilities and "completion" not in shown.capabilities
    words = [word for said in shown.capabilities for word in WORDS.get(said, (said,))]
    return Facts(
        kind=Kind.EMBEDDING if embeds else Kind.CHAT,
        engine=EngineName.OLLAMA,
        context_length=shown.context_length,
        capabilities=tuple(dict.fromkeys(words)),
    )
