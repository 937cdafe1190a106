"""OpenAI's encodings, where their files are at hand: a request never waits for one to be downloaded.

The files are looked for where `tiktoken` keeps them: in the folder of `TIKTOKEN_CACHE_DIR`, else in one of the
machine's temporary files. A file that is missing, or is not the one it should be, is as good as none.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import structlog

if TYPE_CHECKING:
    from tiktoken import Encoding

__all__ = ["FILES", "Encode", "Encodings"]

log = structlog.get_logger()

Encode: TypeAlias = Callable[[str], int]
"""Tokens of a text."""

FILES: Mapping[str, str] = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
"""SHA-256 of the files of encodings that chat models have."""
_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
"""A file's address; its digest is the name under which `tiktoken` keeps it."""


class Encodings:
    """Encodings by the names of OpenAI's models.

    Args:
        environ: the environment of this process, as `tiktoken` reads it.
        files: names of encodings, with the digests of their files.
    """

    def __init__(self, environ: Mapping[str, str], files: Mapping[str, str] = FILES) -> None:
        folder = environ.get("TIKTOKEN_CACHE_DIR", environ.get("DATA_GYM_CACHE_DIR"))
        self._folder = (
            Path(tempfile.gettempdir()) / "data-gym-cache" if folder is None else Path(folder or "/dev/null")
        )
        self._files = files
        self._known: dict[str, Encode | None] = {}

    async def of(self, model: str) -> tuple[str, Encode] | None:
        """The name of a model's encoding and what counts with it; None where that is not known or not at hand."""
        from tiktoken import encoding_name_for_model

        try:
            name = encoding_name_for_model(model)
        except KeyError:
            return None
        if name not in self._known:
            self._known[name] = await asyncio.to_thread(self._open, name)
        count = self._known[name]
        return None if count is None else (name, count)

    def file(self, name: str) -> Path:
        """Where an encoding's file is looked for."""
        return self._folder / hashlib.sha1(_ADDRESS.format(name).encode(), usedforsecurity=False).hexdigest()

    def _open(self, name: str) -> Encode | None:
        try:
            digest = hashlib.sha256(self.file(name).read_bytes()).hexdigest()
        except OSError:
            digest = ""
        if digest != self._files.get(name):
            log.info("encoding_not_at_hand", encoding=name, instead="estimates")
            return None
        from tiktoken import get_encoding

        return _counting(get_encoding(name))


def _counting(encoding: "Encoding") -> Encode:
    return lambda text: len(encoding.encode_ordinary(text))
