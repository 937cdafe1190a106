"""Whose answers a caller may have, and the keyed digests under which they are kept.

Who has the store alone can neither try questions nor see that two tenants asked the same. What is equal in a digest
is equal in everything that may change an answer: there is no list of fields to compare, and none to forget.
"""

import hmac
from typing import Any

import msgspec
from msgspec import Struct

from enginehouse.core.cache.questions import Question
from enginehouse.core.cache.types import Scope
from enginehouse.settings.schema import CacheSettings
from enginehouse.types import Model, Operation, Principal, Request
from enginehouse.types.keyed import Keyed, brief

__all__ = ["SIZE", "Place", "Places", "Scopes"]

_PURPOSE = b"enginehouse: cache of answers"
_VERSION = 1
"""Of all that makes up a digest: what an older version kept is not found by a newer one."""
_MOST_KNOWN = 4096
"""Bounds that are remembered; then all are forgotten, and made anew by who asks."""
SIZE = 16
"""Bytes of a digest."""


class Place(Struct, frozen=True):
    """Where answers to one question may lie for some callers."""

    key: bytes
    """Of the whole question."""
    bounds: bytes
    """What is equal for all answers here, beside the question: digests of it are made with these."""
    shared: bool


class Places(Struct, frozen=True, kw_only=True):
    """All of them for one request."""

    own: Place
    """Which its writer alone can read; a trusted tenant's is the same as `team`."""
    team: Place | None = None
    """Which the whole tenant can read."""
    claims: bytes = b""
    """Key under which it is noted who has said what, as long as no second writer has said the same."""


class Scopes:
    """Makes digests.

    Args:
        secret: the service's own; the digests' key is derived from it.
        settings: who shares with whom.
    """

    def __init__(self, secret: bytes, settings: CacheSettings) -> None:
        self._key = hmac.digest(secret, _PURPOSE, "sha256")
        self._models: dict[str, tuple[Model, bytes]] = {}
        self._known: dict[tuple[object, ...], _Bounds] = {}
        self.adopt(settings)

    def adopt(self, settings: CacheSettings) -> None:
        """Counts from the next request on."""
        self._settings = settings
        self._tenants = {tenant.id: tenant for tenant in settings.tenants}
        self._known.clear()

    def places(self, request: Request, model: Model, question: Question) -> Places | None:
        """Where its answer may lie; None when it has no canonical form."""
        principal = request.principal
        sharing = self._sharing(principal)
        shared = sharing == "tenant"
        canonical = question.canonical(shared=shared)
        if not canonical:
            return None
        asked = brief(canonical)

        def place(*whose: str) -> Place:
            bounds = self._bounds(principal, model, _asked(request, question.family), whose)
            return Place(bounds.keys.digest(asked)[:SIZE], bounds.written, shared)

        if not shared:
            return Places(own=place(*_whose(principal, sharing)))
        team, tenant = place("tenant"), self._tenants.get(principal.tenant)
        if tenant is not None and tenant.trusted:
            return Places(own=team)
        claims = self._digest(b"claims", team.bounds, canonical)
        return Places(own=place("member", principal.user), team=team, claims=claims)

    def keys(self, principal: Principal, model: Model, family: str, operation: Operation) -> Keyed | None:
        """What makes the keys of this caller's own places, of canonical forms in `brief`.

        None where answers are shared: then there is more than one place.
        """
        sharing = self._sharing(principal)
        if sharing == "tenant":
            return None
        return self._bounds(principal, model, (family, operation.value, ""), _whose(principal, sharing)).keys

    def apart(self, place: Place, question: Question) -> tuple[Scope, str] | None:
        """The scope within which others may mean the same, and the words to compare."""
        found = question.apart(shared=place.shared)
        return None if found is None else (self._digest(b"scope", place.bounds, found[0]), found[1])

    def _sharing(self, principal: Principal) -> str:
        """By whose rules: the tenant's, or all tenants'; who has no tenant shares with nobody."""
        tenant = self._tenants.get(principal.tenant) if principal.tenant else None
        sharing = tenant.sharing if tenant is not None and tenant.sharing is not None else self._settings.sharing
        return "user" if sharing == "tenant" and not principal.tenant else sharing

    def _bounds(
        self, principal: Principal, model: Model, asked: tuple[str, str, str], whose: tuple[str, ...]
    ) -> "_Bounds":
        """All that has to be equal beside the question; most callers ask more than once.

        Args:
            asked: family, operation and namespace.
        """
        name = (principal.tenant, whose, asked, model.id)
        known = self._known.get(name)
        if known is None or known.model is not model:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[name] = self._made(principal, model, asked, whose)
        return known

    def _made(
        self, principal: Principal, model: Model, asked: tuple[str, str, str], whose: tuple[str, ...]
    ) -> "_Bounds":
        settings = self._settings
        tenant = self._tenants.get(principal.tenant)
        epochs = (settings.epoch, settings.epochs.get(model.id, ""), "" if tenant is None else tenant.epoch)
        written = _written((_VERSION, principal.tenant, whose, *asked, epochs)) + self._print(model)
        return _Bounds(model, written, Keyed(self._key, _marked(b"exact", written)))

    def _digest(self, kind: bytes, bounds: bytes, asked: bytes) -> bytes:
        return hmac.digest(self._key, _marked(kind, bounds) + asked, "sha256")[:SIZE]

    def _print(self, model: Model) -> bytes:
        """What of a model may change its answers: its version, its files, its flags, where it is asked."""
        known = self._models.get(model.id)
        if known is None or known[0] is not model:
            known = self._models[model.id] = (model, self._digest(b"model", b"", _written(_essence(model))))
        return known[1]


class _Bounds(Struct, frozen=True):
    model: Model
    written: bytes
    keys: Keyed
    """Makes keys of canonical forms in `brief`."""


def _marked(kind: bytes, bounds: bytes) -> bytes:
    """What a digest begins with; the length keeps the parts apart."""
    return b"%s %d " % (kind, len(bounds)) + bounds


def _asked(request: Request, family: str) -> tuple[str, str, str]:
    return family, request.operation.value, request.caching.namespace


def _whose(principal: Principal, sharing: str) -> tuple[str, ...]:
    """Of those who share with nobody: all of a user's keys have one place, or each its own."""
    by_key = ("key", principal.key) if sharing == "key" and principal.key else ("user",)
    return (*by_key, principal.user)


def _essence(model: Model) -> list[Any]:
    places = [
        (
            *(place.engine.value, place.source, place.sha256, place.flags, place.context_length),
            *(place.base_url, place.upstream_model, place.defaults),
        )
        for place in model.deployments
    ]
    return [model.id, model.version, *places]


_written = msgspec.json.Encoder(order="sorted").encode
