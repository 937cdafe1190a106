"""The keys of the configuration as the schema knows them: for mistakes, environment names and documentation."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeAlias

from pydantic import TypeAdapter

from enginehouse.settings.schema import RESTART, Settings

__all__ = [
    "Key",
    "KeyPath",
    "Node",
    "all_keys",
    "dotted",
    "is_secret",
    "is_table",
    "is_union",
    "nearest",
    "node_at",
    "wanted",
]

KeyPath: TypeAlias = tuple[str, ...]
Node: TypeAlias = Mapping[str, Any]
"""A part of the JSON schema."""

ANY_ID = "<id>"
"""Stands for the id of a model in a path."""


class Key(NamedTuple):
    """One key that may be written."""

    path: KeyPath
    node: Node
    meaning: str

    @property
    def name(self) -> str:
        """Dotted, as mistakes and the reference write it."""
        return dotted(self.path)

    @property
    def restart(self) -> bool:
        """Whether a change waits for the next start."""
        return self.name in RESTART or self.path[0] in RESTART


def dotted(path: Iterable[str]) -> str:
    """Write a path as people do."""
    return ".".join(path)


@cache
def _section(name: str) -> Node | None:
    """What the schema says of a key of the first level, with what it refers to in its place.

    Of one, for that is all that an environment asks for, and all of the schema takes thirty times as long to write.
    """
    field = Settings.model_fields.get(name)
    if field is None:
        return None
    kind: Any = Annotated[field.annotation, field]  # pyright: ignore[reportInvalidTypeForm] - not known here
    schema = TypeAdapter[Any](kind).json_schema()
    return _resolved(schema, schema.get("$defs", {}))


def _root() -> Node:
    return {"properties": {name: _section(name) for name in Settings.model_fields}}


def _resolved(node: Any, parts: Node) -> Any:
    """Put what is referred to in its place; what stands beside a reference (default, description) wins."""
    if isinstance(node, list):
        return [_resolved(part, parts) for part in node]  # pyright: ignore[reportUnknownVariableType] - JSON
    if not isinstance(node, Mapping):
        return node
    whole: Node = node  # pyright: ignore[reportUnknownVariableType] - JSON
    if "$ref" in whole:
        whole = parts[whole["$ref"].rpartition("/")[2]] | whole
    return {name: _resolved(value, parts) for name, value in whole.items() if name not in {"$ref", "$defs"}}


def node_at(path: Iterable[str]) -> Node | None:
    """Find what the schema says of a path; None when there is no such key. Any model id is a key."""
    first, *rest = (*path,) or ("",)
    node = _section(first) if first else _root()
    for name in rest:
        if node is None:
            return None
        node = _child(node, name)
    return node


def _child(node: Node, name: str) -> Node | None:
    if (found := node.get("properties", {}).get(name)) is not None:
        return found
    if isinstance(found := node.get("additionalProperties"), Mapping):
        return found  # pyright: ignore[reportUnknownVariableType] - JSON is untyped
    if name.isdecimal() and "items" in node:
        return node["items"]
    return next(filter(None, (_child(part, name) for part in node.get("anyOf", ()))), None)


def is_table(node: Node) -> bool:
    """Whether the node is a part of the tree, and not a value."""
    return "properties" in node or "properties" in (node.get("additionalProperties") or {})


def is_secret(node: Node) -> bool:
    """Whether a value here is never shown."""
    inner = (*node.get("anyOf", ()), *([node["items"]] if "items" in node else []))
    return node.get("format") == "password" or any(is_secret(part) for part in inner)


def is_union(node: Node) -> bool:
    """Whether a value may be of several types; none beside one type makes no union."""
    return sum(part.get("type") != "null" for part in node.get("anyOf", ())) > 1


def all_keys(node: Node | None = None, path: KeyPath = ()) -> Iterator[Key]:
    """List every key in the order of the schema; the id of a model is `<id>`."""
    for name, child in (node or _root()).get("properties", {}).items():
        here = (*path, name)
        if "properties" in child:
            yield from all_keys(child, here)
        elif is_table(child):
            yield from all_keys(child["additionalProperties"], (*here, ANY_ID))
        else:
            yield Key(here, child, " ".join(child.get("description", "").split()))


def nearest(path: KeyPath, further: Iterable[str] = ()) -> str | None:
    """The valid key that a wrong one may have meant: a sibling first, then any key of that last name.

    `further` are names that are accepted beside those of the schema.
    """
    *parents, last = path
    parent = node_at(parents) or {}
    siblings = [*parent.get("properties", {}), *further]
    if close := get_close_matches(last, siblings, n=1):
        return dotted((*parents, close[0]))
    own_id = path[1] if path[0] == "models" and parents else ANY_ID
    everywhere = {key.name.replace(ANY_ID, own_id): key.path[-1] for key in all_keys()}
    same = [name for name, tail in everywhere.items() if tail == last]
    close = same or get_close_matches(dotted(path), everywhere, n=1, cutoff=0.7)
    return close[0] if close else None


def wanted(node: Node) -> str:
    """Say in English what a value has to be."""
    if "anyOf" in node:
        return " or ".join(wanted(part) for part in node["anyOf"])
    if "enum" in node:
        return f"one of {', '.join(node['enum'])}"
    match node.get("type"):
        case "integer":
            return "a whole number" + _range(node)
        case "number":
            return "a number" + _range(node)
        case "string":
            return _text(node)
        case "boolean":
            return "true or false"
        case "array":
            return f"a list (each {wanted(node['items'])})"
        case "object":
            return "a mapping"
        case _:
            return "nothing"


def _text(node: Node) -> str:
    if node.get("format") == "password":
        return "a secret (text, not empty)"
    if "pattern" in node:
        return "64 hexadecimal digits" if "64" in node["pattern"] else "a decimal number of dollars"
    return "a path" if node.get("format") == "path" else "text"


def _range(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    bounds = [
        f"{word} {node[name]}"
        for name, word in (("minimum", "at least"), ("exclusiveMinimum", "over"), ("maximum", "at most"))
        if name in node
    ]
    return f" {' and '.join(bounds)}" if bounds else ""
