"""JSON web tokens: who one says is calling, if it is signed as the settings want it and its time has come.

The settings name one algorithm. A token that says another is refused before anything is computed, and a secret and
a public key are never used for each other, so that neither `none` nor a change of algorithm gets anybody in.
"""

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import jwt
import structlog
from jwt.warnings import InsecureKeyLengthWarning

from enginehouse.core.identity.jwks import KeySet, fetch_from
from enginehouse.core.identity.principals import RESERVED_ROLES
from enginehouse.core.identity.verified import Known, Verified
from enginehouse.errors import MissingCredentials
from enginehouse.settings.schema import AuthSettings
from enginehouse.types import Principal

__all__ = ["Tokens"]

log = structlog.get_logger()

_LONGEST_TEXT = 256
_SHORTEST_SECRET = 32


class Tokens:
    """Reads tokens.

    Args:
        auth: how they are signed and what they have to say.
        key_set: the issuer's public keys, when tokens are signed with them; from `auth.jwks_url` when left out.
        verified: remembers those that were read.
    """

    def __init__(self, auth: AuthSettings, key_set: KeySet | None = None, verified: Verified | None = None) -> None:
        self._auth = auth
        self._verified = verified or Verified()
        self._secret = auth.jwt_secret.get_secret_value() if auth.jwt_secret else None
        if auth.jwks_url and key_set is None:
            fetch = fetch_from(auth.jwks_url)
            key_set = KeySet(fetch, auth.jwt_algorithm, ttl=auth.jwks_ttl, cooldown=auth.jwks_cooldown)
        self._key_set = key_set
        self._short = self._secret is not None and len(self._secret.encode()) < _SHORTEST_SECRET
        if self._short:
            log.warning("jwt_secret_short", hint=f"auth.jwt_secret should have {_SHORTEST_SECRET} bytes or more")

    async def holder(self, text: str) -> Principal:
        """Who the token says is calling.

        Raises:
            MissingCredentials: it is not valid; the message says in which way, and holds nothing of it.
            StoreUnavailable: the issuer's keys could never be had.
        """
        try:
            known = self._verified.find(text)
            if known is not None and await self._key(known.kid) is known.key:
                return known.holder
            return await self._read(text)
        except jwt.PyJWTError as error:
            raise MissingCredentials(_reason(error)) from None
        except (ValueError, TypeError, RecursionError):
            raise MissingCredentials("This token cannot be read.") from None

    def known(self, text: str) -> Principal | None:
        """The same for a token that was verified before, in a moment; None when nobody can tell without asking."""
        known = self._verified.find(text)
        if known is None:
            return None
        key = self._secret if self._key_set is None else self._key_set.current(known.kid)
        return known.holder if key is known.key else None

    async def _read(self, text: str) -> Principal:
        header = jwt.get_unverified_header(text)
        if header.get("alg") != self._auth.jwt_algorithm:
            raise MissingCredentials(f"This token is not signed with {self._auth.jwt_algorithm}.")
        kid = header.get("kid")
        key = await self._key(kid)
        claims = self._claims(text, key)
        holder = _principal(claims)
        until = int(claims["exp"]) + self._auth.jwt_leeway
        self._verified.keep(text, Known(holder, kid, key, until))
        return holder

    async def _key(self, kid: str | None) -> str | jwt.PyJWK:
        if self._key_set is None:
            assert self._secret is not None, "tokens are read without a key to check them with"
            return self._secret
        key = await self._key_set.key(kid)
        if key is None:
            raise MissingCredentials("This token is signed with a key that its issuer does not publish.")
        return key

    def _claims(self, text: str, key: str | jwt.PyJWK) -> dict[str, Any]:
        auth = self._auth
        with warnings.catch_warnings() if self._short else nullcontext():
            if self._short:
                warnings.simplefilter("ignore", InsecureKeyLengthWarning)  # told once, at the start
            return jwt.decode(
                text,
                key,
                algorithms=[auth.jwt_algorithm],
                audience=auth.jwt_audience,
                issuer=auth.jwt_issuer,
                leeway=auth.jwt_leeway,
                options={"require": ["sub", "exp"]},
            )


def _principal(claims: dict[str, Any]) -> Principal:
    role = _text(claims, "role", "user")
    if role in RESERVED_ROLES:
        raise MissingCredentials("This token claims a role that is the service's own.")
    return Principal(
        user=_text(claims, "sub", ""),
        role=role,
        tier=_text(claims, "tier", "standard"),
        tenant=_text(claims, "tenant", ""),
    )


def _text(claims: dict[str, Any], name: str, default: str) -> str:
    value = claims.get(name, default)
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise MissingCredentials(f"This token's {name!r} is no text, or a very long one.")
    if name == "sub" and not value.strip():
        raise MissingCredentials("This token does not say whose it is.")
    return value or default


_REASONS: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "This token has expired.",
    jwt.ImmatureSignatureError: "This token is not valid yet.",
    jwt.InvalidAudienceError: "This token is for somebody else (its `aud`).",
    jwt.InvalidIssuerError: "This token is from somebody else (its `iss`).",
    jwt.MissingRequiredClaimError: "This token lacks `sub`, `exp`, or a claim that the settings want.",
    jwt.InvalidSignatureError: "This token's signature is wrong.",
}


def _reason(error: jwt.PyJWTError) -> str:
    return _REASONS.get(type(error), "This token is not valid.")
