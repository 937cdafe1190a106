"""The public keys of whoever signs tokens, fetched when they are wanted and kept for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import aiohttp
import jwt
import msgspec
import structlog

from enginehouse.errors import StoreUnavailable

__all__ = ["KeySet", "fetch_from"]

log = structlog.get_logger()

_SECONDS = 5.0
_MOST_BYTES = 1 << 20
_TYPES = {"RS256": "RSA", "ES256": "EC"}

Fetch = Callable[[], Awaitable[bytes]]
"""The document; raises OSError, TimeoutError or aiohttp.ClientError when it cannot be had."""


class KeySet:
    """The keys of one issuer for one algorithm.

    Args:
        fetch: gets the document.
        algorithm: RS256 or ES256; keys for anything else are left out, whatever they say of themselves.
        ttl: seconds after which they are fetched again.
        cooldown: seconds between two fetches, however many tokens name keys that nobody knows.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        fetch: Fetch,
        algorithm: str,
        *,
        ttl: float,
        cooldown: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._algorithm = algorithm
        self._ttl = ttl
        self._cooldown = cooldown
        self._clock = clock
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._fetching = asyncio.Lock()

    async def key(self, kid: str | None) -> jwt.PyJWK | None:
        """The key with this id; None when the issuer has none of it. A token without an id may use an only key.

        Raises:
            StoreUnavailable: the issuer's keys could never be had.
        """
        if (key := self.current(kid)) is not None:
            return key
        await self._renew(kid)
        if self._fetched is None:
            raise StoreUnavailable(
                "The keys that tokens are checked with cannot be had.", retry_after=self._cooldown
            )
        return self._named(kid)

    def current(self, kid: str | None) -> jwt.PyJWK | None:
        """The same where nothing has to be fetched for it, else None."""
        return None if self._stale() else self._named(kid)

    def _named(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _stale(self) -> bool:
        return self._fetched is None or self._clock() - self._fetched >= self._ttl

    async def _renew(self, kid: str | None) -> None:
        """One fetch for all who wait, and none before the last one has cooled down."""
        async with self._fetching:
            if not self._stale() and self._named(kid) is not None:
                return
            now = self._clock()
            if self._tried is not None and now - self._tried < self._cooldown:
                return
            self._tried = now
            try:
                self._keys = _read(await self._fetch(), self._algorithm)
                self._fetched = now
            except (OSError, TimeoutError, aiohttp.ClientError, msgspec.MsgspecError) as error:
                log.warning("jwks_not_fetched", error=type(error).__name__, known=len(self._keys))


class _Document(msgspec.Struct):
    keys: list[dict[str, Any]]


def _read(document: bytes, algorithm: str) -> dict[str | None, jwt.PyJWK]:
    """The keys that may sign with this algorithm; what cannot be read is left out."""
    found: dict[str | None, jwt.PyJWK] = {}
    for entry in msgspec.json.decode(document, type=_Document).keys:
        if entry.get("kty") != _TYPES[algorithm] or entry.get("use", "sig") != "sig":
            continue
        if entry.get("alg", algorithm) != algorithm or entry.get("crv", "P-256") != "P-256":
            continue
        try:
            found[cast("str | None", entry.get("kid"))] = jwt.PyJWK(entry, algorithm)
        except (jwt.PyJWTError, ValueError) as error:
            log.warning("jwks_key_left_out", kid=str(entry.get("kid"))[:64], error=type(error).__name__)
    return found


def fetch_from(url: str) -> Fetch:
    """Gets the document from an address: no redirects, five seconds and a mebibyte at most."""

    async def fetch() -> bytes:
        limits = aiohttp.ClientTimeout(total=_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=limits, cookie_jar=aiohttp.DummyCookieJar(), trust_env=True) as session,
            session.get(url, allow_redirects=False, raise_for_status=True) as answer,
        ):
            document = await answer.content.read(_MOST_BYTES)
            if answer.status != 200 or not answer.content.at_eof():
                raise OSError("no document of keys")
            return document

    return fetch
