"""A local queue on disk for what the database cannot take right now: appended durably, read in order, then dropped.

Lines are kept in numbered files. Each line has a checksum, so that one that was being written when the machine
stopped is told from one that is whole. A file is appended to by one process life only, and read only when nothing
is appended to it any more; so a torn line is always a last one, and was never acknowledged.
"""

import asyncio
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

__all__ = ["Spool"]

log = structlog.get_logger()

_SEGMENT_BYTES = 8 * 1024 * 1024


class _Read(NamedTuple):
    lines: list[bytes]
    bad: int


class Spool:
    """The queue in a folder. Use it from one event loop; one task appends, one reads.

    Args:
        folder: made when it is first needed.
        limit: bytes beyond which `full` says so; appending goes on, so that who was let in is served.
        segment: bytes after which a new file is begun.
    """

    def __init__(self, folder: Path, limit: int, *, segment: int = _SEGMENT_BYTES) -> None:
        self._folder = folder
        self._limit = limit
        self._segment = segment
        self._sealed: dict[Path, int] = {}
        self._lines: dict[Path, int] = {}
        self._current: Path | None = None
        self._appending = False
        self._next = 1
        for path in sorted(folder.glob("*.jsonl")):
            self._sealed[path] = path.stat().st_size
            self._lines[path] = path.read_bytes().count(b"\n")
            self._next = int(path.stem) + 1

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(self._sealed.values())

    @property
    def backlog(self) -> int:
        """Lines that wait."""
        return sum(self._lines.values())

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.size >= self._limit

    async def append(self, lines: Sequence[bytes]) -> None:
        """Keep lines (without line ends in them); they are on the disk when this returns.

        Raises:
            OSError: they are not.
        """
        data = b"".join(b"%08x %b\n" % (zlib.crc32(line), line) for line in lines)
        path = self._current or self._folder / f"{self._next:010d}.jsonl"
        if self._current is None:
            self._next += 1
        self._current, self._appending = path, True
        try:
            await asyncio.to_thread(_append, path, data)
        except BaseException:
            self._seal(path)  # what of it is on the disk is not known; nothing is added behind a torn line
            raise
        finally:
            self._appending = False
        self._sealed[path] = self._sealed.get(path, 0) + len(data)
        self._lines[path] = self._lines.get(path, 0) + len(lines)
        if self._sealed[path] >= self._segment:
            self._current = None

    async def oldest(self) -> tuple[Path, list[bytes]] | None:
        """The first file and its whole lines; None when nothing waits. Lines with a wrong checksum are logged."""
        path = min(self._sealed, default=None)
        if path is None:
            return None
        if path == self._current:
            if self._appending:
                return None
            self._current = None
        found = await asyncio.to_thread(_read, path)
        if found.bad:
            log.error("spool_lines_damaged", file=path.name, lines=found.bad)
        return path, found.lines

    async def drop(self, path: Path) -> None:
        """Forget a file that has been read."""
        await asyncio.to_thread(path.unlink, missing_ok=True)
        self._sealed.pop(path, None)
        self._lines.pop(path, None)

    async def reject(self, lines: Sequence[bytes]) -> Path:
        """Set lines aside that nobody can take, for a person to look at; returns their file."""
        path = self._folder / "rejected.txt"
        await asyncio.to_thread(_append, path, b"".join(line + b"\n" for line in lines))
        return path

    def _seal(self, path: Path) -> None:
        self._current = None
        if path.exists():
            self._sealed[path] = path.stat().st_size
            self._lines.setdefault(path, 0)


def _append(path: Path, data: bytes) -> None:
    is_new = not path.exists()
    if is_new:
        path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A new file's name is in its folder, which is on the disk only when it was told to be."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> _Read:
    """Whole lines; a torn last one does not count as damaged, since nobody was told that it was kept."""
    *whole, _ = path.read_bytes().split(b"\n")
    lines = [line[9:] for line in whole if _is_whole(line)]
    return _Read(lines, len(whole) - len(lines))


def _is_whole(line: bytes) -> bool:
    return line[:9] == b"%08x " % zlib.crc32(line[9:])
