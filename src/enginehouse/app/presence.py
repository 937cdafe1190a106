"""Which replicas there are: each says so every few seconds where all can read it, and who does not is gone."""

import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from enginehouse import __version__
from enginehouse.errors import StoreUnavailable
from enginehouse.stores.kv import RedisStore

__all__ = ["Presence"]


class _Said(Struct, kw_only=True):
    """What a replica says of itself."""

    id: str
    host: str
    pid: int
    version: str
    started_at: str
    status: str
    heard: float


class Presence:
    """This replica among the others.

    Args:
        id_: this replica's.
        leaving: whether this one has been told to stop.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        id_: str,
        leaving: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._id = id_
        self._store: RedisStore | None = None
        self._leaving = leaving
        self._clock = clock
        self._started = datetime.now(UTC).isoformat()

    @property
    def id(self) -> str:
        """This replica's."""
        return self._id

    def introduction(self) -> bytes:
        """What others may read of this one."""
        return msgspec.json.encode(self._say())

    def join(self, store: RedisStore | None) -> None:
        """Look for the others there; without a store there are none."""
        self._store = store

    async def everybody(self) -> list[dict[str, Any]]:
        """All replicas that were heard of within the last seconds, this one too; the oldest first."""
        known = {self.id: self._say()}
        for said in await self._others():
            known.setdefault(said.id, said)
        return [self._told(one) for one in sorted(known.values(), key=lambda one: one.started_at)]

    async def _others(self) -> list[_Said]:
        if self._store is None:
            return []
        try:
            letters = await self._store.introductions()
        except StoreUnavailable:
            return []  # who is alone now says so in its health
        return [msgspec.json.decode(letter, type=_Said) for letter in letters if letter]

    def _say(self) -> _Said:
        return _Said(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started_at=self._started,
            status="shutting_down" if self._leaving() else "running",
            heard=self._clock(),
        )

    def _told(self, said: _Said) -> dict[str, Any]:
        fields = msgspec.to_builtins(said)
        ago = max(self._clock() - fields.pop("heard"), 0.0)
        return {**fields, "heard_seconds_ago": round(ago, 1), "this": said.id == self.id}
