"""Cards of whatever lies at a path, read once for as long as its files stay the same."""

from pathlib import Path
from typing import TypeAlias

from enginehouse.engines.metadata.card import ModelCard
from enginehouse.engines.metadata.gguf import describe_gguf, siblings
from enginehouse.engines.metadata.onnx import describe_onnx
from enginehouse.engines.onnx.folder import is_onnx_folder
from enginehouse.errors import ModelLoadFailed

__all__ = ["Cards", "Fingerprint", "describe", "fingerprint"]

Fingerprint: TypeAlias = tuple[tuple[str, int, int], ...]
"""Name, size in bytes and time of change in nanoseconds of each of a model's files."""


def describe(path: Path) -> ModelCard:
    """The card of a GGUF file, of a folder with one, or of an ONNX folder. Blocks for tens of milliseconds.

    Raises:
        ModelLoadFailed: nothing there is a model, or it is corrupt or not all there; the message says which.
    """
    try:
        if path.is_file():
            return describe_gguf(path)
        if is_onnx_folder(path):
            return describe_onnx(path)
        files = sorted(path.glob("*.gguf"))
    except OSError as error:
        raise ModelLoadFailed(f"{path.name} cannot be read: {error.strerror}") from error
    if not files:
        raise ModelLoadFailed(f"{path.name} is neither a GGUF file nor a folder that holds a model.")
    return describe_gguf(files[0])


def fingerprint(path: Path) -> Fingerprint:
    """What changes when a model's files do; empty when there is nothing.

    Raises:
        OSError: the files cannot be looked at.
    """
    stats = ((file.name, file.stat()) for file in files_of(path))
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def files_of(path: Path) -> list[Path]:
    """The files that make the model at a path."""
    if not path.is_dir():
        return siblings(path)
    places = (path, path / "onnx", path / "1_Pooling")
    return [file for place in places for file in sorted(place.glob("*")) if file.is_file()]


class Cards:
    """Cards by path. A model is read again when its files changed; a failure is remembered just so."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Fingerprint, ModelCard | str]] = {}

    def read(self, path: Path) -> ModelCard:
        """The card of what lies at a path. Blocks for tens of milliseconds the first time.

        Raises:
            ModelLoadFailed: nothing there is a model, or it is corrupt or not all there.
        """
        try:
            seen = fingerprint(path)
        except OSError as error:
            raise ModelLoadFailed(f"{path.name} cannot be read: {error.strerror}") from error
        known = self._known.get(path)
        if known is None or known[0] != seen:
            known = self._known[path] = (seen, card_or_reason(path))
        if isinstance(known[1], str):
            raise ModelLoadFailed(known[1])
        return known[1]


def card_or_reason(path: Path) -> ModelCard | str:
    """The card, or why there is none."""
    try:
        return describe(path)
    except ModelLoadFailed as error:
        return error.message
