"""Lets requests in as long as their caller's limits allow, here or in a store that replicas share."""

from typing import Protocol

from enginehouse.core.limits.grant import Grant
from enginehouse.core.limits.local import LocalBounds
from enginehouse.core.limits.rules import NO_BOUNDS, Bounds, Rules
from enginehouse.errors import StoreUnavailable
from enginehouse.settings.schema import LimitSettings
from enginehouse.stores.kv import MemoryTallies, Tallies
from enginehouse.types import Principal
from enginehouse.types.ids import random_hex

__all__ = ["Admitted", "Limits", "Shared"]

_MOST = 4096
"""Callers of whom it is remembered where they asked last."""


class Shared(Protocol):
    """The store of `shared` tallies: `stores.kv.RedisStore`."""

    @property
    def up(self) -> bool:
        """Whether it answered when it was last asked."""
        ...


class Limits:
    """Every caller's limits.

    Args:
        settings: what they are, and what counts while the store is away.
        local: counts in this process.
        shared: counts for all replicas; None when there is one only.
        store: where `shared` is.
    """

    def __init__(
        self,
        settings: LimitSettings,
        local: Tallies,
        shared: Tallies | None = None,
        store: Shared | None = None,
    ) -> None:
        self._local = local
        self._shared = shared
        self._store = store
        self._memory = local if shared is None and isinstance(local, MemoryTallies) else None
        """Where everything can be counted without waiting."""
        self.adopt(settings)

    def adopt(self, settings: LimitSettings) -> None:
        """New limits count from the next request on; what was asked before counts on."""
        self._settings = settings
        self._rules = Rules(settings)
        self._latest: dict[int, tuple[Principal, str, LocalBounds | None]] = {}
        """Where callers asked last, by what is cheaper to look up than all that they are; and what `now` said."""

    def covers(self, endpoint: str) -> bool:
        """Whether anything is limited there."""
        return self._rules.covers(endpoint)

    def admit(self, principal: Principal, endpoint: str) -> "Admitted":
        """Let a request in; while the context lasts it counts as running.

        Args:
            endpoint: the path, as the settings name it.

        Raises:
            RateLimitExceeded: not now; when, is in `retry_after`. Nothing was taken.
            StoreUnavailable: the store is away, and the settings want a refusal then.
        """
        return Admitted(self, principal, endpoint)

    async def grant(self, principal: Principal, endpoint: str) -> Grant:
        """The same for who settles the grant itself, however the request ends.

        Raises:
            RateLimitExceeded, StoreUnavailable: as `admit`.
        """
        bounds = self._rules.bounds(principal, endpoint)
        return Grant("", bounds, None) if bounds is NO_BOUNDS else await self._granted(bounds)

    def now(self, principal: Principal, endpoint: str) -> LocalBounds | None:
        """A caller's limits where they can be counted without waiting; None where they are counted elsewhere.

        They are to be taken from in this same step.
        """
        known = self._latest.get(id(principal))
        if known is None or known[0] is not principal or known[1] != endpoint:
            known = self._found(principal, endpoint)
        return known[2]

    def tallies(self, *, here: bool) -> Tallies:
        """Where it is counted: in this process, or where replicas share it, if they do."""
        return self._local if here or self._shared is None else self._shared

    async def ask(self) -> None:
        """How counting goes, for `/health`.

        Raises:
            StoreUnavailable: the store that replicas share is away; the message says what that means.
        """
        if self._store is None or self._store.up:
            return
        if self._settings.on_store_failure == "deny":
            raise StoreUnavailable(
                "Redis is away: requests that are limited are refused (limits.on_store_failure)."
            )
        raise StoreUnavailable("Redis is away: this replica counts limits for itself (limits.on_store_failure).")

    def _found(self, principal: Principal, endpoint: str) -> tuple[Principal, str, LocalBounds | None]:
        """Where a caller asks now, and what `now` says of it."""
        bounds = self._rules.bounds(principal, endpoint) if self._rules.covers(endpoint) else NO_BOUNDS
        here = self._memory is not None or bounds is NO_BOUNDS
        if len(self._latest) >= _MOST:
            self._latest.clear()
        local = LocalBounds(bounds, self._memory) if here else None
        found = self._latest[id(principal)] = principal, endpoint, local
        return found

    async def _granted(self, bounds: Bounds) -> Grant:
        lenient = self._settings.on_store_failure == "local"
        grant = Grant(random_hex(), bounds, self._shared or self._local, lenient=lenient)
        try:
            await grant.take()
        except StoreUnavailable:
            if not lenient:
                raise StoreUnavailable(
                    "Limits cannot be counted, because Redis is away; try again soon.", retry_after=5
                ) from None
            grant = Grant(random_hex(), bounds, self._local)
            await grant.take()
        return grant


class Admitted:
    """A request that counts against its caller's limits, as a context; from `Limits.admit`."""

    def __init__(self, limits: Limits, principal: Principal, endpoint: str) -> None:
        self._limits = limits
        self._asked = principal, endpoint

    async def __aenter__(self) -> Grant:
        self._grant = await self._limits.grant(*self._asked)
        return self._grant

    async def __aexit__(self, *_: object) -> None:
        await self._grant.settle()
