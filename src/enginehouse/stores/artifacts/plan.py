"""What a source asks for, file by file, before anything is looked at or fetched."""

import hashlib
import re
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.specs import HubFile, LocalFile, Spec, WheelFile, parse, with_parts
from enginehouse.types import Source

__all__ = ["Piece", "Plan", "make_plan"]


class Piece(Struct, frozen=True):
    """One file: its name in the model's folder, where it comes from, and its digest where that is known."""

    name: str
    spec: Spec
    sha256: str | None = None


class Plan(Struct, frozen=True):
    """All files of one source; `folder` names the folder they make, None when the first one is the model."""

    pieces: tuple[Piece, ...]
    folder: str | None = None


def make_plan(source: Source, sha256: Source | None) -> Plan:
    """Read a source and its digests.

    Raises:
        SourceError: a spec, a file name or a digest is none, or the two do not have the same shape.
    """
    match source, sha256:
        case str(), str() | None:
            return Plan(_single(source, sha256))
        case dict(), dict() | None:
            return Plan(_many(source, sha256 or {}), _folder_name(source))
        case _:
            raise SourceError(
                "sha256 must have the shape of source: one digest for one file, or file name to digest."
            )


def _single(source: str, sha256: str | None) -> tuple[Piece, ...]:
    spec = parse(source)
    if isinstance(spec, LocalFile):
        return (Piece(spec.path.name, spec, _digest(sha256)),)
    first, *further = with_parts(spec)
    return (
        Piece(first.path.name, first, _digest(sha256)),
        *(Piece(part.path.name, part) for part in further),
    )


def _many(source: Mapping[str, str], sha256: Mapping[str, str]) -> tuple[Piece, ...]:
    if not source:
        raise SourceError("The source names no file.")
    if unknown := sorted(set(sha256) - set(source)):
        raise SourceError(f"sha256 names files that source does not have: {', '.join(unknown)}.")
    return tuple(Piece(_plain(name), parse(spec), _digest(sha256.get(name))) for name, spec in source.items())


def _plain(name: str) -> str:
    if name in {"", ".", ".."} or re.search(r"[/\\]", name) or not name.isprintable():
        raise SourceError(f"The source names a file {name!r}: it must be a plain file name.")
    return name


def _digest(sha256: str | None) -> str | None:
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise SourceError(f"The sha256 {sha256!r} is none: it has 64 hexadecimal digits.")
    return sha256 and sha256.lower()


def _folder_name(source: Mapping[str, str]) -> str:
    """Readable, and another one for other content: a name out of the first spec and a digest of all."""
    canonical = msgspec.json.encode(sorted(source.items()))
    match parse(min(source.items())[1]):
        case WheelFile() as wheel:
            label = f"{wheel.package}-{wheel.version}"
        case HubFile() as file:
            label = f"{file.org}-{file.repo}"
        case LocalFile() as file:
            label = file.path.absolute().parent.name or "local"
    return f"{label}-{hashlib.sha256(canonical).hexdigest()[:8]}"
