"""Where the service may be reached without a key: on loopback only, and there not from other people's web pages."""

from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from enginehouse.errors import PermissionDenied, SettingsError
from enginehouse.settings.schema import AuthSettings, ServerSettings

__all__ = ["check_exposure", "check_origin", "check_page", "is_loopback"]


def check_exposure(server: ServerSettings, auth: AuthSettings) -> None:
    """Refuse to listen where strangers are without asking who they are.

    Raises:
        SettingsError: not a loopback address, and no key is set; or the way tokens are signed makes no sense.
    """
    _check_tokens(auth)
    if auth.api_keys or auth.jwt_secret or auth.jwks_url or is_loopback(server.host):
        return
    raise SettingsError(
        f"server.host is {server.host!r}, which others can reach, but no key is set. Set auth.api_keys "
        "(or API_KEY in the environment), or listen on 127.0.0.1."
    )


def check_page(origin: str | None, host: str | None, allowed: Collection[str]) -> None:
    """Without keys, a web page of somebody else must not act through its reader's browser.

    Args:
        origin: the `Origin` header, which browsers send with what a page asks.
        host: the `Host` header: under a foreign name a page reaches us when its name was made to point here.
        allowed: origins that may.

    Raises:
        PermissionDenied: it is somebody else's page.
    """
    if host is not None and not _is_ours(f"//{host}"):
        raise PermissionDenied(
            "Without a key this service answers under a loopback name only. Ask http://127.0.0.1, or set "
            "auth.api_keys."
        )
    if origin is None or origin in allowed or "*" in allowed or _is_ours(origin):
        return
    raise PermissionDenied(
        "This web page may not call here. Add its origin to server.cors_origins, or set auth.api_keys."
    )


def check_origin(origin: str | None, host: str | None, allowed: Collection[str]) -> None:
    """A WebSocket is for our own pages and for those that `server.cors_origins` names: browsers let every page open
    one.

    Args:
        origin, host, allowed: as for `check_page`.

    Raises:
        PermissionDenied: it is somebody else's page.
    """
    if origin is None or origin in allowed or "*" in allowed or (host and _address(origin) == host.lower()):
        return
    raise PermissionDenied("This web page may not open a WebSocket here. Add its origin to server.cors_origins.")


def _address(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _check_tokens(auth: AuthSettings) -> None:
    symmetric = auth.jwt_algorithm.startswith("HS")
    if auth.jwt_secret and not symmetric:
        raise SettingsError(
            f"auth.jwt_algorithm is {auth.jwt_algorithm}, whose tokens are checked with public keys: set "
            "auth.jwks_url and take auth.jwt_secret away, or sign with HS256."
        )
    if auth.jwks_url and symmetric:
        raise SettingsError(
            f"auth.jwks_url holds public keys, but auth.jwt_algorithm is {auth.jwt_algorithm}: set it to RS256 or "
            "ES256."
        )


@lru_cache(maxsize=64)
def _is_ours(address: str) -> bool:
    """Whether an address is on this machine; every request asks, and few addresses are asked for."""
    try:
        return is_loopback(urlsplit(address).hostname or "")
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
