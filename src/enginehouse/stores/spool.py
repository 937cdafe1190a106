"""A local queue on disk for what the database gets later: appended durably, read in order, then dropped.

Lines are kept in numbered files. Each line has a checksum, so that one that was being written when the machine
stopped is told from one that is whole. A file is appended to by one process life only, and never behind an append
that failed; of the file that is still appended to, only what was acknowledged is read. So a torn line is always a
last one, and was never acknowledged.

Processes that share the folder have places of their own in it, each held by a lock that ends with its process.
Whoever starts takes over all places that nobody holds, with what the dead have left there.
"""

import asyncio
import errno
import fcntl
import itertools
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import structlog

__all__ = ["Part", "Spool"]

log = structlog.get_logger()
T = TypeVar("T")

_SEGMENT_BYTES = 8 * 1024 * 1024
_MOST_FRESH = 5000
"""Lines of a file that are kept in memory too."""
_SLOW, _REST = 0.002, 1.0
"""Seconds: when appending on the loop takes so long on an average, nothing is appended there for a while."""
_LATEST = 16
"""About so many count for the average."""
_LONGEST = 0.01
"""Seconds that one counts for at most: who lost the processor for long says nothing of the disk."""


class Part(NamedTuple, Generic[T]):
    """Some lines that wait, in their order."""

    lines: Sequence[bytes | T]
    """Those that are whole; in the place of one that this life has appended may be what it stands for."""
    file: Path
    end: int
    """How far into the file they reach, in bytes."""
    acknowledged: int
    """How many of them somebody was told of; damaged ones included."""


class _Segment(Generic[T]):
    """One file."""

    def __init__(self, path: Path, size: int = 0, lines: int = 0) -> None:
        self.path = path
        self.size = size
        """Bytes that may be read."""
        self.lines = lines
        """Acknowledged ones that wait."""
        self.read = 0
        """Bytes that are carried over."""
        self.fresh: list[bytes | T] | None = None
        """The lines behind them, or what they stand for, while all are few and of this life: none need be read."""
        self._handle: int | None = None

    def append_now(self, data: bytes, meant: Sequence[bytes | T]) -> None:
        """Add lines without waiting for the disk, and remember what they stand for.

        Raises:
            OSError: perhaps some of it is there.
        """
        if self._handle is None:
            self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        if os.write(self._handle, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        if self.fresh is None:
            if self.read < self.size:
                return
            self.fresh = []
        self.fresh += meant
        if len(self.fresh) > _MOST_FRESH:
            self.fresh = None

    def close(self) -> None:
        """Add no more."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class Spool(Generic[T]):
    """The queue in a folder; each line stands for a `T`. Use it from one event loop; one task appends, one reads.

    Args:
        folder: made when it is first needed.
        limit: bytes beyond which `full` says so; appending goes on, so that who was let in is served.
        segment: bytes after which a new file is begun.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        folder: Path,
        limit: int,
        *,
        segment: int = _SEGMENT_BYTES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.size = 0
        """Bytes that wait."""
        self.backlog = 0
        """Lines that wait."""
        self._folder = folder
        self._limit = limit
        self._segment = segment
        self._clock = clock
        self._usual = 0.0
        self._rests_until = clock()
        self._segments: list[_Segment[T]] = []
        self._current: _Segment[T] | None = None
        self._appending = False
        self._home: Path | None = None
        self._locks: list[int] = []
        self._next = 1
        if folder.exists():
            with suppress(OSError):  # whoever appends hears of it
                self._settle()

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.size >= self._limit

    def close(self) -> None:
        """Leave the places, and what waits there, to whoever comes next."""
        for segment in self._segments:
            segment.close()
        while self._locks:
            os.close(self._locks.pop())

    async def append(self, lines: Sequence[bytes]) -> None:
        """Keep lines (without line ends in them); they are on the disk when this returns.

        Raises:
            OSError: they are not.
        """
        data = b"".join(map(_checked, lines))
        segment = self._current or self._begun()
        self._appending = True
        try:
            await asyncio.to_thread(_append, segment.path, data)
        except BaseException:
            self._seal(segment)  # what of it is on the disk is not known; nothing is added behind a torn line
            raise
        finally:
            self._appending = False
        segment.fresh = None
        self._added(segment, len(lines), len(data))

    def append_now(self, lines: Sequence[bytes], meant: Sequence[T] | None = None) -> bool:
        """Keep lines in the kernel's hands, at once: they outlive this process, though perhaps not the machine.

        Args:
            lines: without line ends in them.
            meant: what they stand for, one each, which this life then need not read from them.

        Returns:
            Whether they are kept; not while the disk is slow or another append runs, for the loop shall not wait.

        Raises:
            OSError: perhaps some of them are.
        """
        began = self._clock()
        if self._appending or began < self._rests_until:
            return False
        data = b"".join(map(_checked, lines))
        segment = self._current or self._begun()
        try:
            segment.append_now(data, lines if meant is None else meant)
        except OSError:
            self._seal(segment)
            raise
        self._added(segment, len(lines), len(data))
        ended = self._clock()
        self._usual += (min(ended - began, _LONGEST) - self._usual) / _LATEST
        if self._usual > _SLOW:  # the loop was held up for too long, and is spared for a while
            self._rests_until, self._usual = ended + _REST, 0.0
        return True

    async def oldest(self) -> Part[T] | None:
        """Lines that have waited longest; None when nothing waits. Those with a wrong checksum are logged."""
        segment = next((one for one in self._segments if one.read < one.size), None)
        if segment is None:
            return None
        end, acknowledged = segment.size, segment.lines
        if segment.fresh is not None:
            return Part(segment.fresh.copy(), segment.path, end, acknowledged)
        *whole, _ = (await asyncio.to_thread(_read, segment.path, segment.read, end)).split(b"\n")
        lines = [line[9:] for line in whole if _is_whole(line)]
        if len(lines) < len(whole):
            log.error("spool_lines_damaged", file=segment.path.name, lines=len(whole) - len(lines))
        return Part(lines, segment.path, end, acknowledged)

    async def drop(self, part: Part[T]) -> None:
        """Forget lines that have been read, and their file when they were all that is in it."""
        segment = next(one for one in self._segments if one.path == part.file)
        self.size -= part.end - segment.read
        self.backlog -= part.acknowledged
        segment.read = part.end
        if segment.fresh is not None:
            del segment.fresh[: len(part.lines)]
        segment.lines -= part.acknowledged
        if segment.read == segment.size and not (self._appending and segment is self._current):
            self._forget(segment)
            await asyncio.to_thread(segment.path.unlink, missing_ok=True)

    async def reject(self, lines: Sequence[bytes]) -> Path:
        """Set lines aside that nobody can take, for a person to look at; returns their file."""
        path = self._folder / "rejected.txt"
        await asyncio.to_thread(_append, path, b"".join(line + b"\n" for line in lines))
        return path

    def _begun(self) -> _Segment[T]:
        """A new file, which is made by the first append.

        Raises:
            OSError: there is no place for it.
        """
        if self._home is None:
            self._settle()
        assert self._home is not None, "whoever settles finds a place"
        self._current = _Segment(self._home / f"{self._next:010d}.jsonl")
        self._segments.append(self._current)
        self._next += 1
        return self._current

    def _added(self, segment: _Segment[T], lines: int, size: int) -> None:
        segment.size += size
        segment.lines += lines
        self.size += size
        self.backlog += lines
        if segment.size >= self._segment:
            segment.close()
            self._current = None

    def _seal(self, segment: _Segment[T]) -> None:
        """Add no more to a file after a failure; whatever is whole in it shall be read."""
        segment.close()
        segment.fresh = self._current = None
        found = segment.path.stat().st_size if segment.path.exists() else 0
        self.size += found - segment.size
        segment.size = found
        if segment.read == segment.size:
            self._forget(segment)
            with suppress(OSError):
                segment.path.unlink(missing_ok=True)

    def _forget(self, segment: _Segment[T]) -> None:
        segment.close()
        self._segments.remove(segment)
        if segment is self._current:
            self._current = None

    def _settle(self) -> None:
        """Take every place that nobody holds; where all are held, a new one.

        Raises:
            OSError: none can be had.
        """
        for place in _places(self._folder):
            if self._home is not None and not place.exists():
                return
            place.mkdir(parents=True, exist_ok=True)
            if (lock := _locked(place)) is not None:
                self._locks.append(lock)
                self._home = self._home or place
                self._take_over(place)

    def _take_over(self, place: Path) -> None:
        for path in sorted(place.glob("*.jsonl")):
            data = path.read_bytes()
            if data:
                self._segments.append(_Segment(path, len(data), data.count(b"\n")))
                self.size += len(data)
                self.backlog += data.count(b"\n")
            else:
                path.unlink()
            if place == self._home:
                self._next = int(path.stem) + 1


def _places(folder: Path) -> Iterator[Path]:
    """The folder itself, then one in it for each process more."""
    yield folder
    for number in itertools.count(2):
        yield folder / str(number)


def _locked(place: Path) -> int | None:
    """A handle that holds a place until it is closed; None where somebody else holds one."""
    handle = os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:
        pass  # a file system without locks: there the folder can be one process's only
    return handle


def _append(path: Path, data: bytes) -> None:
    is_new = not path.exists()
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


def _read(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _checked(line: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(line), line)


def _is_whole(line: bytes) -> bool:
    return line[:9] == b"%08x " % zlib.crc32(line[9:])
