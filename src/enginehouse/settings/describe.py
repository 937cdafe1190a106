"""Describes the settings: the commented example, the JSON schema, the values in force and the reference page."""

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from enginehouse.settings import environment, legacy
from enginehouse.settings.keys import Key, all_keys, node_at, wanted
from enginehouse.settings.schema import Section, Settings
from enginehouse.settings.secrecy import MASK, without_passwords
from enginehouse.settings.tree import Tree

__all__ = ["example", "json_schema", "meanings", "reference", "scalar", "show"]

DATA_DIR = "~/.local/share/enginehouse"
"""Stands for the one default that is not the same on every machine."""

EXAMPLE_HEAD = """\
# Settings of Enginehouse. Every key may be left out; here each one stands with its default.
# A key whose default is nothing is commented out. Made by `enginehouse config example`.
"""

EXAMPLE_MODELS = """\
  # qwen:
  #   source: qwen2.5-7b-instruct-q4_k_m.gguf
  #   flags: [-ngl, 99, --ctx-size, 8192, --flash-attn, on]
  #   aliases: [default]
  #   priority: high
  # gpt-4o-mini:
  #   engine: openai
  #   price: {input_per_1k: "0.00015", output_per_1k: "0.0006"}
"""

REFERENCE_HEAD = """\
# Configuration

One file, `enginehouse.yaml`, and the environment. Every key may be left out. `enginehouse config example` prints
a commented file with all of them, `config check` says what is wrong with yours, `config show` what is in force and
where each value comes from, and `config schema` prints a JSON schema for editors. This page is made by
`enginehouse config reference`.

**Which file.** The one that `--config` or `CONFIG_PATH` names; else `enginehouse.yaml`, `enginehouse.yml` or
`enginehouse.json` in the working directory; else `config.json` there, if it has RouterModelCustom's sections; else
none.

**Who wins.** A variable wins over the file, the file over the default. An empty variable is one that is not set.
Any key has a variable: `ENGINEHOUSE_`, then the key with `__` for each dot. Lists are written as JSON or between
commas, mappings as JSON. The id of a model is written with `_` for whatever is no letter or digit. A `.env` file is
not read.

**Paths.** `~` is the home folder. A relative path in the file starts at the file's own folder, one in a variable at
the working directory, a relative `source` of a model at `sources.base_dir`.

**Secrets.** A secret or an address with a password may be written as `file:/run/secrets/name` or `env:NAME`. What
is found there is used; it is never shown.

**Words.** YAML is read by the rules of version 1.2: `on`, `off`, `yes` and `no` are text, so that flags can be
written as they are. A key that begins with `_` and holds no mapping is a note and is not read.

**Editing while it runs.** The file is watched. A valid edit is applied to what it changed; an invalid one is logged
and nothing changes. Keys marked *restart* count only after the next start.
"""


OTHER_FILES = """\
The `config.json` of RouterModelCustom, the `config/models.json` of the Model Execution Service and the
`CACHE_CONFIG` of the Model Cache Service load unchanged, alone or mixed with keys of our own, which win. A key with
nothing beside it is accepted and has no effect.

With a file of the first two the default models are left out, and none are looked for on an Ollama server, as those
services had only the models that were written. What a `system` section leaves out has the default it had there:
three models in memory, 120 seconds for a request, the first GPU. A model of the Model Execution Service is
Ollama's; one with `enabled: false` is left out.
"""


def json_schema() -> dict[str, Any]:
    """The JSON schema of the file, for editors and validators."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**head, **Settings.model_json_schema(), "title": "Settings of Enginehouse"}


def show(settings: Settings) -> dict[str, Any]:
    """The values in force, secrets masked.

    Returns:
        `values`, the whole tree as JSON values, and `origins`: dotted key → `file`, `environment NAME` or
        `flags` (read from a model's flags); a key that is not there has its default.
    """
    return {"values": _masked(settings), "origins": dict(settings.origins)}


def meanings() -> dict[str, dict[str, Any]]:
    """What may be said of each key, by its dotted name: its meaning, and whether a change waits for a restart."""
    return {key.name: {"meaning": key.meaning, "restart": key.restart} for key in all_keys()}


def _masked(value: Any) -> Any:
    match value:
        case SecretStr():
            return MASK
        case BaseModel():
            return {name: _masked(getattr(value, name)) for name in type(value).model_fields}
        case dict():
            return {name: _masked(inner) for name, inner in cast("Tree", value).items()}
        case tuple():
            return [_masked(inner) for inner in cast("tuple[Any, ...]", value)]
        case str():
            return without_passwords(str(value))
        case Path():
            return str(value)
        case _:
            return value


def scalar(value: Any) -> str:
    """Write a value on one line of YAML; a number of seconds without its `.0`."""
    plain = int(value) if isinstance(value, float) and value.is_integer() else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").rstrip("\n")


# The example ---------------------------------------------------------------------------------------------


def example() -> str:
    """A commented file that holds every key with its default; reading it gives the defaults."""
    return EXAMPLE_HEAD + "\n".join(_example(Settings, ""))


def _example(section: type[Section], indent: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from (*_blank(indent), *_comment(kind.__doc__, indent), f"{indent}{name}:")
            yield from _example(kind, indent + "  ")
        elif name == "models":
            yield from (*_blank(indent), *_comment(field.description, indent), f"{name}:", EXAMPLE_MODELS)
        else:
            yield from (*_blank(indent), *_comment(field.description, indent), indent + _line(name, field))


def _blank(indent: str) -> list[str]:
    return [] if indent else [""]


def _comment(text: str | None, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(" ".join((text or "").split()), 100, initial_indent=start, subsequent_indent=start)


def _line(name: str, field: FieldInfo) -> str:
    if name == "data_dir":
        return f"# {name}: {DATA_DIR}"
    return f"# {name}:" if field.default is None else f"{name}: {scalar(_masked(field.default))}"


# The reference -------------------------------------------------------------------------------------------


def reference() -> str:
    """The page `docs/configuration.md`: every key with type, default, meaning and variables."""
    return "\n".join([REFERENCE_HEAD, *_key_tables(), *_variables(), *_other_files()])


def _key_tables() -> Iterator[str]:
    # Keys outside a section come first: `sorted` keeps the order of the schema among the others.
    for section, keys in groupby(sorted(all_keys(), key=lambda key: _section(key) != ""), key=_section):
        yield f"## {f'`{section}`' if section else 'Keys outside a section'}\n"
        if meaning := (node_at(section.split(".")) or {}).get("description"):
            yield f"{meaning}\n"
        yield from _table("Key", "Type", "Default", "Meaning", "Variables", rows=map(_key_row, keys))


def _section(key: Key) -> str:
    """What a key stands under; nothing for one outside a section."""
    return "models.<id>" if key.path[0] == "models" else key.path[0] if key.path[1:] else ""


def _key_row(key: Key) -> list[str]:
    own = environment.variable(key.name)
    others = [name for name, target in environment.NAMES.items() if target == key.name]
    meaning = key.meaning + (" *Restart.*" if key.restart else "")
    return [
        f"`{key.name}`",
        wanted(key.node),
        _default(key),
        meaning,
        ", ".join(f"`{name}`" for name in [own, *others]),
    ]


def _default(key: Key) -> str:
    if key.name == "data_dir":
        return f"`{DATA_DIR}`, or what the system uses for it"
    value = key.node.get("default")
    return "" if value is None else f"`{scalar(value)}`"


def _table(*head: str, rows: Iterable[list[str]]) -> Iterator[str]:
    for row in (list(head), ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def _variables() -> Iterator[str]:
    yield "## Variables with names of their own\n"
    rows = [[f"`{name}`", f"`{key}`"] for name, key in environment.NAMES.items()]
    yield from _table("Variable", "Key", rows=[[f"`{environment.CONFIG_PATH}`", "the file itself"], *rows])


def _other_files() -> Iterator[str]:
    yield "## Files of other services\n"
    yield OTHER_FILES
    for title, prefix, moves in (
        ("Sections of `config.json`", "", legacy.M3),
        ("`CACHE_CONFIG`", "CACHE_CONFIG.", legacy.M2),
        ("One model of `config.json` or `config/models.json`", "models.<id>.", legacy.MODEL),
        ("Defaults of `config/models.json`", "", legacy.M4_DEFAULTS),
    ):
        yield f"### {title}\n"
        under = "models.<id>." if moves in (legacy.MODEL, legacy.M4_DEFAULTS) else ""
        rows = ([f"`{prefix}{key}`", ", ".join(f"`{under}{name}`" for name in to)] for key, to in moves.items())
        yield from _table("Key there", "Key here", rows=rows)
