"""The part of a file that has come so far, and what has to be known to go on from there."""

import os
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from enginehouse.stores.artifacts.files import hash_steps, new_digest
from enginehouse.stores.artifacts.progress import Progress

__all__ = ["Note", "Onlooker", "Partial", "read_note"]


class Note(Struct, frozen=True, kw_only=True):
    """What the sender said of the file when its first byte came; kept in a small file beside the partial one."""

    url: str
    """Where it came from, without credentials and query."""
    validator: str | None = None
    """A strong ETag or a date that an `If-Range` may carry."""
    size: int | None = None
    """Bytes of the whole."""
    sha256: str | None = None
    """Digest of the whole, in hex."""


class Partial:
    """`NAME.part` and its note `NAME.part.json`, hashed as it grows.

    Every method touches the disk; none may run while another does.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.note: Note | None = None
        self.size = 0
        """Bytes that are here and in the digest."""
        self._note_path = _note_path(self.path)
        self._digest = new_digest()
        self._file: BinaryIO | None = None

    @property
    def sha256(self) -> str:
        """Digest of the bytes that are here."""
        return self._digest.hexdigest()

    def recall(self) -> Generator[int]:
        """Take up what an earlier run left, step by step; bytes without a readable note are of no use."""
        self.note = read_note(self.path)
        if self.note is not None and self.path.exists():
            for count in hash_steps(self.path, self._digest):
                self.size += count
                yield count

    def begin(self, note: Note) -> None:
        """Start from the first byte."""
        self.close()
        self._digest, self.size, self.note = new_digest(), 0, note
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The note goes first: bytes that follow another note would be taken for the wrong file's.
        self.path.unlink(missing_ok=True)
        self._note_path.write_bytes(msgspec.json.encode(note))
        self._file = self.path.open("wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
        view = memoryview(data)
        while view:
            written = self._file.write(view)
            self._digest.update(view[:written])
            self.size += written
            view = view[written:]

    def close(self) -> None:
        """Let go of the file; what has come stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def complete(self) -> None:
        """Put the file in its place, safe against a power cut, and forget the note."""
        self.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self.target)
        self._note_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what has come, so that the next run starts clean."""
        self.close()
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)
        self._digest, self.size, self.note = new_digest(), 0, None


class Onlooker:
    """Tells of the partial files that another process writes, for those who wait until it is done."""

    def __init__(self, folder: Path, pattern: str, progress: Progress) -> None:
        self._folder = folder
        self._pattern = pattern
        self._progress = progress
        self._sizes: dict[str, int] = {}

    def look(self) -> None:
        """Report what has grown since the last look."""
        for path in self._folder.glob(self._pattern):
            with suppress(OSError):  # it may be complete, and gone, since it was listed
                self._report(path, path.stat().st_size)

    def finish(self) -> None:
        """The other process is done."""
        for name in self._sizes:
            self._progress.finished(name)

    def _report(self, path: Path, size: int) -> None:
        name = path.name.removesuffix(".part")
        before = self._sizes.get(name)
        if before is None or size < before:
            note = read_note(path)
            self._progress.started(name, note.size if note else None, size)
            self._progress.waiting(name, "it is being fetched already")
        elif size > before:
            self._progress.advanced(name, size - before)
        self._sizes[name] = size


def read_note(part: Path) -> Note | None:
    """The note of a partial file; None when there is none that can be read."""
    try:
        return msgspec.json.decode(_note_path(part).read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError):
        return None


def _note_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")
