"""Making, changing, rotating and revoking API keys; each is one transaction, and counts here at once."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from enginehouse.core.identity.keyring import Keyring
from enginehouse.core.identity.keys import Hasher, Key, key_from, new_id, new_text, row_from
from enginehouse.core.identity.principals import RESERVED_ROLES
from enginehouse.errors import Conflict, InvalidRequest, NotFound, SettingsError
from enginehouse.stores.sql import Database, keys
from enginehouse.types import Allowance, Rates

__all__ = ["Keys", "Wanted"]

_LONGEST = 200
_MOST = 100
_LATEST = 253_402_300_799  # the last second of the year 9999


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a new key shall be, or what shall change of one (then what is left out stays)."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    """For people."""
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    """Whose usage it is; a key for itself when left out."""
    tenant: str | msgspec.UnsetType = msgspec.UNSET
    role: str | msgspec.UnsetType = msgspec.UNSET
    tier: str | msgspec.UnsetType = msgspec.UNSET
    models: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    tags: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    limits: Rates | msgspec.UnsetType = msgspec.UNSET
    budget: Allowance | msgspec.UnsetType | None = msgspec.UNSET
    expires: int | msgspec.UnsetType | None = msgspec.UNSET
    """Seconds since 1970."""

    def given(self) -> dict[str, Any]:
        """What was given."""
        return {
            name: value
            for name in self.__struct_fields__
            if not isinstance(value := getattr(self, name), msgspec.UnsetType)
        }


class Keys:
    """The keys in the database.

    Args:
        keyring: what requests see; told of every change. None where no requests are served.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        hasher: Hasher,
        keyring: Keyring | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._hasher = hasher
        self._keyring = keyring
        self._clock = clock

    async def all(self) -> list[Key]:
        """Every key, the oldest first, also those that have ended."""
        rows = await self._database.read(lambda connection: keys.changed_since(connection, 0))
        return [key_from(row) for row in rows]

    async def get(self, key_id: str) -> Key:
        """One key.

        Raises:
            NotFound: there is none with this id.
        """
        return await self._database.read(partial(_found, key_id))

    async def create(self, wanted: Wanted, by: str) -> tuple[Key, str]:
        """A new key, and its text, which nobody can tell again.

        Args:
            by: the user who made it.

        Raises:
            InvalidRequest: it cannot be so.
            StoreUnavailable: the database is away.
        """
        now, key_id = int(self._clock()), new_id()
        text = new_text(key_id)
        fields: dict[str, Any] = {"user_id": key_id, **wanted.given()}
        _check(fields, now)
        key = Key(id=key_id, digest=self._hasher.digest(text), created=now, created_by=by, **fields)
        return await self._write(lambda _: key, new=True), text

    async def change(self, key_id: str, wanted: Wanted) -> Key:
        """Change what is given.

        Raises:
            NotFound, InvalidRequest, StoreUnavailable: as above.
            Conflict: it is revoked.
        """
        fields = wanted.given()
        _check(fields, int(self._clock()))
        return await self._write(lambda c: msgspec.structs.replace(_living(key_id, c), **fields))

    async def rotate(self, key_id: str, grace: float) -> tuple[Key, str]:
        """A new text for a key; the old one counts for so many seconds more.

        Raises:
            NotFound, Conflict, StoreUnavailable: as above.
        """
        now, text = int(self._clock()), new_text(key_id)

        def rotated(connection: Connection) -> Key:
            key = _living(key_id, connection)
            return msgspec.structs.replace(
                key,
                digest=self._hasher.digest(text),
                old_digest=key.digest if grace else None,
                old_until=now + int(grace) if grace else None,
                rotated=now,
            )

        return await self._write(rotated), text

    async def revoke(self, key_id: str) -> Key:
        """Never again; a key that is revoked already stays as it is.

        Raises:
            NotFound, StoreUnavailable: as above.
        """
        now = int(self._clock())

        def revoked(connection: Connection) -> Key:
            key = _found(key_id, connection)
            return key if key.revoked is not None else msgspec.structs.replace(key, revoked=now)

        return await self._write(revoked)

    async def _write(self, make: Callable[[Connection], Key], *, new: bool = False) -> Key:
        def work(connection: Connection) -> Key:
            # First of all: it makes writers wait for each other, so that none overwrites what it has not seen.
            version, fingerprint = keys.advance(connection, self._hasher.fingerprint)
            if fingerprint != self._hasher.fingerprint:
                raise SettingsError(
                    "The stored keys were hashed with another secret: set auth.key_secret to that one."
                )
            key = msgspec.structs.replace(make(connection), version=version)
            keys.put(connection, row_from(key), new=new)
            return key

        key = await self._database.write(work)
        if self._keyring is not None:
            self._keyring.take([key])
        return key


def _found(key_id: str, connection: Connection) -> Key:
    row = keys.one(connection, key_id)
    if row is None:
        raise NotFound(
            f"There is no key {key_id[:64]!r}. GET /v1/keys and `enginehouse keys list` tell which there are.",
            param="id",
        )
    return key_from(row)


def _living(key_id: str, connection: Connection) -> Key:
    key = _found(key_id, connection)
    if key.revoked is not None:
        raise Conflict(f"The key {key_id!r} is revoked for good; make a new one.", param="id")
    return key


def _check(fields: dict[str, Any], now: int) -> None:
    for name in ("name", "user_id", "tenant", "role", "tier"):
        _check_text(name, fields.get(name, "x"), empty=name in {"name", "tenant"})
    for name in ("models", "tags"):
        values = fields.get(name, ())
        if len(values) > _MOST:
            raise InvalidRequest(f"{name}: at most {_MOST}.", param=name)
        for value in values:
            _check_text(name, value, empty=False)
    if fields.get("role") in RESERVED_ROLES:
        raise InvalidRequest(f"role: {fields['role']!r} is the service's own.", param="role")
    expires = fields.get("expires")
    if expires is not None and not now < expires <= _LATEST:
        raise InvalidRequest("expires_at: it has to be in the future.", param="expires_at")


def _check_text(name: str, value: str, *, empty: bool) -> None:
    if len(value) > _LONGEST or not (value.strip() or empty) or not (value.isprintable()):
        least = 0 if empty else 1
        raise InvalidRequest(f"{name}: {least} to {_LONGEST} printable characters are wanted.", param=name)
