"""One file over HTTP: resumed where it stopped, hashed while it comes, put in place in one piece."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import aiohttp
from msgspec import Struct

from enginehouse.stores.artifacts.files import CHUNK, in_steps, settled, wrong_digest
from enginehouse.stores.artifacts.network import Address, Interrupted, Web, persist, shown
from enginehouse.stores.artifacts.partial import Note, Partial
from enginehouse.stores.artifacts.progress import Progress
from enginehouse.stores.artifacts.space import Free, ensure_room, writing

__all__ = ["Remote", "download"]

_CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")


def _says_nothing(_: aiohttp.ClientResponse) -> None:
    return None


class Remote(Struct, frozen=True, kw_only=True):
    """A file somewhere else."""

    name: str
    """For people."""
    address: Address
    sha256: str | None = None
    """Its digest, where it is known before we ask."""
    announced: Callable[[aiohttp.ClientResponse], str | None] = _says_nothing
    """Finds the digest in the answer, where the sender tells it there."""
    unpacked: bool = False
    """Whether it is an archive that needs about its own size again when it is unpacked."""


async def download(web: Web, remote: Remote, target: Path, progress: Progress, free: Free) -> str:
    """Bring `remote` to `target` and return its sha256; what came before a failure stays as `target.part`.

    Raises:
        SourceError: not reached, refused, no room, broken too often, or not the content that was expected.
    """
    transfer = _Transfer(web, remote, Partial(target), progress, free)
    try:
        return await transfer.run()
    finally:
        transfer.partial.close()


class _Transfer:
    """One download under way."""

    def __init__(self, web: Web, remote: Remote, partial: Partial, progress: Progress, free: Free) -> None:
        self.partial = partial
        self._web = web
        self._remote = remote
        self._progress = progress
        self._free = free

    async def run(self) -> str:
        await self._on_disk(lambda: self.partial.path.parent.mkdir(parents=True, exist_ok=True))
        with self._writing():
            await in_steps(self.partial.recall())
        if self._is_whole():
            self._progress.started(self._remote.name, self.partial.size, self.partial.size)
        else:
            await self._transfer()
        await self._verify()
        await self._on_disk(self.partial.complete)
        self._progress.finished(self._remote.name)
        return self.partial.sha256

    # One try ----------------------------------------------------------------------------------------------

    async def _transfer(self) -> None:
        await persist(
            self._attempt,
            address=self._remote.address,
            patience=self._web.patience,
            have=lambda: self.partial.size,
            waiting=partial(self._progress.waiting, self._remote.name),
        )

    async def _attempt(self) -> None:
        async with self._web.get(self._remote.address, self._resume_headers()) as response:
            self._compare_announced(response)
            if response.status == 416:
                await self._nothing_more(response)
            else:
                await self._agree(response)
                await self._receive(response)

    async def _agree(self, response: aiohttp.ClientResponse) -> None:
        """Settle from which byte on the body goes, and whether there is room for it."""
        if response.status != 206:
            await self._on_disk(partial(self.partial.begin, self._note(response)))
        elif not self._continues(response):
            await self._start_over()
        size = self.partial.note.size if self.partial.note else None
        if size is not None:
            needed = size - self.partial.size + (size if self._remote.unpacked else 0)
            ensure_room(self._remote.name, needed, self.partial.path.parent, self._free)
        self._progress.started(self._remote.name, size, self.partial.size)

    async def _receive(self, response: aiohttp.ClientResponse) -> None:
        async for chunk in response.content.iter_chunked(CHUNK):
            await self._on_disk(partial(self.partial.write, chunk))
            self._progress.advanced(self._remote.name, len(chunk))
        if self._missing():
            raise Interrupted(f"{self._remote.address.host} ended {self._remote.name} early")

    async def _nothing_more(self, response: aiohttp.ClientResponse) -> None:
        """The sender has no byte after ours: either that is all, or the file is another one now."""
        total = _content_range(response)[1]
        if total is not None and total == self.partial.size:
            return
        await self._start_over()

    async def _start_over(self) -> None:
        await self._on_disk(self.partial.discard)
        raise Interrupted(f"{self._remote.name} has changed at {self._remote.address.host}")

    # What is here and what is there ------------------------------------------------------------------------

    def _is_whole(self) -> bool:
        note = self.partial.note
        return (
            note is not None and note.sha256 is not None and note.sha256 == self._expected() == self.partial.sha256
        )

    def _expected(self) -> str | None:
        return self._remote.sha256 or (self.partial.note.sha256 if self.partial.note else None)

    def _missing(self) -> int:
        note = self.partial.note
        return max(note.size - self.partial.size, 0) if note and note.size is not None else 0

    def _resume_headers(self) -> dict[str, str]:
        # Ranges count encoded bytes, so that only the file's own bytes will do.
        headers = {"Accept-Encoding": "identity"}
        note = self.partial.note
        if note is None or not self._may_resume(note):
            return headers
        headers["Range"] = f"bytes={self.partial.size}-"
        if note.validator and note.url == shown(self._remote.address.url):
            headers["If-Range"] = note.validator
        return headers

    def _may_resume(self, note: Note) -> bool:
        """Only what is provably the same file is gone on with."""
        if not self.partial.size or (note.size is not None and self.partial.size > note.size):
            return False
        if note.sha256 and self._remote.sha256:
            return note.sha256 == self._remote.sha256
        return note.url == shown(self._remote.address.url) and bool(note.validator or note.sha256)

    def _continues(self, response: aiohttp.ClientResponse) -> bool:
        note = self.partial.note
        start, total = _content_range(response)
        if note is None or start != self.partial.size:
            return False
        now = self._note(response)
        same_size = None in (total, note.size) or total == note.size
        same_version = (
            now.url != note.url or None in (now.validator, note.validator) or now.validator == note.validator
        )
        same_digest = None in (now.sha256, note.sha256) or now.sha256 == note.sha256
        return same_size and same_version and same_digest

    def _note(self, response: aiohttp.ClientResponse) -> Note:
        return Note(
            url=shown(self._remote.address.url),
            validator=_validator(response),
            size=response.content_length,
            sha256=self._remote.sha256 or self._remote.announced(response),
        )

    def _compare_announced(self, response: aiohttp.ClientResponse) -> None:
        """Do not fetch gigabytes that are known to be the wrong ones."""
        announced = self._remote.announced(response)
        if announced and self._remote.sha256 and announced != self._remote.sha256:
            raise wrong_digest(
                f"{self._remote.name} at {self._remote.address.host}",
                self._remote.sha256,
                announced,
                "Nothing was fetched; correct the sha256 or the source.",
            )

    async def _verify(self) -> None:
        expected, actual = self._expected(), self.partial.sha256
        if expected is not None and expected != actual:
            await self._on_disk(self.partial.discard)
            raise wrong_digest(
                self._remote.name, expected, actual, "It was removed; run it again to fetch it anew."
            )

    # The disk ----------------------------------------------------------------------------------------------

    async def _on_disk(self, work: Callable[[], object]) -> None:
        with self._writing():
            await settled(work)

    def _writing(self) -> AbstractContextManager[None]:
        return writing(self._remote.name, self._missing(), self.partial.path.parent, self._free)


def _content_range(response: aiohttp.ClientResponse) -> tuple[int | None, int | None]:
    """First byte and total of a `Content-Range`; None where it does not say."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if found is None:
        return None, None
    start, total = found["start"], found["total"]
    return (int(start) if start else None), (int(total) if total != "*" else None)


def _validator(response: aiohttp.ClientResponse) -> str | None:
    """What an `If-Range` may carry: a weak tag may not."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
