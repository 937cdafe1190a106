"""Whether there is room on the disk, and the one sentence that says when there is not."""

import errno
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from rich.filesize import decimal

from enginehouse.errors import SourceError

__all__ = ["Free", "ensure_room", "free_bytes", "writing"]

Free: TypeAlias = Callable[[Path], int]
"""Bytes that may still be written below a folder."""

# EFBIG is what a process meets that may not write files of this size.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def free_bytes(folder: Path) -> int:
    """Bytes the disk under `folder` has left for us, whether the folder is there yet or not."""
    return shutil.disk_usage(next(f for f in (folder, *folder.absolute().parents) if f.exists())).free


def ensure_room(name: str, needed: int, folder: Path, free: Free) -> None:
    """Refuse before the first byte what cannot fit.

    Raises:
        SourceError: `needed` is more bytes than are free.
    """
    available = free(folder)
    if needed > available:
        raise _no_room(name, needed, available)


@contextmanager
def writing(name: str, needed: int, folder: Path, free: Free) -> Generator[None]:
    """Around writes of up to `needed` bytes: what the disk refuses becomes a SourceError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise _no_room(f"{name} ({reason})", needed, free(folder)) from error
        raise SourceError(f"{name} could not be written to {folder}: {reason}.") from error


def _no_room(name: str, needed: int, available: int) -> SourceError:
    return SourceError(
        f"There is not enough disk space for {name}: it needs {decimal(needed)} ({needed} bytes) more, "
        f"{decimal(available)} ({available} bytes) are free. Make room and run it again; what has come is kept."
    )
