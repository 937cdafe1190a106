"""What the front door does whatever the route: reads credentials, and tells browsers what they have to heed."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import parse_qs

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from enginehouse.api.wire import Message, Scope, Send
from enginehouse.errors import MissingCredentials

__all__ = [
    "SECURITY_HEADERS",
    "common_headers",
    "credentials",
    "for_browsers",
    "is_public",
    "tagged",
    "token_of_socket",
]

PUBLIC = frozenset(
    {"/", "/ping", "/health", "/ready", "/docs", "/redoc", "/openapi.json", "/favicon.ico", "/console"}
)
"""What may be read without a key."""
_PUBLIC_FOLDERS = ("/static-offline-docs/", "/console/")

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NAMES: Mapping[bytes, str] = MappingProxyType({b"authorization": "Authorization", b"x-api-key": "X-API-Key"})
_EXPOSED = (
    "X-Request-ID",
    "Server-Timing",
    "Retry-After",
    "X-Enginehouse-Model",
    "X-Enginehouse-Cache",
    "Age",
    *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
)


def is_public(path: str) -> bool:
    """Whether anybody may read it."""
    return path in PUBLIC or path.startswith(_PUBLIC_FOLDERS)


def credentials(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str | None, str | None]:
    """The `Authorization` and `X-API-Key` headers.

    Raises:
        MissingCredentials: one of them comes twice. Whoever stands before us may have read the other one.
    """
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in _NAMES:
            if name in found:
                raise MissingCredentials(f"Send the {_NAMES[name]} header once.")
            found[name] = value.decode("latin-1")
    return found.get(b"authorization"), found.get(b"x-api-key")


def token_of_socket(scope: Scope) -> str | None:
    """The `?token=` of a WebSocket: browsers cannot give it headers."""
    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
    return values[0] if len(values) == 1 else None


def common_headers(request_id: str) -> list[tuple[bytes, bytes]]:
    """What every answer carries: its request's id, and what browsers have to be told."""
    return [(b"x-request-id", request_id.encode("latin-1")), *SECURITY_HEADERS]


def tagged(send: Send, headers: Sequence[tuple[bytes, bytes]]) -> Send:
    """Every answer carries these headers, as they are when it begins."""

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *headers]
        await send(message)

    return tell


def for_browsers(app: ASGIApp, origins: Iterable[str]) -> ASGIApp:
    """The application, for pages of these origins as well; as it is when there are none.

    Credentials of the browser's own (cookies) are never asked for: a page has to hold a key.
    """
    allowed = list(origins)
    if not allowed:
        return app
    return CORSMiddleware(
        app,
        allow_origins=allowed,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
        max_age=600,
    )
