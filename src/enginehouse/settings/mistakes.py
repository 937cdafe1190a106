"""Mistakes in the configuration, in sentences: which key, where it is, what was found and what is wanted."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from enginehouse.errors import SettingsError
from enginehouse.settings.keys import KeyPath, dotted, is_secret, is_union, nearest, node_at, wanted
from enginehouse.settings.secrecy import without_passwords

__all__ = ["Further", "Mistake", "Places", "explain", "found", "kind_of", "refuse", "unknown"]

Further: TypeAlias = Callable[[KeyPath], Iterable[str]]
"""Path of a section → names that are accepted there beside those of the schema."""


class Mistake(NamedTuple):
    """One thing to mend."""

    path: KeyPath
    text: str
    place: str = ""

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        return f"{dotted(self.path)}{place}: {self.text}" if self.path else self.text


class Places(NamedTuple):
    """Where keys were written, for pointing at them."""

    lines: Mapping[KeyPath, int]
    """Path as written → line of the file, from 1."""
    written: Mapping[KeyPath, KeyPath]
    """Path in our schema → path as written, for keys of another system's file."""
    variables: Mapping[KeyPath, str]
    """Path → environment variable that set it."""

    def name(self, path: KeyPath) -> KeyPath:
        """The key as the user wrote it."""
        if _longest(path, self.variables):
            return path
        known = _longest(path, self.written)
        return (*self.written[known], *path[len(known) :]) if known else path

    def variable(self, path: KeyPath) -> str:
        """The variable that set the key, or nothing."""
        known = _longest(path, self.variables)
        return f"environment {self.variables[known]}" if known else ""

    def line(self, written: KeyPath) -> str:
        """The line of a key as the user wrote it, or of what is around it; nothing when no line is known."""
        known = _longest(written, self.lines)
        return f"line {self.lines[known]}" if known else ""

    def placed(self, mistake: Mistake) -> Mistake:
        """Add the line to a mistake that names a key as the user wrote it."""
        return mistake._replace(place=self.line(mistake.path))


def _longest(path: KeyPath, known: Mapping[KeyPath, Any]) -> KeyPath:
    """The longest beginning of the path that is known."""
    return next((path[:end] for end in range(len(path), 0, -1) if path[:end] in known), ())


def kind_of(value: object) -> str:
    """Name a value's type in the words of the file, not of Python."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int():
            return "whole number"
        case float():
            return "number"
        case str():
            return "text"
        case Mapping():
            return "mapping"
        case _:
            return "list"


def found(value: object, *, secret: bool = False) -> str:
    """Say what stands there, with its type; a secret is not repeated, a long or nested value not spelt out."""
    kind = kind_of(value)
    if secret or kind in {"nothing", "mapping", "list"}:
        return f"found {'nothing' if value is None else f'a {kind}' if kind != 'text' else 'text'}"
    shown = repr(value) if not isinstance(value, bool) else str(value).lower()
    return f"found {without_passwords(shown[:80])} ({kind})"


def explain(error: ValidationError, places: Places, further: Further) -> Iterator[Mistake]:
    """Translate the validator's findings, one a key; `further` gives accepted names beside the schema's."""
    seen: set[KeyPath] = set()
    for detail in error.errors(include_url=False):
        path = _key(detail)
        if path not in seen:
            seen.add(path)
            name = places.name(path)
            yield Mistake(name, _sentence(detail, path, further), places.variable(path) or places.line(name))


def _key(detail: ErrorDetails) -> KeyPath:
    """The part of the location that was written; the rest is the validator's own (`dict[str,str]`, `[key]`)."""
    path: KeyPath = ()
    skip = False
    for part in map(str, detail["loc"]):
        if skip := not skip and is_union(node_at(path) or {}):
            continue  # the name of the alternative that was tried
        if node_at((*path, part)) is None and detail["type"] != "extra_forbidden":
            break
        path = (*path, part)
    return path


def _sentence(detail: ErrorDetails, path: KeyPath, further: Further) -> str:
    if detail["type"] == "extra_forbidden":
        return unknown(path, detail["input"], further(path[:-1]))
    if detail["type"] == "value_error":
        return str(detail["msg"].removeprefix("Value error, ")) + "."
    node = node_at(path) or {}
    return f"{found(detail['input'], secret=is_secret(node))}, wanted {wanted(node)}."


def unknown(path: KeyPath, value: object, further: Iterable[str] = ()) -> str:
    """There is no such key. Its value is not repeated: it may be a secret under a misspelt name."""
    near = nearest(path, further)
    hint = f" Did you mean {near}?" if near else ""
    return f"there is no such key ({found(value, secret=True)}).{hint}"


def refuse(source: str, mistakes: Iterable[Mistake]) -> SettingsError:
    """Put all mistakes of one source into one error."""
    listed = list(mistakes)
    count = "a mistake" if len(listed) == 1 else f"{len(listed)} mistakes"
    return SettingsError(
        "\n  ".join([f"{source} has {count}:", *map(str, listed)]), param=dotted(listed[0].path) or None
    )
