"""What of a folder can be shown as models at a moment: files that are whole and have come to rest."""

from collections.abc import Iterator
from pathlib import Path

import structlog
from msgspec import Struct

from enginehouse.core.catalogue.build import Common, build_model
from enginehouse.core.catalogue.names import check_name
from enginehouse.engines.metadata import Cards, Fingerprint, ModelCard, fingerprint, part_of
from enginehouse.engines.onnx.folder import is_onnx_folder
from enginehouse.errors import ModelLoadFailed, SettingsError
from enginehouse.settings.schema import ModelSettings
from enginehouse.types import Model

__all__ = ["Look", "Shelf"]

log = structlog.get_logger()

DEPTH = 4
"""Folders inside folders that are looked into; deeper ones, and links that lead back up, are not."""


class Look(Struct, frozen=True, kw_only=True):
    """What one look found."""

    models: tuple[Model, ...] = ()
    waiting: dict[str, str] = {}
    """By id or place, why a model is not shown."""
    moving: bool = False
    """Whether a file was still changing, so that another look is due without any further sign."""


class Shelf:
    """A folder of GGUF files and ONNX folders, remembered from look to look.

    A model is shown once none of its files has changed for `settle` seconds and they parse. What does not
    parse waits until it changes: a half-copied file is no mistake.
    """

    def __init__(self, folder: Path, *, settle: float, slots: int = 1) -> None:
        self.folder = folder
        self._settle = settle
        self._common = Common(slots=slots)
        self._cards = Cards()
        self._seen: dict[str, tuple[Fingerprint, float]] = {}
        self._told: dict[str, str] = {}

    def look(self, now: float) -> Look:
        """Look once. Blocks on the disk; `now` is in Unix seconds, as the files' times are."""
        places, waiting = scan(self.folder)
        marks = {id_: mark for id_, path in places.items() if (mark := mark_of(path))}
        self._seen = {id_: (mark, self._since(id_, mark, now)) for id_, mark in marks.items()}
        moving = {id_ for id_, (_, since) in self._seen.items() if now - since < self._settle}
        models: list[Model] = []
        for id_ in marks.keys() - moving:
            card = self._card(places[id_])
            if isinstance(card, str):
                waiting[id_] = card
            else:
                models.append(self._model(id_, card))
        self._tell(waiting)
        return Look(models=tuple(sorted(models, key=lambda model: model.id)), waiting=waiting, moving=bool(moving))

    def _since(self, id_: str, mark: Fingerprint, now: float) -> float:
        """Since when the files are as they are: by their own times, unless these are in the future."""
        known = self._seen.get(id_)
        first = known[1] if known and known[0] == mark else now
        return min(first, max(time for _, _, time in mark) / 1e9)

    def _card(self, path: Path) -> ModelCard | str:
        try:
            return self._cards.read(path)
        except ModelLoadFailed as error:
            return error.message

    def _model(self, id_: str, card: ModelCard) -> Model:
        stated = ModelSettings(source=str(card.path))
        return build_model(id_, stated, self._common, card=card, origin="models_dir")

    def _tell(self, waiting: dict[str, str]) -> None:
        """Say once what is not shown, and why."""
        for id_, reason in waiting.items():
            if self._told.get(id_) != reason:
                log.warning("model_not_shown", model=id_, reason=reason)
        self._told = waiting


def scan(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Paths of models by id, and why what lies there has none.

    An id is the path from the folder, without extension or part number. Of two that come to the same, the
    first by path has it.
    """
    found: dict[str, Path] = {}
    passed_over: dict[str, str] = {}
    for path in places_in(folder, DEPTH):
        place = path.relative_to(folder)
        id_ = id_of(place, path.is_dir())
        reason = problem(id_, found)
        if reason is None:
            found[id_] = path
        else:
            passed_over[place.as_posix()] = reason
    return found, passed_over


def places_in(folder: Path, depth: int) -> Iterator[Path]:
    """ONNX folders, GGUF files and first parts below a folder by name, without hidden ones."""
    for path in entries(folder):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if is_onnx_folder(path):
                yield path
            elif depth > 0 and not folder.resolve().is_relative_to(path.resolve()):
                yield from places_in(path, depth - 1)
        elif path.suffix.lower() == ".gguf" and part_of(path)[1] == 1:
            yield path


def entries(folder: Path) -> list[Path]:
    """What is in a folder by name; nothing, where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def id_of(path: Path, is_folder: bool) -> str:
    """The id of what lies at a path in the folder; spaces become hyphens."""
    name = path if is_folder else path.with_name(part_of(path)[0])
    return "-".join(name.as_posix().split())


def problem(id_: str, found: dict[str, Path]) -> str | None:
    """Why an id cannot be had."""
    if id_ in found:
        return f"the id {id_!r} is already that of {found[id_].name}"
    try:
        check_name(id_)
    except SettingsError as error:
        return error.message
    return None


def mark_of(path: Path) -> Fingerprint:
    """The fingerprint of a model's files; empty when they went away meanwhile."""
    try:
        return fingerprint(path)
    except OSError:
        return ()
