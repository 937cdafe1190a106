"""Turns credentials into a principal: keys of the settings, stored keys, tokens, in this order."""

import hmac
from typing import TYPE_CHECKING

from enginehouse.core.identity.keyring import Keyring
from enginehouse.core.identity.principals import KEYHOLDER, LOCAL
from enginehouse.errors import MissingCredentials
from enginehouse.settings.schema import AuthSettings
from enginehouse.types import Principal

if TYPE_CHECKING:
    from enginehouse.core.identity.tokens import Tokens

__all__ = ["Identity"]

_LONGEST = 8192
"""Bytes of credentials beyond which nobody looks at them."""


class Identity:
    """Who is calling.

    Args:
        auth: the configured keys; with none of them, and no stored key, every caller is the user `local` with role
            admin, which `check_exposure` allows on loopback only.
        keyring: the stored keys.
    """

    def __init__(self, auth: AuthSettings, keyring: Keyring | None = None) -> None:
        self._keyring = keyring
        self.adopt(auth)

    def adopt(self, auth: AuthSettings, tokens: "Tokens | None" = None) -> None:
        """New settings count from the next request on."""
        self._keys = tuple(key.get_secret_value().encode() for key in auth.api_keys)
        wants_tokens = auth.jwt_secret is not None or auth.jwks_url is not None
        self._tokens = tokens or (_tokens(auth) if wants_tokens else None)
        self._locked = bool(self._keys) or wants_tokens
        if self._keyring is not None:
            self._keyring.offline = auth.key_offline

    @property
    def open(self) -> bool:
        """Whether nobody is asked for a key, because there is none."""
        return not self._locked and (self._keyring is None or self._keyring.empty)

    async def principal(self, authorization: str | None, api_key: str | None) -> Principal:
        """Who holds these credentials.

        Args:
            authorization: the `Authorization` header.
            api_key: the `X-API-Key` header.

        Raises:
            MissingCredentials: none were sent, or nobody has them.
            StoreUnavailable: what is needed to tell has been away for too long.
        """
        if self.open:
            return LOCAL
        given = api_key or _bearer(authorization) or ""
        if not given:
            raise MissingCredentials("Send your key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.")
        if len(given) > _LONGEST:
            raise MissingCredentials("These credentials are too long.")
        if self._is_configured(given.encode()):
            return KEYHOLDER
        if self._keyring is not None and (holder := self._keyring.holder(given)) is not None:
            return holder
        if self._tokens is not None and _looks_like_token(given):
            return await self._tokens.holder(given)
        raise MissingCredentials("This key is not known here.")

    def known(self, authorization: bytes | None, api_key: bytes | None) -> Principal | None:
        """The same where what is in memory tells it at once; None says nothing, and `principal` has to be asked.

        As long as nothing has changed it is the very same object each time.
        """
        if self.open:
            return LOCAL
        given = api_key or _bearer_bytes(authorization)
        if not given or len(given) > _LONGEST or not given.isascii():
            return None
        if self._keys and self._is_configured(given):
            return KEYHOLDER
        if self._keyring is not None and (holder := self._keyring.known(given)) is not None:
            return holder
        if self._tokens is not None and given.count(b".") == 2:
            return self._tokens.known(given.decode())
        return None

    def _is_configured(self, given: bytes) -> bool:
        """Whether it is a key of the settings. Every one is compared: the time does not tell which came near."""
        found = False
        for key in self._keys:
            found |= hmac.compare_digest(given, key)
        return found


def _tokens(auth: AuthSettings) -> "Tokens":
    from enginehouse.core.identity.tokens import Tokens  # 13 MB of cryptography that only users of tokens need

    return Tokens(auth)


def _looks_like_token(text: str) -> bool:
    """Whether it has a token's three parts."""
    return text.count(".") == 2


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else None


def _bearer_bytes(authorization: bytes | None) -> bytes:
    if authorization is None:
        return b""
    scheme = authorization[:7]
    if scheme != b"Bearer " and scheme.lower() != b"bearer ":
        return b""
    return authorization[7:].strip(b" ")
