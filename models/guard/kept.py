"""What takes minutes to make is made once: a file is used again while it is whole and made from the same things."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

__all__ = ["digest", "keep", "kept"]


def digest(*parts: Path | object) -> str:
    """One name for all of them: files by what is in them, anything else by its words."""
    together = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else repr(part).encode()
        together.update(hashlib.sha256(content).digest())
    return together.hexdigest()


def keep(file: Path, source: str, write: Callable[[Path], None]) -> None:
    """Make a file anew; it is never there in part.

    Args:
        file: where it shall be.
        source: the digest of what it is made from.
        write: puts it where it is told to.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.part")
    write(beside)
    note = {"source": source, "sha256": digest(beside)}
    beside.replace(file)
    _note(file).write_text(json.dumps(note) + "\n")


def kept(file: Path, source: str) -> bool:
    """Whether it is here, as it was written, and made from this source."""
    if not (file.is_file() and _note(file).is_file()):
        return False
    return json.loads(_note(file).read_text()) == {"source": source, "sha256": digest(file)}


def _note(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")
