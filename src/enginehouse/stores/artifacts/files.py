"""What happens to files on the disk: hashing in worker threads, digests on record, one writer at a time."""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from filelock import FileLock, Timeout

from enginehouse.errors import SourceError

__all__ = [
    "CHUNK",
    "Digest",
    "exclusive",
    "hash_steps",
    "in_steps",
    "new_digest",
    "recorded",
    "remember",
    "settled",
    "sha256_of",
    "wrong_digest",
]

T = TypeVar("T")

CHUNK = 1 << 20
"""Bytes read or written at a time."""
_STEP = 32 * CHUNK
_POLL = 0.2


class Digest(Protocol):
    """A running hash."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


def new_digest() -> Digest:
    """A fresh sha256."""
    return hashlib.sha256()


async def settled(work: Callable[[], T]) -> T:
    """Run `work` in a worker thread and come back only when it has ended, even when the caller is cancelled.

    So whoever unwinds may close and remove files without a thread still writing to them. Keep `work` short.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    finally:
        while not running.done():
            with suppress(asyncio.CancelledError):  # the first one is on its way up already
                await asyncio.wait({running})


async def in_steps(steps: Generator[int], each: Callable[[int], object] = int) -> None:
    """Run a generator step by step in a worker thread and give each yielded number to `each`, on the event loop.

    A cancelled caller waits for one step at most; the generator is closed in every case.
    """
    with closing(steps):
        while (count := await settled(lambda: next(steps, None))) is not None:
            each(count)


def hash_steps(path: Path, digest: Digest) -> Generator[int]:
    """Feed a file to `digest`; each step yields the bytes it has read."""
    with path.open("rb") as file:
        read = 0
        while data := file.read(CHUNK):
            digest.update(data)
            read += len(data)
            if read >= _STEP:
                yield read
                read = 0
    if read:
        yield read


async def sha256_of(path: Path) -> str:
    """A file's digest in hex."""
    digest = new_digest()
    await in_steps(hash_steps(path, digest))
    return digest.hexdigest()


def remember(path: Path, sha256: str) -> None:
    """Put a file's digest on record beside it, as `sha256sum` writes it, so that nobody has to hash it again."""
    _record(path).write_text(f"{sha256}  {path.name}\n", encoding="utf-8")


def recorded(path: Path) -> str | None:
    """The digest on record, unless there is none or the file is newer than its record."""
    record = _record(path)
    try:
        if record.stat().st_mtime_ns < path.stat().st_mtime_ns:
            return None
        text = record.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.match(r"[0-9a-f]{64}\b", text)
    return found and found[0]


def wrong_digest(name: str, expected: str, actual: str, after: str) -> SourceError:
    """The error for content that is not what was asked for; `after` says what was or can be done about it."""
    return SourceError(f"{name} has the wrong content: its sha256 is {actual}, expected was {expected}. {after}")


@asynccontextmanager
async def exclusive(lock: Path, watch: Callable[[], None]) -> AsyncGenerator[None]:
    """Be the only writer among all processes; `watch` is called now and then while another one is.

    The operating system frees the lock of a process that dies. The lock file stays: removing it would let two in.

    Raises:
        SourceError: the lock cannot be written.
    """
    holder = FileLock(lock)
    while not _acquired(holder, lock):
        watch()
        await asyncio.sleep(_POLL)
    try:
        yield
    finally:
        holder.release()


def _acquired(holder: FileLock, lock: Path) -> bool:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        holder.acquire(blocking=False)
    except Timeout:
        return False
    except OSError as error:
        raise SourceError(f"Nothing can be written to {lock.parent}: {error.strerror or error}.") from error
    return True


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
