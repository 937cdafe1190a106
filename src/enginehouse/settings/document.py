"""Reads the settings file, YAML or JSON, into plain data that knows its lines."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

from enginehouse.errors import SettingsError
from enginehouse.settings.keys import KeyPath, dotted
from enginehouse.settings.mistakes import Mistake, found

__all__ = ["Document", "read"]


class Document(NamedTuple):
    """What the file says, before anybody asks whether it is right."""

    data: dict[str, Any]
    lines: dict[KeyPath, int]
    """Path of a key → its line, from 1."""
    mistakes: list[Mistake]
    """Keys that are written twice."""


def read(path: Path) -> Document:
    """Read a file; `.json` is JSON, anything else YAML. An empty file says nothing.

    Raises:
        SettingsError: The file cannot be read or parsed, or does not hold a mapping.
    """
    text = _text(path)
    data = _json(path, text) if path.suffix == ".json" else _yaml(path, text)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: {found(data)}, wanted a mapping of sections.")
    survey = _Survey(path, text)
    return Document(cast("dict[str, Any]", data), survey.lines, survey.mistakes)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SettingsError(f"The settings file {path} does not exist.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text: byte {error.start} cannot be read.") from error
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from error


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}.") from error


def _yaml(path: Path, text: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        raise SettingsError(f"{path}{_at(error)}: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {error}.") from error


def _at(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


_WORDS = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", tuple("-+.0123456789")),
    ("float", r"[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", tuple("-+.0123456789")),
    ("merge", r"<<", ("<",)),
)
"""What plain words mean, by the core schema of YAML 1.2: type, form and first characters."""


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Arrange the words as PyYAML looks them up: by their first character."""
    by_first: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, form, firsts in _WORDS:
        for first in firsts:
            by_first.setdefault(first, []).append((f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{form})$")))
    return by_first


class _Loader(yaml.SafeLoader):
    """YAML with the words of version 1.2, and keys that are always text.

    `on`, `off` and `no` are text (llama-server has `--flash-attn on`), `12:30` is no number in base sixty and
    `010` no octal one.
    """

    yaml_implicit_resolvers = _resolvers()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make a mapping; the text of a key is the key, whatever a value of that form would be."""
        self.flatten_mapping(node)
        construct = cast("Callable[..., Any]", self.construct_object)  # pyright: ignore[reportUnknownMemberType] - the stub's
        return {_key(key): construct(value, deep=deep) for key, value in node.value}


def _key(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    raise yaml.constructor.ConstructorError(None, None, "a key has to be text", node.start_mark)


def _composed(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()  # pyright: ignore[reportUnknownMemberType] - the stub's


class _Survey:
    """Walks the file's nodes for the lines of keys and for keys written twice."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {}
        self.mistakes: list[Mistake] = []
        with suppress(yaml.YAMLError):  # JSON is surveyed as the YAML it almost is; else lines are just not known
            self._note(_composed(text.replace("\t", " ")), (), ())

    def _note(self, node: yaml.Node | None, path: KeyPath, within: tuple[yaml.Node, ...]) -> None:
        if node is not None and any(node is outer for outer in within):
            raise SettingsError(f"{self.file}, line {node.start_mark.line + 1}: {dotted(path)} contains itself.")
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._note_at(item, item, (*path, str(index)), (*within, node))
        elif isinstance(node, yaml.MappingNode):
            self._note_mapping(node, path, within)

    def _note_mapping(self, node: yaml.MappingNode, path: KeyPath, within: tuple[yaml.Node, ...]) -> None:
        first: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in first:
                text = f"is written twice, first in line {first[name]}."
                self.mistakes.append(Mistake((*path, name), text, f"line {line}"))
            first.setdefault(name, line)
            self._note_at(key, value, (*path, name), (*within, node))

    def _note_at(self, key: yaml.Node, value: yaml.Node, path: KeyPath, within: tuple[yaml.Node, ...]) -> None:
        self.lines.setdefault(path, key.start_mark.line + 1)
        self._note(value, path, within)
