"""Lets requests in as long as their caller's limits allow, here or in a store that replicas share."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from secrets import token_hex
from typing import Protocol

from enginehouse.core.limits.grant import Grant
from enginehouse.core.limits.rules import Rule, Rules
from enginehouse.errors import StoreUnavailable
from enginehouse.settings.schema import LimitSettings
from enginehouse.stores.kv import Tallies
from enginehouse.types import Principal

__all__ = ["Limits", "Shared"]


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
        self.adopt(settings)

    def adopt(self, settings: LimitSettings) -> None:
        """New limits count from the next request on; what was asked before counts on."""
        self._settings = settings
        self._rules = Rules(settings)

    def covers(self, endpoint: str) -> bool:
        """Whether anything is limited there."""
        return self._rules.covers(endpoint)

    def admit(self, principal: Principal, endpoint: str) -> AbstractAsyncContextManager[Grant]:
        """Let a request in; while the context lasts it counts as running.

        Args:
            endpoint: the path, as the settings name it.

        Raises:
            RateLimitExceeded: not now; when, is in `retry_after`. Nothing was taken.
            StoreUnavailable: the store is away, and the settings want a refusal then.
        """
        rules = self._rules.of(principal, endpoint)
        return self._running(rules) if rules else nullcontext(Grant("", (), None))

    @asynccontextmanager
    async def _running(self, rules: Sequence[Rule]) -> AsyncGenerator[Grant]:
        grant = await self._granted(rules)
        try:
            yield grant
        finally:
            await grant.settle()

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

    async def _granted(self, rules: Sequence[Rule]) -> Grant:
        lenient = self._settings.on_store_failure == "local"
        grant = Grant(token_hex(16), rules, self._shared or self._local, lenient=lenient)
        try:
            await grant.take()
        except StoreUnavailable:
            if not lenient:
                raise StoreUnavailable(
                    "Limits cannot be counted, because Redis is away; try again soon.", retry_after=5
                ) from None
            grant = Grant(token_hex(16), rules, self._local)
            await grant.take()
        return grant
