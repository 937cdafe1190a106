"""What owners may do with their sessions: list, read, name, choose a branch, export and delete. Nobody else may."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import structlog
from msgspec import UNSET, Struct, UnsetType, structs
from sqlalchemy import Connection

from enginehouse.core.sessions.conversation import (
    Message,
    Owner,
    Session,
    check_id,
    is_id,
    is_message_id,
    is_ours,
    named_by_us,
    new_id,
)
from enginehouse.core.sessions.rows import encoded, message_from, session_from, session_row
from enginehouse.core.sessions.steps import check_room, unknown
from enginehouse.errors import Conflict, InvalidRequest, NotFound, StoreError
from enginehouse.settings.schema import SessionSettings
from enginehouse.stores.kv import HotCopies
from enginehouse.stores.sql import Database
from enginehouse.stores.sql import sessions as sql
from enginehouse.types import Principal
from enginehouse.types.generation import Json

__all__ = ["ALL", "Archive", "Changes", "Counted", "Forget", "MessagePage", "SessionPage"]

log = structlog.get_logger()

ALL = "all"
"""Every branch."""
_SWEEP, _LOOK = 3600.0, 60.0
"""Most seconds between two sweeps, and between looks whether there shall be any."""
_AT_ONCE = 100
_TITLE, _METADATA = 200, 16_384

Forget: TypeAlias = Callable[[Session], Awaitable[object]]
"""Called with a session that was deleted: what others keep of it goes as well."""


class Changes(Struct, frozen=True, kw_only=True):
    """What shall be different; what is not given stays."""

    title: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    """Empty takes the default one from now on."""
    system: str | UnsetType = UNSET
    metadata: Json | UnsetType = UNSET
    leaf: str | UnsetType = UNSET
    """An answer; its branch is gone on with."""

    def given(self) -> dict[str, Any]:
        """What is given, by name."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


class Counted(Struct, frozen=True, kw_only=True):
    """A message, and its tokens by tokenizer as far as they were counted."""

    message: Message
    tokens: dict[str, int]


class SessionPage(Struct, frozen=True, kw_only=True):
    """Some sessions, the last changed first."""

    sessions: list[Session]
    cursor: str | None
    """Where the next page begins; None when this is the last."""


class MessagePage(Struct, frozen=True, kw_only=True):
    """Some messages, the first first."""

    session: Session
    messages: list[Counted]
    cursor: str | None


class Archive:
    """Sessions as their owners have them.

    Args:
        database: where they are.
        hot: where copies are at hand.
        settings: those in force, asked each time.
        check_model: raises where a caller may not name this model.
        forget: who are told of every session that is deleted.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        hot: HotCopies,
        settings: Callable[[], SessionSettings],
        *,
        check_model: Callable[[Principal, str], object],
        forget: Sequence[Forget] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._hot, self._settings = database, hot, settings
        self._check_model, self._forget, self._clock = check_model, forget, clock

    async def how_many(self) -> int:
        """Sessions that are kept, of everybody.

        Raises:
            StoreUnavailable: the database is away.
        """
        return await self._database.read(sql.how_many_in_all)

    async def create(self, principal: Principal, session_id: str | None, changes: Changes) -> Session:
        """A new session, before anything is said in it.

        Raises:
            Conflict: there is one of this id, or there are too many.
            InvalidRequest, ModelNotFound, PermissionDenied: it cannot be so.
        """
        if session_id is not None and named_by_us(check_id(session_id)):
            raise InvalidRequest("id: 'ses_…' are chosen by the service; leave it out.", param="id")
        given = self._checked(principal, changes)
        if "leaf" in given:
            raise InvalidRequest("leaf: a new session has no messages.", param="leaf")
        now, owner = self._now(), Owner.of(principal)
        session = Session(
            key=new_id("key"), id=session_id or new_id("ses"), owner=owner, created=now, updated=now, **given
        )
        if not await self._database.write(partial(_made, session, self._settings().max_sessions)):
            raise Conflict(f"There is a session {session.id!r} already.", param="id")
        return session

    async def page(self, principal: Principal, cursor: str | None, limit: int) -> SessionPage:
        """The caller's sessions.

        Raises:
            InvalidRequest: no page ended with this cursor.
        """
        owner, before = Owner.of(principal), None if cursor is None else _place(cursor)
        rows = await self._database.read(
            lambda c: sql.page_of_sessions(c, owner.tenant, owner.user, before=before, limit=limit + 1)
        )
        sessions = [session_from(row) for row in rows[:limit]]
        more = len(rows) > limit
        return SessionPage(sessions=sessions, cursor=f"{sessions[-1].updated}.{sessions[-1].key}" if more else None)

    async def get(self, principal: Principal, session_id: str) -> Session:
        """One of the caller's sessions.

        Raises:
            NotFound: it has none of this id.
        """
        return await self._database.read(partial(_own, principal, session_id))

    async def change(self, principal: Principal, session_id: str, changes: Changes) -> Session:
        """Change what is given.

        Raises:
            NotFound: there is no such session, or no such message in it.
            InvalidRequest, ModelNotFound, PermissionDenied: it cannot be so.
        """
        given = self._checked(principal, changes)
        return await self._database.write(partial(_changed, principal, session_id, given, self._now()))

    async def delete(self, principal: Principal, session_id: str) -> None:
        """Delete a session, its messages, and what others keep of it.

        Raises:
            NotFound: there is none of this id.
        """
        session = await self._database.write(partial(_removed, principal, session_id))
        await self._forgotten(session)

    async def messages(
        self, principal: Principal, session_id: str, branch: str | None, cursor: str | None, limit: int
    ) -> MessagePage:
        """Messages of one branch.

        Args:
            branch: the message with which it ends; `all` is every branch, in the order in which they were made.
                The branch that is gone on with, when left out.
            cursor: the last message of the page before.

        Raises:
            NotFound: there is no such session or message.
        """
        ask = partial(_page, principal, session_id, branch=branch, cursor=cursor, limit=limit)
        return await self._database.read(ask)

    async def everything(self, principal: Principal, session_id: str) -> tuple[Session, list[Counted]]:
        """A session with all its messages, on all branches.

        Raises:
            NotFound: there is none of this id.
        """
        most = self._settings().max_messages + 1
        found = await self.messages(principal, session_id, ALL, None, most)
        return found.session, found.messages

    async def run(self) -> None:
        """Delete what is older than it may be, now and then."""
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                log.warning("sessions_not_swept", error=error.message)
            await asyncio.sleep(min(_SWEEP, max(1.0, self._settings().retention / 10 or _LOOK)))

    async def sweep(self) -> int:
        """Delete what is older than it may be; how many.

        Raises:
            StoreUnavailable: the database is away.
        """
        retention, swept = self._settings().retention, 0
        while retention:
            now = self._now()
            before = now - int(retention * 1_000_000)
            gone = await self._database.write(partial(_swept, before, now))
            for session in gone:
                await self._forgotten(session)
            swept += len(gone)
            if len(gone) < _AT_ONCE:
                break
        if swept:
            log.info("sessions_swept", sessions=swept)
        return swept

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    async def _forgotten(self, session: Session) -> None:
        await self._hot.drop(session.key)
        for forget in self._forget:
            try:
                await forget(session)
            except StoreError as error:
                log.warning("session_not_forgotten", error=error.message)

    def _checked(self, principal: Principal, changes: Changes) -> dict[str, Any]:
        given = changes.given()
        title = given.get("title", "")
        if len(title) > _TITLE or not title.isprintable():
            raise InvalidRequest(f"title: 0 to {_TITLE} printable characters are wanted.", param="title")
        if len(encoded(given.get("metadata", {}))) > _METADATA:
            raise InvalidRequest(f"metadata: {_METADATA} bytes of JSON are the most.", param="metadata")
        if len(encoded(given.get("system", ""))) > self._settings().max_bytes:
            raise InvalidRequest("system: it is longer than a session may be.", param="system")
        if given.get("model"):
            self._check_model(principal, given["model"])
        return given


def _own(principal: Principal, session_id: str, connection: Connection, *, lock: bool = False) -> Session:
    owner = Owner.of(principal)
    known = is_id(session_id)
    row = sql.one_session(connection, owner.tenant, owner.user, session_id, lock=lock) if known else None
    if row is None:
        raise unknown(session_id)
    return session_from(row)


def _made(session: Session, most: int, connection: Connection) -> bool:
    check_room(connection, session.owner, most)
    return sql.open_session(connection, session_row(session))


def _changed(
    principal: Principal, session_id: str, given: dict[str, Any], now: int, connection: Connection
) -> Session:
    session = _own(principal, session_id, connection, lock=True)
    if "leaf" in given:
        _check_leaf(connection, session, given["leaf"])
    if not given:
        return session
    changed = structs.replace(session, **given, updated=now)
    row = session_row(changed)
    version = sql.change_session(connection, session.key, updated=now, **{name: row[name] for name in given})
    return structs.replace(changed, version=version)


def _check_leaf(connection: Connection, session: Session, leaf: str) -> None:
    row = sql.one_message(connection, session.key, leaf) if is_message_id(leaf) else None
    if row is None:
        raise NotFound(f"The session has no message {leaf[:128]!r}.", param="leaf")
    if row["role"] != "assistant":
        raise InvalidRequest("leaf: a branch is gone on with after an answer.", param="leaf")


def _removed(principal: Principal, session_id: str, connection: Connection) -> Session:
    session = _own(principal, session_id, connection, lock=True)
    sql.remove(connection, session.key)
    return session


def _swept(before: int, now: int, connection: Connection) -> list[Session]:
    gone = [session_from(row) for row in sql.stale(connection, before, now, _AT_ONCE)]
    return [session for session in gone if sql.remove(connection, session.key)]


def _page(
    principal: Principal,
    session_id: str,
    connection: Connection,
    *,
    branch: str | None,
    cursor: str | None,
    limit: int,
) -> MessagePage:
    session = _own(principal, session_id, connection)
    last = None if cursor is None else _message(connection, session, cursor, "cursor")
    if branch == ALL:
        after = 0 if last is None else last.number
        rows = sql.messages_of(connection, session.key, after=after, limit=limit + 1)
    else:
        leaf = session.leaf if branch is None else _message(connection, session, branch, "branch").id
        above = 0 if last is None else last.depth
        rows = [] if leaf is None else sql.ancestors(connection, session.key, leaf, above=above, limit=limit + 1)
    messages = [message_from(row) for row in rows[:limit]]
    tokens = sql.all_counts(connection, [message.id for message in messages])
    counted = [Counted(message=message, tokens=tokens.get(message.id, {})) for message in messages]
    return MessagePage(session=session, messages=counted, cursor=messages[-1].id if len(rows) > limit else None)


def _message(connection: Connection, session: Session, message: str, param: str) -> Message:
    row = sql.one_message(connection, session.key, message) if is_message_id(message) else None
    if row is None:
        raise NotFound(f"The session has no message {message[:128]!r}.", param=param)
    return message_from(row)


def _place(cursor: str) -> tuple[int, str]:
    updated, _, key = cursor.partition(".")
    if not (updated.isascii() and updated.isdecimal() and len(updated) < 19 and is_ours(key)):
        raise InvalidRequest("cursor: it is none of `next_cursor`.", param="cursor")
    return int(updated), key
