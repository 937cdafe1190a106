"""Makes the paths of raw settings absolute, so that no other room asks where they start."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from enginehouse.settings.keys import KeyPath
from enginehouse.settings.tree import Tree, copied, is_tree, table

__all__ = ["PATHS", "located", "sourced"]

PATHS: tuple[KeyPath, ...] = (
    ("data_dir",),
    ("models_dir",),
    ("sources", "base_dir"),
    ("engines", "llama_server", "path"),
)
"""Every key that holds a path, but for the sources of models."""


def located(data: Mapping[str, Any], folder: Path) -> Tree:
    """Start the paths of one layer at its folder: the file's own, or the working directory of the environment."""
    result = copied(data)
    for path in PATHS:
        *parents, last = path
        section = table(result, *parents)
        if section and isinstance(text := section.get(last), str):
            section[last] = _absolute(text, folder) or None
    return result


def sourced(data: Mapping[str, Any], folder: Path) -> Tree:
    """Start relative sources of models at `sources.base_dir`, or at the folder when there is none."""
    models, base = table(data, "models"), (table(data, "sources") or {}).get("base_dir")
    if models is None:
        return dict(data)
    start = Path(base) if isinstance(base, str) else folder
    return {**data, "models": {name: _with_source(entry, start) for name, entry in models.items()}}


def _with_source(entry: Any, folder: Path) -> Any:
    if not is_tree(entry) or "source" not in entry:
        return entry
    return {**entry, "source": _source(entry["source"], folder)}


def _source(source: Any, folder: Path) -> Any:
    """What begins with `hf:` or `pypi:` is no path; what is neither text nor mapping the schema refuses."""
    if is_tree(source):
        return {name: _source(part, folder) for name, part in source.items()}
    if not isinstance(source, str) or source.startswith(("hf:", "pypi:")):
        return source
    return _absolute(source, folder) or None


def _absolute(text: str, folder: Path) -> str:
    """`~` is the home folder; an empty path stays empty and means that there is none."""
    path = Path(text)
    with suppress(RuntimeError):  # nobody's home: then it is a name like any other
        path = path.expanduser()
    return str(folder / path) if text else ""
