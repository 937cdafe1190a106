"""The web console's files: public, never cached without asking, and held to a strict content security policy."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from msgspec import Struct

from enginehouse.errors import NotFound

__all__ = ["POLICY", "Asset", "console_assets", "console_router"]

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""No inline code or style, no other address, and no text that could ever become markup."""

_MEDIA_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Asset(Struct, frozen=True, kw_only=True):
    """One file."""

    content: bytes
    media_type: str
    etag: str


def console_assets() -> Mapping[str, Asset]:
    """Every file of the console by its path, as the package holds it."""
    return {path: _asset(path, file.read_bytes()) for path, file in _walk(files("enginehouse") / "console", "")}


def console_router(assets: Mapping[str, Asset]) -> APIRouter:
    """`GET /console` and the files below it.

    Args:
        assets: by path; `index.html` is the page itself.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/console")
    async def page(request: Request) -> Response:
        """The console; what is shown in it comes by the API."""
        return _answer(request, assets["index.html"])

    @router.get("/console/")
    async def slashed(request: Request) -> Response:
        """The page names its files beside itself, so it has one address; behind a prefix as well."""
        del request
        return RedirectResponse("../console")

    @router.get("/console/{path:path}")
    async def file(request: Request, path: str) -> Response:
        """One of its files."""
        asset = assets.get(path)
        if asset is None:
            raise NotFound("There is no such file of the console.")
        return _answer(request, asset)

    return router


def _answer(request: Request, asset: Asset) -> Response:
    headers = {**_HEADERS, "ETag": asset.etag}
    if asset.etag in _etags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


def _etags(header: str) -> Iterable[str]:
    """Those a browser has; a proxy that packs answers makes them weak."""
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _asset(path: str, content: bytes) -> Asset:
    media_type = _MEDIA_TYPES[path[path.rindex(".") :]]
    return Asset(content=content, media_type=media_type, etag=f'"{hashlib.sha256(content).hexdigest()[:24]}"')


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif not entry.name.startswith("."):
            yield prefix + entry.name, entry
