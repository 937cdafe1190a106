"""The types of single values: how a word, a price, a flag or a secret is read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, WithJsonSchema

from enginehouse.types import Rates

__all__ = [
    "Digest",
    "Dollars",
    "Flag",
    "Fraction",
    "ModelId",
    "Pattern",
    "PositiveSeconds",
    "RatesText",
    "Reading",
    "Seconds",
    "Secret",
    "SecretUrl",
    "words",
]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What values are read against (the validation context of the schema), and where they were written.

    Takes no part in comparison: settings are equal when their values are, wherever they were written.
    """

    folder: Path = field(default_factory=Path.cwd, compare=False)
    """Where relative paths start: the folder of the settings file."""
    environ: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    """Variables that `env:NAME` may name."""
    origins: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    """Dotted key → where its value was written."""


def words(**synonyms: str) -> BeforeValidator:
    """Read a word whatever its case, and take the other systems' words for ours."""

    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        return synonyms.get(value.lower(), value.lower())

    return BeforeValidator(read)


def _plain_decimal(value: object) -> object:
    """A price may be written as a number; it is kept as the digits that were written."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format(Decimal(repr(value)), "f")
    return value


def _argument(value: object) -> object:
    """`-ngl, 99` in a YAML list is a text and a number; a command line holds texts."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _not_reserved(value: str) -> str:
    if value in {"status", "failed", "eject", "load", "unload", "logs"}:
        raise ValueError(f"{value!r} is a word of the HTTP routes and cannot be the id of a model")
    if not value or value != value.strip():
        raise ValueError("the id of a model is not empty and has no blanks around it")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression: {error}") from None
    return value


def _rates(value: str) -> str:
    return str(Rates.of(value))


def _dereferenced(value: object, info: ValidationInfo) -> object:
    """`file:PATH` and `env:NAME` stand for what is found there."""
    if not isinstance(value, str) or not value.startswith(("file:", "env:")):
        return value
    reading = info.context if isinstance(info.context, Reading) else Reading()
    scheme, _, name = value.partition(":")
    found = _in_file(reading.folder, name) if scheme == "file" else reading.environ.get(name, "")
    if not found:
        raise ValueError(f"{value} is empty or not there")
    return found


def _in_file(folder: Path, name: str) -> str:
    try:
        return (folder / Path(name).expanduser()).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        raise ValueError(f"file:{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Dollars = Annotated[str, Field(pattern=r"^\d+(\.\d+)?$"), BeforeValidator(_plain_decimal)]
"""Decimal digits, never a binary number: money."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
Flag = Annotated[
    str, BeforeValidator(_argument), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})
]
RatesText = Annotated[str, AfterValidator(_rates)]
"""`100/hour, 5000 tokens/minute, 3 at once`, or `unlimited`."""
Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression, as Python reads it."""
ModelId = Annotated[str, AfterValidator(_not_reserved)]
Secret = Annotated[SecretStr, Field(min_length=1), BeforeValidator(_dereferenced)]
"""Never shown; may be written as `file:PATH` or `env:NAME`."""
SecretUrl = Annotated[str, BeforeValidator(_dereferenced)]
"""An address that may hold a password, with the same two ways to write it elsewhere."""
