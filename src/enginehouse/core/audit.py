"""Who managed what: every try to change something, and how it ended, in the log and in the database."""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy import Connection

from enginehouse.errors import StoreError
from enginehouse.stores.sql import Database, audit
from enginehouse.types import Principal

__all__ = ["Action", "Audit"]

log = structlog.get_logger()


class Action(Struct, frozen=True, kw_only=True):
    """Something that somebody tried to change."""

    id: str
    """Unique, in the order of time."""
    time: datetime
    user_id: str
    key_id: str
    tenant: str
    role: str
    action: str
    """Method and path."""
    request_id: str
    detail: Mapping[str, Any]
    """What else is worth knowing, and no secret."""
    status: int
    """What it was answered with, as HTTP says it."""


class Audit:
    """Keeps actions.

    Args:
        database: where; None keeps them in the log only.
    """

    def __init__(self, database: Database | None = None) -> None:
        self._database = database

    async def note(
        self, principal: Principal, action: str, request_id: str, status: int, detail: Mapping[str, Any]
    ) -> None:
        """Keep an action; while the database is away the log alone has it."""
        who = {
            "user_id": principal.user,
            "key_id": principal.key,
            "tenant": principal.tenant,
            "role": principal.role,
        }
        about = {"action": action[:1000], "request_id": request_id, "status": status}
        log.info("audit", **who, **about, detail=detail)
        if self._database is None:
            return
        now = time.time_ns() // 1000
        row = {**who, **about, "id": f"{now:014x}{os.urandom(6).hex()}", "time": now}
        row["detail"] = msgspec.json.encode(detail).decode()
        try:
            await self._database.write(lambda connection: audit.add(connection, row))
        except StoreError as error:
            log.warning("audit_not_kept", request_id=request_id, error=error.message)

    async def latest(self, *, before: str | None = None, limit: int = 100) -> list[Action]:
        """The newest actions, newest first; `before` is the id from which to go on.

        Raises:
            StoreUnavailable: the database is away.
        """
        if self._database is None:
            return []

        def read(connection: Connection) -> list[dict[str, Any]]:
            return audit.latest(connection, before=before, limit=limit)

        return [_action(row) for row in await self._database.read(read)]


def _action(row: Mapping[str, Any]) -> Action:
    when = datetime.fromtimestamp(row["time"] / 1_000_000, UTC)
    fields = {name: row[name] for name in Action.__struct_fields__}
    return msgspec.convert({**fields, "time": when, "detail": msgspec.json.decode(row["detail"])}, Action)
