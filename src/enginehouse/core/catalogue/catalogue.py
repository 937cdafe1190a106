"""The catalogue: every name a caller may use, and the model it means right now."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from msgspec import Struct

from enginehouse.core.catalogue.names import LONGEST, check_name, newest
from enginehouse.errors import Conflict, ModelNotFound, SettingsError
from enginehouse.types import Model

__all__ = ["Catalogue", "Change"]

RANKS = {"settings": 0, "api": 1, "models_dir": 2, "ollama": 3, "default": 4}
"""Who wins a name two sources claim: the lower. Two claims of one rank are a mistake."""

FEEDS = {"settings": frozenset({"settings", "default"})}
"""Origins that come and go together: whether there are defaults is itself a setting."""


class Change(Struct, frozen=True, kw_only=True):
    """What a replacement did to the list, as ids in order."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is different."""
        return bool(self.added or self.removed or self.changed)


class Index(Struct, frozen=True):
    """One state of the catalogue, complete and without contradiction."""

    names: Mapping[str, Model]
    """Every id, alias and bare name of versions."""
    models: tuple[Model, ...]
    """What is shown, by id."""


class Catalogue:
    """Models by id, alias and `name@version`.

    It has one writer, the event loop; a replacement either happens whole or not at all, and who replaces acts
    on the `Change` it gets back. Looking up copies nothing.
    """

    def __init__(self, models: Iterable[Model] = ()) -> None:
        """Start with these models.

        Raises:
            SettingsError: two models claim one name, or a name cannot be one.
        """
        self._given = tuple(models)
        self._index = build_index(self._given)

    def resolve(self, name: str) -> Model:
        """The model of an id, an alias or `name@version`; a bare name means its newest version.

        Raises:
            ModelNotFound: nothing is called that; the message names up to three that look alike.
        """
        try:
            return self._index.names[name]
        except KeyError:
            raise ModelNotFound(name[:LONGEST], near(name, self._index.names)) from None

    def find(self, id_: str) -> Model | None:
        """The model of this very id, if it is there."""
        model = self._index.names.get(id_)
        return model if model is not None and model.id == id_ else None

    def models(self) -> tuple[Model, ...]:
        """All models that can be asked for, sorted by id."""
        return self._index.models

    @property
    def everything(self) -> tuple[Model, ...]:
        """What all origins have, shown or not; another tuple after every change."""
        return self._given

    def mirror(self, models: Iterable[Model]) -> None:
        """Hold what another catalogue holds."""
        given = tuple(models)
        self._given, self._index = given, build_index(given)

    def given(self, origin: str) -> tuple[Model, ...]:
        """What this origin has, shown or not."""
        return tuple(model for model in self._given if model.origin == origin)

    def replace(self, origin: str, models: Iterable[Model]) -> Change:
        """Swap all models of one origin; with `settings`, those of `default` as well.

        Raises:
            Conflict: the origin is `api` and a name is taken or cannot be one.
            SettingsError: the same, from any other origin. Nothing has changed then.
        """
        incoming = tuple(models)
        feed = FEEDS.get(origin, frozenset({origin}))
        strangers = [model.id for model in incoming if model.origin not in feed]
        if strangers:
            raise ValueError(f"models of another origin than {origin}: {', '.join(strangers)}")
        given = (*(model for model in self._given if model.origin not in feed), *incoming)
        try:
            index = build_index(given)
        except SettingsError as error:
            if origin == "api":
                raise Conflict(error.message) from error
            raise
        change = compare(self._index.models, index.models)
        self._given, self._index = given, index
        return change


def build_index(models: Iterable[Model]) -> Index:
    """Give every name to one model, best rank first."""
    names: dict[str, Model] = {}
    shown: list[Model] = []
    for model in sorted(models, key=rank):
        if claim(names, model.id, model):
            shown.append(model)
            for alias in model.aliases:
                claim(names, alias, model)
    for name, model in bare_names(shown).items():
        names.setdefault(name, model)
    return Index(names, tuple(sorted(shown, key=lambda model: model.id)))


def claim(names: dict[str, Model], name: str, model: Model) -> bool:
    """Take a name for a model, unless one of better rank has it."""
    check_name(name)
    holder = names.setdefault(name, model)
    if holder is model:
        return True
    if rank(holder) == rank(model):
        raise SettingsError(
            f"models: {name!r} would mean two models, {described(name, holder)} and {described(name, model)}."
        )
    return False


def rank(model: Model) -> int:
    """The model's place among those that claim a name."""
    return RANKS[model.origin]


def described(name: str, model: Model) -> str:
    """How a message points at a model."""
    role = "" if name == model.id else ", as an alias"
    return f"{model.id!r} (from {model.origin}{role})"


def bare_names(models: Iterable[Model]) -> dict[str, Model]:
    """Names without a version, and the newest version of each."""
    names: dict[str, Model] = {}
    versioned = [model for model in models if model.version is not None]
    for model in sorted(versioned, key=lambda model: newest(model.version or "")):
        names[model.id.removesuffix(f"@{model.version}")] = model
    return names


def compare(before: Iterable[Model], after: Iterable[Model]) -> Change:
    """What is different, by id."""
    old = {model.id: model for model in before}
    new = {model.id: model for model in after}
    return Change(
        added=tuple(id_ for id_ in new if id_ not in old),
        removed=tuple(id_ for id_ in old if id_ not in new),
        changed=tuple(id_ for id_, model in new.items() if id_ in old and old[id_] != model),
    )


def near(name: str, names: Iterable[str]) -> list[str]:
    """Up to three names that look alike, best first."""
    return get_close_matches(name[:LONGEST], names, n=3)
