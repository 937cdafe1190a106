"""What entries become: patches merged into them, and their names kept apart."""

from collections.abc import Mapping
from typing import Any, cast

from enginehouse.core.catalogue import check_name
from enginehouse.errors import Conflict
from enginehouse.settings.schema import ModelSettings

__all__ = ["claim", "merge_patch", "without_names"]


def merge_patch(target: object, patch: object) -> Any:
    """RFC 7396: objects are merged, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(cast("dict[str, Any]", target)) if isinstance(target, dict) else {}
    for name, value in cast("dict[str, Any]", patch).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def without_names(entries: dict[str, Any], id_: str, stated: ModelSettings, *, move: bool) -> dict[str, Any]:
    """The entries, with the aliases of one taken from all others.

    Raises:
        Conflict: another one has a name of it, and it may not be taken.
    """
    names = {id_, *stated.aliases}
    result = dict(entries)
    for other, entry in entries.items():
        if other == id_ or not isinstance(entry, dict):
            continue
        stated_there = cast("dict[str, Any]", entry)
        aliases = aliases_of(stated_there)
        shared = sorted(names & {other, *aliases})
        if not shared:
            continue
        if not move or other in names or id_ in aliases:
            hint = "" if other in names or id_ in aliases else "; `move_aliases: true` takes it"
            raise Conflict(f"{shared[0]!r} is a name of {other!r}, which is registered{hint}.", param="aliases")
        result[other] = {**stated_there, "aliases": [name for name in aliases if name not in names]}
    return result


def claim(taken: dict[str, str], id_: str, stated: ModelSettings) -> None:
    """Give the names of an entry to it.

    Raises:
        Conflict: one of them belongs to another entry.
        SettingsError: one of them can be none.
    """
    names = {id_, *stated.aliases}
    for name in names:
        check_name(name)
        if name in taken:
            raise Conflict(f"{name!r} is a name of {taken[name]!r} already.")
    taken.update(dict.fromkeys(names, id_))


def aliases_of(entry: Mapping[str, Any]) -> list[str]:
    """The aliases an unchecked entry states."""
    found = entry.get("aliases")
    return (
        [name for name in cast("list[object]", found) if isinstance(name, str)] if isinstance(found, list) else []
    )
