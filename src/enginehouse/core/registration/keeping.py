"""Where registered models outlive the service: a file of its own, or a row that all replicas share."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

import msgspec

from enginehouse.core.registration.file import Entries, RegistryFile
from enginehouse.stores.sql import Database, registered

__all__ = ["Aside", "Keeping", "OwnFile", "SharedRow"]

P = ParamSpec("P")
T = TypeVar("T")


class Aside(Protocol):
    """Calls something where it may block."""

    async def __call__(self, work: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T: ...


class Keeping(Protocol):
    """Keeps entries; it knows which of them were last seen here."""

    async def news(self) -> Mapping[str, Any] | None:
        """All entries where they are others than those that were last seen; else None.

        Raises:
            StoreUnavailable, StoreError: nobody can say.
        """
        ...

    async def write(self, entries: Entries) -> bool:
        """Let these follow on what was last seen; False where that is the newest no more, and nothing happened.

        Raises:
            OSError, StoreUnavailable, StoreError: they cannot be kept.
        """
        ...


class OwnFile:
    """The file of a service that has its data to itself.

    Args:
        file: which.
        aside: runs what blocks on the disk.
    """

    def __init__(self, file: RegistryFile, aside: Aside) -> None:
        self._file = file
        self._aside = aside
        self._read = False

    async def news(self) -> Mapping[str, Any] | None:
        """What it holds, once; nobody else writes it."""
        if self._read:
            return None
        self._read = True
        return await self._aside(self._file.read)

    async def write(self, entries: Entries) -> bool:
        """Whole or not at all."""
        await self._aside(self._file.write, entries)
        return True


class SharedRow:
    """A row of the database. Before the first change it takes over what a replica's own file holds.

    Args:
        database: where it is.
        file: of the time when there was one service only; it is left as it is.
        aside: runs what blocks on the disk.
    """

    def __init__(self, database: Database, file: RegistryFile, aside: Aside) -> None:
        self._database = database
        self._file = file
        self._aside = aside
        self._seen: int | None = None

    async def news(self) -> Mapping[str, Any] | None:
        """What another replica has written."""
        if self._seen is None and await self._database.read(registered.version) == 0:
            await self._take_over()
        if self._seen is not None and await self._database.read(registered.version) == self._seen:
            return None
        self._seen, entries = await self._database.read(registered.entries)
        return msgspec.json.decode(entries, type=dict[str, Any])

    async def write(self, entries: Entries) -> bool:
        """Only if nobody else has written since."""
        known, self._seen = self._seen or 0, None  # who is cancelled, or cut off, looks again
        if not await self._put(known, entries):
            return False
        self._seen = known + 1
        return True

    async def _take_over(self) -> None:
        if entries := await self._aside(self._file.read):
            await self._put(0, entries)  # where another replica was quicker, what it had counts

    async def _put(self, known: int, entries: Entries) -> bool:
        changed = msgspec.json.encode(entries).decode()
        return await self._database.write(partial(registered.put, known=known, changed=changed))
