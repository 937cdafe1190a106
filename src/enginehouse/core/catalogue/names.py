"""What a model may be called, and how a version is told from a name."""

import re
from typing import TypeAlias

from enginehouse.errors import SettingsError

__all__ = ["RESERVED", "check_name", "newest", "split_version"]

RESERVED = frozenset({"eject", "failed", "load", "logs", "reset", "status", "unload", "warmup"})
"""Words that follow a model in a path, or stand in its place; no part of an id between slashes is one."""

LONGEST = 256

VersionKey: TypeAlias = tuple[tuple[int, int, str], ...]


_COPY = re.compile(r"#\d+$")
"""How copies of one model are told apart."""


def check_name(name: str) -> None:
    """See that an id or alias can stand in a path and a log line.

    Raises:
        SettingsError: it cannot; the message says why.
    """
    if not name or len(name) > LONGEST or not name.isprintable() or name != name.strip():
        raise SettingsError(
            f"models: {name[:LONGEST]!r} is no model id; it wants 1 to {LONGEST} printable characters, "
            "with no space at either end."
        )
    if _COPY.search(name):
        raise SettingsError(f"models: the id {name!r} ends like the second copy of a model; choose another.")
    for part in name.split("/"):
        if part in RESERVED:
            raise SettingsError(f"models: the id {name!r} holds the reserved word {part!r}; choose another.")
        if not part:
            raise SettingsError(f"models: the id {name!r} has an empty part between slashes.")


def split_version(id_: str) -> tuple[str, str | None]:
    """Name and version of an id: `name@version`, where neither is empty and the version holds no slash."""
    name, at, version = id_.rpartition("@")
    return (name, version) if at and name and version and "/" not in version else (id_, None)


def newest(version: str) -> VersionKey:
    """A key that sorts versions: numbers inside them count as numbers (1.10 is after 1.9)."""
    pieces = re.findall(r"\d+|[^\d.]+", version)
    return tuple((1, int(piece), "") if piece.isdecimal() else (0, 0, piece) for piece in pieces)
