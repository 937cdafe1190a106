"""What stands before every request: who is calling, how much they may ask, and a note of what they change."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from enginehouse.core.audit import Audit
from enginehouse.core.identity import Identity
from enginehouse.core.identity.keyring import Keyring
from enginehouse.core.identity.keys import Hasher
from enginehouse.core.identity.management import Keys
from enginehouse.core.identity.secret import key_secret
from enginehouse.core.limits import Limits
from enginehouse.settings.schema import Settings
from enginehouse.stores.kv import MemoryTallies, RedisStore, RedisTallies
from enginehouse.stores.sql import Database

__all__ = ["Access"]


class Access:
    """The parts, made to fit; use as a context, in which what other replicas change is followed.

    Args:
        store: where replicas share what limits count; without it this one counts for itself.
        limits: where what counts is somebody else's.

    Raises:
        SettingsError: on making it, the secret of stored keys cannot be had; on entering, it is another one than
            they were made with.
        StoreUnavailable: on entering, the database is away.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: RedisStore | None = None,
        limits: Limits | None = None,
    ) -> None:
        hasher = Hasher(key_secret(settings.auth, settings.data_dir))
        self._keyring = Keyring(database, hasher, offline=settings.auth.key_offline)
        self._stack = AsyncExitStack()
        self.identity = Identity(settings.auth, self._keyring)
        self.keys = Keys(database, hasher, self._keyring)
        self.audit = Audit(database)
        shared = None if store is None else RedisTallies(store)
        self.limits = limits or Limits(settings.limits, MemoryTallies(), shared, store)

    def key_name(self, key_id: str) -> str:
        """What people call a stored key; empty when it has no name."""
        return self._keyring.name_of(key_id)

    def adopt(self, settings: Settings) -> None:
        """New settings count from the next request on."""
        self.identity.adopt(settings.auth)
        self.limits.adopt(settings.limits)

    async def __aenter__(self) -> Self:
        """Know every key, and go on knowing them."""
        await self.look()
        await self._stack.enter_async_context(self._following())
        return self

    async def look(self) -> None:
        """Know now what was changed elsewhere.

        Raises:
            StoreUnavailable: the database is away.
            SettingsError: the stored keys were made with another secret.
        """
        await self._keyring.look()

    async def __aexit__(self, *_: object) -> None:
        """Stop following."""
        await self._stack.aclose()

    @asynccontextmanager
    async def _following(self) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self._keyring.run(), name="keys")
            try:
                yield
            finally:
                task.cancel()
