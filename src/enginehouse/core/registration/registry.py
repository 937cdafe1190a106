"""The registry: the one writer of the models that callers registered, in the list and where they are kept alike.

One change at a time: it is checked, then counts for everybody in a single step, then is kept, and only then is its
caller told. A change that cannot be kept is taken back. Where replicas keep them together, one that finds that
another was quicker does its change again on top of it, and each looks for the others' changes twice a second.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import structlog
from msgspec import Struct

from enginehouse.core.catalogue import Locate, build_model, check_name, common_of, read_cards
from enginehouse.core.listing import Listing
from enginehouse.core.registration.entries import claim, merge_patch, without_names
from enginehouse.core.registration.file import Entries, RegistryFile
from enginehouse.core.registration.keeping import Aside, Keeping, OwnFile
from enginehouse.core.registration.rules import admitted, located
from enginehouse.engines.metadata import Cards, Facts
from enginehouse.errors import (
    Conflict,
    EnginehouseError,
    InvalidRequest,
    ModelNotFound,
    SettingsError,
)
from enginehouse.residency.base import terms_of
from enginehouse.settings.schema import ModelSettings, Settings
from enginehouse.types import EngineName, Model, ResidentState

__all__ = ["Registry", "Wishes"]

log = structlog.get_logger()

T = TypeVar("T")

_LOOK = 0.4
"""Seconds between two looks for what other replicas have changed."""
_TRIES = 10
"""How often a change is done again because another replica was quicker."""

_ELSEWHERE = {EngineName.OPENAI, EngineName.ANTHROPIC, EngineName.OLLAMA}
_WHERE = {
    "settings": "the configuration; change it there",
    "models_dir": "the watched folder; register one of the same id to take its place, or change the file",
    "ollama": "an Ollama server; register one of the same id to take its place",
    "default": "the built-in models; register one of the same id to take its place",
}


class Wishes(Struct, frozen=True, kw_only=True):
    """How a change shall happen."""

    move_aliases: bool = False
    """Take the aliases from the registered models that have them."""
    load_first: bool = False
    """Let it count only once the model is in memory."""


class _Built(Struct, frozen=True):
    """What has become of all entries."""

    models: dict[str, Model]
    refused: dict[str, EnginehouseError]


class _Overtaken(Exception):
    """Another replica has changed them meanwhile."""


class Registry:
    """Registered models.

    Args:
        file: where they outlive the service.
        listing: where they are shown.
        settings: what they may ask for, and what they take from the rest of the configuration.
        locate: where a source's files are on this machine.
        facts: what servers say of models, by address and name there.
        aside: runs what blocks on the disk, in a thread.
        shared: where replicas keep them together, instead of the file.
    """

    def __init__(
        self,
        file: RegistryFile,
        listing: Listing,
        settings: Settings,
        locate: Locate,
        *,
        facts: Mapping[tuple[str, str], Facts] | None = None,
        aside: Aside = asyncio.to_thread,
        shared: Keeping | None = None,
    ) -> None:
        self._kept = shared or OwnFile(file, aside)
        self._shared = shared is not None
        self._listing = listing
        self._settings = settings
        self._locate = locate
        self._facts = facts
        self._aside = aside
        self._cards = Cards()
        self._entries: dict[str, Any] = {}
        self._loading: set[str] = set()
        self._told: dict[str, str] = {}
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Show what was registered before; what cannot be shown any more is told in the log, and kept."""
        async with self._turn:
            await self._take_over()

    async def follow(self) -> None:
        """Show what other replicas change, for ever; a store that is away is logged once."""
        away = False
        while self._shared:
            await asyncio.sleep(_LOOK)
            try:
                async with self._turn:
                    await self._take_over()
            except EnginehouseError as error:
                if not away:
                    log.warning("registered_models_not_renewed", error=error.message)
                away = True
            else:
                away = False

    async def adopt(self, settings: Settings) -> None:
        """Other settings count, or files have come: read every entry anew."""
        async with self._turn:
            self._settings = settings
            await self._show()

    async def register(self, id_: str, entry: Mapping[str, Any], wishes: Wishes) -> Model:
        """A new model; returns it once it is in the list and on the disk.

        Raises:
            InvalidRequest: its settings are wrong, or ask for what a caller may not have.
            Conflict: the id is registered already, or a name of it belongs to another model.
            EnginehouseError: with `load_first`, what its load raised; then nothing has changed.
        """

        def change(entries: Entries) -> dict[str, Any]:
            if id_ in entries:
                raise Conflict(f"{id_!r} is registered already; PATCH it, or DELETE it first.", param="id")
            return {**entries, id_: located(entry, self._settings)}

        return await self._change(id_, change, wishes)

    async def patch(self, id_: str, patch: Mapping[str, Any], wishes: Wishes) -> Model:
        """Merge a patch (RFC 7396) into a registered model's settings.

        Raises:
            ModelNotFound, Conflict: it is not there, or not one that was registered.
            InvalidRequest: as for `register`; or `load_first` where the change needs another engine process.
        """

        def change(entries: Entries) -> dict[str, Any]:
            if id_ not in entries:
                raise self._not_registered(id_)
            self._refuse_hidden(id_)
            return {**entries, id_: located(merge_patch(entries[id_], patch), self._settings)}

        return await self._change(id_, change, wishes)

    async def delete(self, id_: str) -> Model | None:
        """Out of the list and off the disk; returns what was shown. Running requests go on to their end.

        Raises:
            ModelNotFound, Conflict: it is not there, not one that was registered, or is loading.
        """

        async def without() -> Model | None:
            if id_ not in self._entries:
                raise self._not_registered(id_)
            self._refuse_hidden(id_)
            self._refuse_while_loading(id_)
            entries = {name: entry for name, entry in self._entries.items() if name != id_}
            model = self._listing.catalogue.find(id_)
            built = await self._aside(self._build, entries)
            await self._commit(entries, built, lambda: self._refuse_while_loading(id_))
            return model

        async with self._turn:
            model = await self._on_newest(without)
        return model if model is not None and model.origin == "api" else None

    # One change --------------------------------------------------------------------------------------------

    async def _on_newest(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it to what all replicas have now, and again if another one was quicker."""
        for _ in range(_TRIES):
            await self._take_over()
            try:
                return await work()
            except _Overtaken:
                continue
        raise Conflict("Other replicas change registered models all the time; try again soon.")

    async def _take_over(self) -> None:
        """Show what is kept, if that is news."""
        entries = await self._kept.news()
        if entries is not None:
            self._entries = dict(entries)
            await self._show()

    async def _show(self) -> None:
        built = await self._aside(self._build, self._entries)
        self._listing.replace("api", built.models.values())
        self._tell(built)

    async def _change(self, id_: str, change: Callable[[Entries], dict[str, Any]], wishes: Wishes) -> Model:
        if not wishes.load_first:
            async with self._turn:
                return await self._on_newest(lambda: self._apply(id_, change, wishes))
        async with self._turn:
            await self._take_over()
            if id_ in self._loading:
                raise Conflict(f"{id_!r} is being loaded for another change; wait until that is done.")
            _, built = await self._prepared(id_, change, wishes)
            model = built.models[id_]
            self._check_names(model)
            known = self._listing.catalogue.find(id_)
            if known is not None and known.deployments != model.deployments:
                raise InvalidRequest(
                    "load_first: this needs another engine process under the same id. Register a new version "
                    "(name@version) and move the aliases to it.",
                    param="load_first",
                )
            self._loading.add(id_)
        try:
            await self._listing.residency.load(model.deployments[0], terms_of(model))
            async with self._turn:
                return await self._on_newest(lambda: self._apply(id_, change, wishes))
        except EnginehouseError:
            if self._listing.catalogue.find(id_) is None:
                self._listing.residency.remove(id_, ModelNotFound(id_))
            raise
        finally:
            self._loading.discard(id_)

    async def _apply(self, id_: str, change: Callable[[Entries], dict[str, Any]], wishes: Wishes) -> Model:
        entries, built = await self._prepared(id_, change, wishes)
        model = built.models[id_]
        await self._commit(entries, built, lambda: self._check_names(model))
        if model.preload and not wishes.load_first:
            self._listing.residency.load_soon(model.deployments[0], terms_of(model))
        return model

    async def _prepared(
        self, id_: str, change: Callable[[Entries], dict[str, Any]], wishes: Wishes
    ) -> tuple[dict[str, Any], _Built]:
        """All entries as they would be, and what would be shown; nothing has changed yet.

        Raises:
            InvalidRequest, Conflict: the changed entry could not be shown.
        """
        try:
            check_name(id_)
        except SettingsError as error:
            raise InvalidRequest(error.message, param="id") from None
        entries = change(self._entries)
        stated = await self._aside(admitted, id_, entries[id_], self._settings)
        entries = without_names(entries, id_, stated, move=wishes.move_aliases)
        built = await self._aside(self._build, entries)
        if id_ in built.refused:
            raise built.refused[id_]
        return entries, built

    async def _commit(self, entries: dict[str, Any], built: _Built, check: Callable[[], None]) -> None:
        """Let it count; the check and the change are one step, which nothing can come between."""
        check()
        before = (self._entries, self._listing.catalogue.given("api"))
        self._listing.replace("api", built.models.values())
        self._entries = entries
        try:
            kept = await self._kept.write(entries)
        except OSError as error:
            self._take_back(*before)
            raise EnginehouseError(f"The change cannot be kept on the disk: {error.strerror or error}.") from error
        except EnginehouseError:
            self._take_back(*before)
            raise
        if not kept:
            self._take_back(*before)
            raise _Overtaken
        self._tell(built)

    def _take_back(self, entries: dict[str, Any], shown: Iterable[Model]) -> None:
        self._entries = entries
        self._listing.replace("api", shown)

    # What entries become -----------------------------------------------------------------------------------

    def _build(self, entries: Entries) -> _Built:
        """Models of all entries that can be shown, and why the others cannot. Blocks on the disk."""
        built = _Built({}, {})
        taken: dict[str, str] = {}
        for id_, entry in entries.items():
            try:
                stated = admitted(id_, entry, self._settings)
                claim(taken, id_, stated)
                built.models[id_] = self._model(id_, stated)
            except SettingsError as error:
                built.refused[id_] = InvalidRequest(error.message, param=error.param)
            except EnginehouseError as error:
                built.refused[id_] = error
        return built

    def _model(self, id_: str, stated: ModelSettings) -> Model:
        card = read_cards({id_: stated}, self._cards, self._locate).get(id_)
        model = build_model(id_, stated, common_of(self._settings, facts=self._facts), card=card, origin="api")
        deployment = model.deployments[0]
        engine = deployment.engine
        if engine in _ELSEWHERE and deployment.base_url is None:
            raise InvalidRequest(
                f"base_url: the engine {engine.value} needs one, and the configuration's section has none.",
                param="base_url",
            )
        return model

    def _tell(self, built: _Built) -> None:
        """Say once what is registered but not shown, and why."""
        hidden = {id_: error.message for id_, error in built.refused.items()}
        for id_ in built.models:
            shown = self._listing.catalogue.find(id_)
            if shown is None or shown.origin != "api":
                hidden[id_] = "the configuration has a model of this name"
        for id_, reason in hidden.items():
            if self._told.get(id_) != reason:
                log.warning("registered_model_not_shown", model=id_, reason=reason)
        self._told = hidden

    # What speaks against it --------------------------------------------------------------------------------

    def _check_names(self, model: Model) -> None:
        """The configuration's names are not to be had."""
        for other in self._listing.catalogue.models():
            if other.origin == "settings":
                for name in {model.id, *model.aliases} & {other.id, *other.aliases}:
                    raise Conflict(f"{name!r} means {other.id!r}, which is in the configuration.")

    def _refuse_hidden(self, id_: str) -> None:
        shown = self._listing.catalogue.find(id_)
        if shown is not None and shown.origin == "settings":
            raise self._not_registered(id_)

    def _refuse_while_loading(self, id_: str) -> None:
        model = self._listing.catalogue.find(id_)
        state = self._listing.copies.status(model).state if model else None
        if id_ in self._loading or state is ResidentState.LOADING:
            raise Conflict(f"{id_!r} is loading; wait until it is ready, or unload it first.")

    def _not_registered(self, name: str) -> EnginehouseError:
        try:
            model = self._listing.catalogue.resolve(name)
        except ModelNotFound as error:
            return error
        if model.id != name:
            return InvalidRequest(f"{name!r} is another name of {model.id!r}; name it by its id.", param="model")
        return Conflict(f"{name!r} comes from {_WHERE.get(model.origin, model.origin)}.")
