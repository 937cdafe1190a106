"""What stands before every request: who is calling, and a note of what they change."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from enginehouse.core.audit import Audit
from enginehouse.core.identity import Identity
from enginehouse.core.identity.keyring import Keyring
from enginehouse.core.identity.keys import Hasher
from enginehouse.core.identity.management import Keys
from enginehouse.core.identity.secret import key_secret
from enginehouse.settings.schema import Settings
from enginehouse.stores.sql import Database

__all__ = ["Access", "open_access"]


class Access:
    """The parts, made to fit."""

    def __init__(self, settings: Settings, database: Database, keyring: Keyring) -> None:
        self.identity = Identity(settings.auth, keyring)
        self.keys = Keys(database, keyring.hasher, keyring)
        self.audit = Audit(database)

    def adopt(self, settings: Settings) -> None:
        """New settings count from the next request on."""
        self.identity.adopt(settings.auth)


@asynccontextmanager
async def open_access(settings: Settings, database: Database) -> AsyncGenerator[Access]:
    """The same, with the task that follows what other replicas change.

    Raises:
        SettingsError: the secret of stored keys cannot be had, or is another one than they were made with.
        StoreUnavailable: the database is away.
    """
    hasher = Hasher(key_secret(settings.auth, settings.data_dir))
    keyring = Keyring(database, hasher, offline=settings.auth.key_offline)
    await keyring.look()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(keyring.run(), name="keys")
        try:
            yield Access(settings, database, keyring)
        finally:
            following.cancel()
