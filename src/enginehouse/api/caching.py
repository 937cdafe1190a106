"""What callers say of the cache in headers."""

from collections.abc import Iterable

from enginehouse.errors import InvalidRequest
from enginehouse.types import Caching

__all__ = ["caching_of"]

_NAMESPACE = b"x-enginehouse-cache-namespace"
_TAGS = b"x-enginehouse-cache-tags"
_LONGEST = 128
_MOST_TAGS = 16
_USUAL = Caching()


def caching_of(headers: Iterable[tuple[bytes, bytes]]) -> Caching:
    """`Cache-Control` (`no-cache`, `no-store`, `max-age`), and the caller's own namespace and tags.

    Raises:
        InvalidRequest: a namespace or tag is too long, or not printable.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name == b"cache-control":
            found[name] = found[name] + b"," + value if name in found else value
        elif name in (_NAMESPACE, _TAGS):
            found[name] = value
    if not found:
        return _USUAL
    control = {part.strip() for part in found.get(b"cache-control", b"").lower().split(b",")}
    max_age = _max_age(control)
    return Caching(
        read=b"no-cache" not in control and max_age != 0,
        write=b"no-store" not in control,
        max_age=max_age,
        namespace=_sane(found.get(_NAMESPACE, b""), "X-Enginehouse-Cache-Namespace"),
        tags=_tags(found.get(_TAGS, b"")),
    )


def _max_age(control: Iterable[bytes]) -> float | None:
    ages = [part.partition(b"=")[2].strip() for part in control if part.startswith(b"max-age")]
    return min((float(age) for age in ages if age.isdigit()), default=None)


def _tags(value: bytes) -> tuple[str, ...]:
    header = "X-Enginehouse-Cache-Tags"
    tags = tuple(_sane(part.strip(), header) for part in value.split(b",") if part.strip())
    if len(tags) > _MOST_TAGS:
        raise InvalidRequest(f"{header} names {len(tags)} tags; {_MOST_TAGS} are possible.", param=header)
    return tags


def _sane(value: bytes, header: str) -> str:
    text = value.decode("latin-1")
    if len(text) > _LONGEST or (text and not text.isprintable()):
        raise InvalidRequest(f"{header} may have {_LONGEST} printable characters.", param=header)
    return text
