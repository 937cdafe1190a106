"""Images as the dialects carry them: `data:` URLs, base64 with a media type, base64 alone."""

import base64
import binascii

from enginehouse.errors import InvalidRequest
from enginehouse.types.generation import Image, Json

__all__ = ["bare_image", "image_at", "url_of"]

_MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def image_at(url: str, *, at: str, detail: str | None = None, extra: Json | None = None) -> Image:
    """An image from a URL; a `data:` URL is taken apart.

    Raises:
        InvalidRequest: neither http(s) nor a base64 `data:` URL.
    """
    if url.startswith("data:"):
        head, comma, data = url[5:].partition(",")
        media_type, semicolon, _ = head.partition(";base64")
        if not comma or not semicolon:
            raise InvalidRequest(f"{at}: a data: URL has to be 'data:<media type>;base64,<data>'.", param=at)
        return Image(data=_checked(data, at), media_type=media_type, detail=detail, extra=extra or {})
    if not url.startswith(("https://", "http://")):
        raise InvalidRequest(f"{at}: an image is given as an http(s) URL or as a base64 data: URL.", param=at)
    return Image(url=url, detail=detail, extra=extra or {})


def bare_image(data: str, *, at: str) -> Image:
    """An image from base64 alone: its first bytes say what it is."""
    start = base64.b64decode(_checked(data, at)[:16])
    media_type = next((name for magic, name in _MAGIC if start.startswith(magic)), "image/png")
    return Image(data=data, media_type=media_type)


def url_of(image: Image) -> str:
    """The URL that holds or names an image."""
    return image.url if image.url is not None else f"data:{image.media_type};base64,{image.data}"


def _checked(data: str, at: str) -> str:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{at}: not valid base64.", param=at) from None
    return data
