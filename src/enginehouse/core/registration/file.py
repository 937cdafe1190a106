"""The file of registered models: written whole or not at all, read as far as it can be understood."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

__all__ = ["Entries", "RegistryFile"]

log = structlog.get_logger()

Entries = Mapping[str, Any]
"""By id, what would stand below it in the `models` section of the configuration."""


class RegistryFile:
    """`{"models": {...}}`, so that it can be pasted into a configuration. It may hold keys: nobody else reads it.

    Args:
        path: where it is; its folder is made when there is something to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """The entries, unchecked. What is no such file is kept aside under another name, and told in the log."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            log.warning("registered_models_unreadable", file=str(self.path), error=error.strerror)
            return {}
        try:
            return msgspec.json.decode(data, type=_Document, strict=True).models
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._set_aside(str(error))
            return {}

    def write(self, entries: Entries) -> None:
        """Let the file hold these entries; after a crash there is the old file or the new one, whole.

        Raises:
            OSError: it cannot be written; the old one is as it was.
        """
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{self.path.name}.{os.getpid()}"
        content = msgspec.json.format(msgspec.json.encode({"models": entries}), indent=2)
        try:
            _write_private(scratch, content + b"\n")
            scratch.replace(self.path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
        _sync_folder(folder)

    def _set_aside(self, reason: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.bad-{time.time_ns()}")
        try:
            self.path.rename(aside)
        except OSError as error:
            log.warning("registered_models_broken", file=str(self.path), error=reason, kept=error.strerror)
        else:
            log.warning("registered_models_broken", file=str(self.path), error=reason, kept=str(aside))


class _Document(msgspec.Struct):
    models: dict[str, Any]


def _write_private(path: Path, content: bytes) -> None:
    """On the disk when it returns, and readable by its owner only from its first byte on."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """The rename itself has to reach the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
