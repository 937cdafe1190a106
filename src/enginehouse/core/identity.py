"""Identity: who is calling, and whether the service may be reachable at all without asking that."""

import hmac
from ipaddress import ip_address

from enginehouse.errors import MissingCredentials, PermissionDenied, SettingsError
from enginehouse.settings.schema import AuthSettings, ServerSettings
from enginehouse.types import Principal

__all__ = ["SERVICE", "Identity", "check_exposure", "require_admin"]

LOCAL = Principal(user="local", role="admin", tier="admin")
SERVICE = Principal(user="enginehouse", role="service", tier="internal")
"""The service itself: its requests are real ones, but nobody's use of a model."""
KEYHOLDER = Principal(user="admin", role="admin", tier="admin")


class Identity:
    """Turns credentials into a principal.

    Args:
        auth: the configured keys; with none of them every caller is the user `local` with role admin, which
            `check_exposure` allows on loopback only.
    """

    def __init__(self, auth: AuthSettings) -> None:
        self._keys = tuple(key.get_secret_value().encode() for key in auth.api_keys)
        self._open = not self._keys and auth.jwt_secret is None

    def principal(self, authorization: str | None, api_key: str | None) -> Principal:
        """Who holds these credentials.

        Args:
            authorization: the `Authorization` header.
            api_key: the `X-API-Key` header.

        Raises:
            MissingCredentials: none were sent, or nobody has them.
        """
        if self._open:
            return LOCAL
        given = (api_key or _bearer(authorization) or "").encode()
        if not given:
            raise MissingCredentials("Send your key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.")
        # Every key is compared, so that the time does not tell which one came near.
        if not any([hmac.compare_digest(given, key) for key in self._keys]):  # noqa: C419
            raise MissingCredentials("This key is not known here.")
        return KEYHOLDER


def require_admin(principal: Principal) -> None:
    """Management is for admins.

    Raises:
        PermissionDenied: the caller is not one.
    """
    if principal.role != "admin":
        raise PermissionDenied("This wants the role 'admin'.")


def check_exposure(server: ServerSettings, auth: AuthSettings) -> None:
    """Refuse to listen where strangers are without asking who they are.

    Raises:
        SettingsError: not a loopback address, and no key is set.
    """
    if auth.api_keys or auth.jwt_secret or _is_loopback(server.host):
        return
    raise SettingsError(
        f"server.host is {server.host!r}, which others can reach, but no key is set. Set auth.api_keys "
        "(or API_KEY in the environment), or listen on 127.0.0.1."
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
