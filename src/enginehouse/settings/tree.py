"""Raw settings as a tree of mappings, before the schema has seen them: typed looks into untyped data."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, TypeGuard

from enginehouse.settings.keys import KeyPath, is_table, node_at

__all__ = ["Tree", "copied", "filled", "get", "is_tree", "leaves", "merged", "put", "table"]

Tree: TypeAlias = dict[str, Any]


def is_tree(value: object) -> TypeGuard[Tree]:
    """Whether a value is a mapping; the reader of the file has made its keys text."""
    return isinstance(value, dict)


def get(tree: Any, *path: str) -> Any:
    """The value at a path, or None."""
    for name in path:
        tree = tree.get(name) if is_tree(tree) else None
    return tree


def table(tree: Any, *path: str) -> Tree | None:
    """The mapping at a path, or None when there is none or something else."""
    found = get(tree, *path)
    return found if is_tree(found) else None


def put(tree: Tree, path: KeyPath, value: object) -> bool:
    """Set a value unless there is one already, or a value stands where a mapping should; says whether it did."""
    name, *rest = path
    if rest:
        below = tree.setdefault(name, {})
        return is_tree(below) and put(below, tuple(rest), value)
    if name in tree:
        return False
    tree[name] = value
    return True


def copied(tree: Mapping[str, Any]) -> Tree:
    """A copy whose mappings may be changed."""
    return {name: copied(value) if is_tree(value) else value for name, value in tree.items()}


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Lay one tree over another: mappings are joined, any other value of the upper one wins."""
    joined = copied(under)
    for name, value in over.items():
        below = joined.get(name)
        joined[name] = merged(below or {}, value) if is_tree(below) and is_tree(value) else value
    return joined


def filled(data: Mapping[str, Any], path: KeyPath = ()) -> Tree:
    """A section with nothing in it, as when all its keys are commented out, is an empty mapping."""
    return {name: _filled(value, (*path, name)) for name, value in data.items()}


def _filled(value: Any, path: KeyPath) -> Any:
    if value is None:
        return {} if is_table(node_at(path) or {}) else None
    return filled(value, path) if is_tree(value) else value


def leaves(tree: Mapping[str, Any], path: KeyPath = ()) -> Iterator[KeyPath]:
    """The paths of the values that were written; a mapping that is a value (a folder `source`) is one of them."""
    for name, value in tree.items():
        here = (*path, name)
        if is_tree(value) and is_table(node_at(here) or {}):
            yield from leaves(value, here)
        else:
            yield here
