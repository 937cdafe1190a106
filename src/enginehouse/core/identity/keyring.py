"""The stored keys as every request sees them: in memory, renewed twice a second, so that none waits for a store.

What changes here counts at once; what changes elsewhere, a revocation above all, counts within a second. While the
database is away the keys that are known go on, for as long as the settings say.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from hashlib import blake2b

import structlog
from msgspec import Struct

from enginehouse.core.identity.keys import Hasher, Key, id_of, key_from
from enginehouse.errors import SettingsError, StoreError, StoreUnavailable
from enginehouse.stores.sql import Database, keys
from enginehouse.types import Principal

__all__ = ["Keyring"]

log = structlog.get_logger()

_LOOK = 0.4
"""Seconds between two looks; with the look itself less than a second."""
_MOST = 4096
"""Keys that are remembered as shown."""


class _Shown(Struct, frozen=True):
    """A key that was shown, and found right."""

    holder: Principal
    until: float
    """Seconds since 1970, from which on it has to be looked at anew."""


class Keyring:
    """All keys by id.

    Args:
        database: where they are kept.
        hasher: compares them.
        offline: seconds for which they are believed while the database is away.
        clock: seconds since 1970.
    """

    def __init__(
        self, database: Database, hasher: Hasher, *, offline: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.offline = offline
        self.hasher = hasher
        self._database = database
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._principals: dict[str, Principal] = {}
        self._shown: dict[bytes, _Shown] = {}
        """By a digest of the whole text that only this process can make."""
        self._keyed = blake2b(key=secrets.token_bytes(), digest_size=16)
        self._version = 0
        self._looked = clock()
        self._away = False

    @property
    def empty(self) -> bool:
        """Whether there never was a key. One that is revoked still says that keys are wanted here."""
        return not self._keys

    def holder(self, text: str) -> Principal | None:
        """Who holds this key; None when it is none, expired or revoked.

        Raises:
            StoreUnavailable: the database has been away for so long that a revocation may have been missed.
        """
        key_id = id_of(text)
        if key_id is None:
            return None
        now, key = self._clock(), self._keys.get(key_id)
        if not self.hasher.fits(text, key, now) or key is None or key.status(now) != "active":
            return None
        if not self._believed(now):
            raise StoreUnavailable("The database of keys has been away for too long.", retry_after=5)
        holder = self._principals[key_id]
        self._remember(text.encode(), _Shown(holder, key.next_change(now)))
        return holder

    def known(self, given: bytes) -> Principal | None:
        """The same for a key that was shown before, in a moment; None when nobody can tell without looking."""
        shown = self._shown.get(self._digest(given))
        if shown is None:
            return None
        now = self._clock()
        return shown.holder if now < shown.until and self._believed(now) else None

    def name_of(self, key_id: str) -> str:
        """What people call this key; empty when nobody knows it, or it has no name."""
        key = self._keys.get(key_id)
        return "" if key is None else key.name

    async def look(self) -> None:
        """Take over what has changed.

        Raises:
            StoreUnavailable, StoreError: the database cannot be asked.
            SettingsError: the stored keys were made with another secret.
        """
        began = self._clock()
        version, fingerprint = await self._database.read(keys.state)
        if fingerprint and fingerprint != self.hasher.fingerprint:
            raise SettingsError(
                "The stored keys were hashed with another secret. Set auth.key_secret to that one, or restore "
                "keys.secret in the data directory."
            )
        if version < self._version:  # an older database was restored
            self._forget()
        if version != self._version:
            known = self._version
            self.take(key_from(row) for row in await self._database.read(lambda c: keys.changed_since(c, known)))
            self._version = version
        self._looked = began

    def take(self, changed: Iterable[Key]) -> None:
        """These keys count from now on as they are here."""
        self._shown.clear()
        for key in changed:
            known = self._keys.get(key.id)
            if known is None or known.version <= key.version:
                self._keys[key.id] = key
                self._principals[key.id] = key.principal()

    async def run(self) -> None:
        """Look again and again; a database that is away is logged once."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                await self.look()
            except (StoreError, SettingsError) as error:
                if not self._away:
                    log.warning("keys_not_renewed", error=error.message)
                self._away = True
            except Exception:
                log.exception("keys_not_renewed")
            else:
                self._away = False

    def _believed(self, now: float) -> bool:
        """Whether a revocation would have been heard of."""
        return now - self._looked <= max(self.offline, 2 * _LOOK)

    def _remember(self, given: bytes, shown: _Shown) -> None:
        if len(self._shown) >= _MOST:
            self._shown.clear()
        self._shown[self._digest(given)] = shown

    def _digest(self, given: bytes) -> bytes:
        made = self._keyed.copy()
        made.update(given)
        return made.digest()

    def _forget(self) -> None:
        self._keys.clear()
        self._principals.clear()
        self._version = 0
