"""Finds the settings file and makes one `Settings` of it, the environment and the defaults."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from enginehouse.errors import SettingsError
from enginehouse.settings import environment, flags, legacy
from enginehouse.settings.document import Document, read
from enginehouse.settings.keys import dotted
from enginehouse.settings.mistakes import Mistake, Places, explain, refuse
from enginehouse.settings.paths import located, sourced
from enginehouse.settings.schema import ModelSettings, Settings
from enginehouse.settings.tree import Tree, filled, get, is_tree, leaves, merged
from enginehouse.settings.values import Reading

__all__ = ["load", "locate", "read_model"]


def locate(explicit: Path | None, environ: Mapping[str, str], folder: Path | None = None) -> Path | None:
    """Find the settings file: the one that is named, else `enginehouse.yaml`, `.yml` or `.json`, else M3's.

    Args:
        explicit: The path a user named; `CONFIG_PATH` of the environment is the next best.
        environ: The environment.
        folder: Where to look for a file that nobody named; the working directory when left out.

    Returns:
        None when there is no file, which is no mistake.

    Raises:
        SettingsError: A file that was named does not exist.
    """
    named = explicit or (Path(path) if (path := environ.get(environment.CONFIG_PATH)) else None)
    if named is not None:
        if not named.expanduser().is_file():
            by = "" if explicit else f" that {environment.CONFIG_PATH} names"
            raise SettingsError(f"The settings file {named}{by} does not exist or is no file.")
        return named.expanduser()
    here = folder or Path()
    own = (here / f"enginehouse.{suffix}" for suffix in ("yaml", "yml", "json"))
    return next((path for path in (*own, here / "config.json") if path.is_file() and _is_ours(path)), None)


def _is_ours(path: Path) -> bool:
    """`config.json` is a common name: nobody named it here, so it counts only if it is one of M3's."""
    if path.name != "config.json":
        return True
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return is_tree(data) and legacy.is_m3(data)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings: environment over file over default, every path made absolute.

    Args:
        path: The file; without one there are the defaults and the environment.
        environ: The environment.

    Raises:
        SettingsError: Something is wrong; the message lists every mistake with its key, its place, what was
            found, what is wanted and the nearest valid key.
    """
    document = read(path) if path else Document({}, {}, [])
    file = legacy.translated(filled(document.data))
    over = environment.read(environ, get(file.data, "models") or ())
    places = Places(document.lines, file.written, over.variables)
    folder = path.absolute().parent if path else Path.cwd()
    data = merged(located(file.data, folder), located(over.data, Path.cwd()))
    data = flags.applied(sourced(data, folder))
    reading = Reading(folder=folder, environ=environ, origins=_origins(data, file.data, places))
    mistakes = [*document.mistakes, *map(places.placed, file.mistakes), *over.mistakes]
    try:
        settings = Settings.model_validate(data, context=reading)
    except ValidationError as error:
        mistakes += explain(error, places, legacy.accepted)
    else:
        if not mistakes:
            return settings
    raise refuse(str(path) if path else "The environment", dict.fromkeys(mistakes))


def read_model(id_: str, entry: Mapping[str, Any], *, default_slots: int) -> ModelSettings:
    """Read one entry of `models` that stands in no file, by the same rules and with the same sentences.

    Args:
        id_: Its id.
        entry: What would stand below the id.
        default_slots: `admission.default_slots`, by which `flags` are read.

    Raises:
        SettingsError: It is wrong; the message lists every mistake, `param` is the first key.
    """
    data = flags.applied({"models": {id_: dict(entry)}, "admission": {"default_slots": default_slots}})
    try:
        return Settings.model_validate(data, context=Reading(environ={})).models[id_]
    except ValidationError as error:
        found = explain(error, Places({}, {}, {}), lambda _: ())
        listed = [Mistake(mistake.path[2:] or ("id",), mistake.text) for mistake in found]
    raise SettingsError("\n".join(map(str, listed)), param=dotted(listed[0].path))


def _origins(data: Tree, file: Tree, places: Places) -> dict[str, str]:
    """Say of every value whether the file, a variable or a model's flags set it."""
    written = set(leaves(file))
    return {
        dotted(path): places.variable(path) or ("file" if path in written else "flags") for path in leaves(data)
    }
