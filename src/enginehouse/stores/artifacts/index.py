"""The package index: which wheels of a version there are, where they lie, and which one to read from.

Both forms of the simple repository API are read, HTML (PEP 503) and JSON (PEP 691).
"""

import asyncio
from collections.abc import Sequence
from html.parser import HTMLParser
from urllib.parse import unquote

import aiohttp
import msgspec
from msgspec import Struct
from packaging.tags import sys_tags
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version
from yarl import URL

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.files import CHUNK
from enginehouse.stores.artifacts.network import Address, Web, http_url, persist
from enginehouse.stores.artifacts.progress import Progress
from enginehouse.stores.artifacts.transfer import Remote

__all__ = ["Index", "IndexFile", "choose", "read_html", "read_json"]

_ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"  # PEP 691
)
_LONGEST_PAGE = 64 << 20
_HINT = "or set sources.pypi_index to an index that answers, or give a path to the file"


class IndexFile(Struct, frozen=True, kw_only=True):
    """One file the index offers; a yanked one too, since a pinned version may still be used."""

    filename: str
    url: URL
    sha256: str | None = None


class Index:
    """A package index at a URL, which may hold a user and a password.

    Raises:
        SourceError: the URL is no http or https URL.
    """

    def __init__(self, url: str) -> None:
        self._root, self._login = http_url(url, "the setting sources.pypi_index")

    async def wheel(self, web: Web, package: str, version: str, progress: Progress) -> Remote:
        """The wheel of exactly this version.

        Raises:
            SourceError: the index is not to be had, or has no such package, version or wheel.
        """
        page = self._page(package)
        files = await persist(
            lambda: _read_page(web, page),
            address=page,
            patience=web.patience,
            waiting=lambda reason: progress.waiting(package, reason),
        )
        chosen = choose(files, package, version)
        return Remote(name=chosen.filename, address=self._address(chosen.url), sha256=chosen.sha256, unpacked=True)

    def _page(self, package: str) -> Address:
        def refusal(response: aiohttp.ClientResponse) -> str:
            if response.status == 404:
                return f"{self._root.host} has no package {package!r}."
            return self._refusal(response)

        url = self._root / package / ""
        return Address(url=url, hint=_HINT, refusal=refusal, headers={"Accept": _ACCEPT, **self._login})

    def _address(self, url: URL) -> Address:
        """A file's address; the index's credentials go along only to the index's own origin."""
        plain, login = http_url(str(url), "the address of a file on the package index")
        if not login and plain.origin() == self._root.origin():
            login = self._login
        return Address(url=plain, hint=_HINT, refusal=self._refusal, headers=login)

    def _refusal(self, response: aiohttp.ClientResponse) -> str:
        host = response.url.host
        if response.status in {401, 403}:
            return (
                f"{host} wants other credentials (status {response.status}): "
                "put them into sources.pypi_index as https://user:password@host/..."
            )
        return f"{host} does not give out {response.url.name or 'the page'} (status {response.status})."


async def _read_page(web: Web, page: Address) -> tuple[IndexFile, ...]:
    async with web.get(page, {}) as response:
        body = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK):
            body += chunk
            if len(body) > _LONGEST_PAGE:
                raise SourceError(f"{page.host} answered with a page that is too long for a package index.")
        read = read_json if "json" in response.content_type else read_html
        return await asyncio.to_thread(read, bytes(body), response.url)


def choose(files: Sequence[IndexFile], package: str, version: str) -> IndexFile:
    """The wheel to read from: `py3-none-any` first, then one for this machine, then any; they only have to be read.

    Raises:
        SourceError: no such version, or it has no wheel.
    """
    offered = [(file, v) for file in files if (v := _version(file.filename)) is not None]
    if not (of_version := [file for file, v in offered if v == Version(version)]):
        raise SourceError(_no_version(package, version, {v for _, v in offered}))
    wheels = [file for file in of_version if file.filename.endswith(".whl")]
    if not wheels:
        raise SourceError(f"{package} {version} has no wheel on the index, only: {of_version[0].filename}.")
    return min(wheels, key=lambda file: (_rank(file.filename), file.filename))


def _no_version(package: str, version: str, others: set[Version]) -> str:
    newest = ", ".join(str(v) for v in sorted(others, reverse=True)[:5])
    return f"The index has no version {version} of {package}." + (
        f" The newest it has: {newest}." if newest else ""
    )


def _version(filename: str) -> Version | None:
    if "/" in filename or "\\" in filename:  # it names a file on our disk later
        return None
    try:
        return parse_wheel_filename(filename)[1] if filename.endswith(".whl") else parse_sdist_filename(filename)[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def _rank(filename: str) -> int:
    tags = parse_wheel_filename(filename)[3]
    if any(str(tag) == "py3-none-any" for tag in tags):
        return 0
    return 1 if not tags.isdisjoint(sys_tags()) else 2


# The two forms of a page --------------------------------------------------------------------------------------


class _JsonFile(Struct):
    filename: str
    url: str
    hashes: dict[str, str] = {}


class _JsonPage(Struct):
    files: list[_JsonFile]


def read_json(body: bytes, base: URL) -> tuple[IndexFile, ...]:
    """A PEP 691 page; relative addresses are taken from `base`.

    Raises:
        SourceError: it is none.
    """
    try:
        page = msgspec.json.decode(body, type=_JsonPage)
        return tuple(
            IndexFile(filename=f.filename, url=base.join(URL(f.url)), sha256=_hex(f.hashes.get("sha256")))
            for f in page.files
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise SourceError(f"{base.host} answered with JSON that is no package index page.") from error


def read_html(body: bytes, base: URL) -> tuple[IndexFile, ...]:
    """A PEP 503 page; relative addresses are taken from `base`, or from the page's own base.

    Raises:
        SourceError: an address in it is none.
    """
    reader = _Anchors()
    reader.feed(body.decode("utf-8", errors="replace"))
    try:
        base = base.join(URL(reader.base)) if reader.base else base
        return tuple(_from_anchor(base.join(URL(href))) for href in reader.hrefs)
    except ValueError as error:
        raise SourceError(f"{base.host} answered with a page that is no package index page.") from error


class _Anchors(HTMLParser):
    """Collects where the anchors lead."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.base: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.hrefs.append(href)
        elif tag == "base" and href and self.base is None:
            self.base = href


def _from_anchor(url: URL) -> IndexFile:
    algorithm, _, digest = url.fragment.partition("=")
    sha256 = _hex(digest.partition("&")[0]) if algorithm == "sha256" else None
    return IndexFile(filename=unquote(url.name), url=url.with_fragment(None), sha256=sha256)


def _hex(digest: str | None) -> str | None:
    """A sha256 in lower case; what is none is as good as nothing."""
    digest = (digest or "").strip().lower()
    return digest if len(digest) == 64 and all(c in "0123456789abcdef" for c in digest) else None
