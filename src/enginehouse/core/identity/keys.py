"""An API key: what it looks like, what is kept of it, and how one that is shown is compared.

`eh_ID_SECRET`: the id may be seen by anybody, the secret is 256 random bits. Only an HMAC-SHA256 of the whole key
is kept, made with a secret of the service's own, so that a stolen database opens nothing and cannot be searched.
"""

import hmac
import math
import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from enginehouse.types import Allowance, Principal, Rates

__all__ = ["Hasher", "Key", "id_of", "key_from", "new_id", "new_text", "row_from"]

_SHAPE = re.compile(r"eh_([a-z2-7]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_JSON = ("models", "tags", "limits", "budget")


class Key(Struct, frozen=True, kw_only=True):
    """What is kept of a key; times are seconds since 1970."""

    id: str
    digest: str
    old_digest: str | None = None
    """That of the key before the last rotation."""
    old_until: int | None = None
    """Until when the old one counts."""
    name: str = ""
    user_id: str
    tenant: str = ""
    role: str = "user"
    tier: str = "standard"
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    limits: Rates = Rates()
    budget: Allowance | None = None
    created: int
    created_by: str = ""
    expires: int | None = None
    revoked: int | None = None
    rotated: int | None = None
    version: int = 0
    """Of all keys, when this one last changed."""

    @property
    def prefix(self) -> str:
        """What may be shown of it."""
        return f"eh_{self.id}_…"

    def status(self, now: float) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"

    def next_change(self, now: float) -> float:
        """When time alone changes what it opens, or what was it before: seconds since 1970, after now."""
        return min([at for at in (self.expires, self.old_until) if at is not None and at > now], default=math.inf)

    def principal(self) -> Principal:
        """Who holds it."""
        return Principal(
            user=self.user_id,
            role=self.role,
            tier=self.tier,
            tenant=self.tenant,
            key=self.id,
            tags=self.tags,
            models=self.models,
            limits=self.limits,
            budget=self.budget,
        )


class Hasher:
    """Makes and compares digests.

    Args:
        secret: the service's own.
    """

    def __init__(self, secret: bytes) -> None:
        self._keyed = hmac.new(secret, digestmod="sha256")
        self.fingerprint = self.digest("fingerprint of the secret")[:16]
        """Tells one secret from another, and nothing else."""

    def digest(self, text: str) -> str:
        """What is kept of a key, in hex."""
        mac = self._keyed.copy()  # the secret has been worked in already, and no other thread gets its turn
        mac.update(text.encode())
        return mac.hexdigest()

    def fits(self, text: str, key: Key | None, now: float) -> bool:
        """Whether this is the key, or the one before it in its time of grace.

        Both comparisons are always made, in constant time, and for an id that is not known as well: how long it
        takes tells nothing of what is kept.
        """
        given = self.digest(text)
        in_grace = key is not None and key.old_until is not None and now < key.old_until
        current = key.digest if key else _NOBODY
        former = key.old_digest or _NOBODY if key and in_grace else _NOBODY
        return hmac.compare_digest(given, current) | hmac.compare_digest(given, former)


_NOBODY = "-" * 64
"""No digest is ever this: it is no hex."""


def new_id() -> str:
    """A new key's id: 60 random bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(12))


def new_text(key_id: str) -> str:
    """A new key with this id; shown once, to whoever asked for it."""
    return f"eh_{key_id}_{secrets.token_urlsafe(32)}"


def id_of(text: str) -> str | None:
    """The id in what looks like a key of ours."""
    found = _SHAPE.fullmatch(text)
    return found[1] if found else None


def row_from(key: Key) -> dict[str, Any]:
    """The key as columns."""
    row = {name: getattr(key, name) for name in Key.__struct_fields__}
    return {**row, **{name: msgspec.json.encode(row[name]).decode() for name in _JSON}}


def key_from(row: Mapping[str, Any]) -> Key:
    """The key that was made a row of."""
    fields = {
        name: msgspec.json.decode(row[name]) if name in _JSON else row[name] for name in Key.__struct_fields__
    }
    return msgspec.convert(fields, Key)
