"""The steps of a turn, each one transaction: to arrive, to begin, to go on, to end, or never to have been.

A step first takes the session's lock, so that steps of one session happen one after the other on every replica. No
transaction locks two sessions, and none locks messages after turns: so none waits for one that waits for it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, structs
from sqlalchemy import Connection

from enginehouse.core.sessions.conversation import (
    ROOT,
    Content,
    Message,
    Owner,
    Session,
    Status,
    is_message_id,
    new_id,
    title_of,
)
from enginehouse.core.sessions.rows import (
    encode_parts,
    encoded,
    message_from,
    message_row,
    session_from,
    session_row,
)
from enginehouse.errors import Conflict, InvalidRequest, NotFound
from enginehouse.settings.schema import SessionSettings
from enginehouse.stores.sql import sessions as sql
from enginehouse.types import Usage
from enginehouse.types.generation import Role, Turn

__all__ = ["Arrived", "Begun", "Steps", "Verdict", "check_room", "unknown"]

_MOST_WAITING = 32
"""Turns that stand in one session's line."""
_QUESTIONS = frozenset({Role.USER, Role.TOOL})
_WRITTEN = (Status.RUNNING.value, Status.INTERRUPTED.value)
"""What a writer may still finish: a sweep may have taken it for dead."""


class Arrived(Struct, frozen=True, kw_only=True):
    """A place in a session's line."""

    session: Session
    made: bool
    """Whether the session was made for it."""


class Begun(Struct, frozen=True, kw_only=True):
    """A turn that has begun."""

    session: Session
    before: Session
    """As it was."""
    asked: tuple[Message, ...]
    """What is new; nothing where an answer is given anew."""
    answer: Message


class Verdict(Struct, frozen=True, kw_only=True):
    """How an answer ended."""

    parts: Content
    status: Status
    usage: Usage | None = None
    finish_reason: str | None = None
    error: str | None = None


class Steps:
    """What turns write.

    Args:
        settings: limits.
        clock: seconds since 1970.
    """

    def __init__(self, settings: SessionSettings, clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        self._lease = int(settings.lease * 1_000_000)

    @property
    def now(self) -> int:
        """Microseconds since 1970."""
        return int(self._clock() * 1_000_000)

    def arrive(self, owner: Owner, session_id: str, turn: str, connection: Connection, *, make: bool) -> Arrived:
        """Stand in the line of a session.

        Args:
            make: whether the session is made where there is none.

        Raises:
            NotFound: there is none.
            Conflict: there is somebody and nobody may wait, or too many do; or the owner has too many sessions.
        """
        now = self.now
        row = sql.one_session(connection, owner.tenant, owner.user, session_id, lock=True)
        made = row is None and make and self._make(connection, owner, session_id, now)
        row = row or sql.one_session(connection, owner.tenant, owner.user, session_id, lock=True)
        if row is None:
            raise unknown(session_id)
        key = row["key"]
        sql.ended_turns(connection, key, now)
        waiting = sql.how_many_turns(connection, key)
        if waiting and self._settings.concurrent == "reject":
            raise Conflict("Another request of this session is being answered; wait for its end.", retry_after=1)
        if waiting > _MOST_WAITING:
            raise Conflict(f"{waiting} requests wait for their turn in this session.", retry_after=5)
        sql.add_turn(connection, key, turn, now + self._lease)
        return Arrived(session=session_from(row), made=made)

    def first(self, key: str, turn: str, connection: Connection) -> bool:
        """Whether a turn is the first of its line; only reads.

        Raises:
            NotFound: the session was deleted, or the place was lost.
        """
        head = sql.head(connection, key, self.now)
        if head is None:
            raise NotFound("The session was deleted meanwhile.", param="session_id")
        return head == turn

    def begin(
        self,
        key: str,
        turn: str,
        said: Sequence[Turn],
        connection: Connection,
        *,
        model: str,
        system: str | None,
        parent: str | None,
    ) -> Begun | None:
        """Put down what is asked, and an answer that is running; None when it is another one's turn.

        Raises:
            NotFound: the session was deleted, or has no such parent.
            InvalidRequest, Conflict: nothing can follow that parent so; or the session is full.
        """
        now = self.now
        row = sql.lock(connection, key)
        if row is None:
            raise NotFound("The session was deleted meanwhile.", param="session_id")
        if sql.head(connection, key, now) != turn:
            return None
        before = session_from(row)
        sql.interrupt(connection, key, now)
        previous = _parent(connection, before, parent, anew=not said)
        asked = _following(said, previous, before.messages, now)
        answer = _answer(asked[-1] if asked else previous, before.messages + len(asked), model, now)
        session = self._grown(connection, before, (*asked, answer), model, system)
        return Begun(session=session, before=before, asked=asked, answer=answer)

    def renew(self, turns: Sequence[str], connection: Connection) -> None:
        """These turns are alive."""
        sql.renew(connection, turns, self.now + self._lease)

    def note(self, notes: Sequence[tuple[str, Content]], connection: Connection) -> None:
        """What is known so far of answers that run, for the case that their writer dies."""
        for message, parts in notes:
            sql.change_message(connection, message, (Status.RUNNING.value,), parts=encode_parts(parts))

    def end(self, key: str, turn: str, message: str, verdict: Verdict, connection: Connection) -> int | None:
        """An answer has ended, and its turn with it; the session's new version, None when it is no more."""
        now = self.now
        parts = encode_parts(verdict.parts)
        row = sql.lock(connection, key)
        if row is None:
            return None
        written = sql.change_message(
            connection,
            message,
            _WRITTEN,
            parts=parts,
            status=verdict.status.value,
            usage=None if verdict.usage is None else encoded(verdict.usage),
            finish_reason=verdict.finish_reason,
            error=verdict.error,
            finished=now,
        )
        sql.remove_turn(connection, key, turn)
        size = len(parts) if written else 0  # else it was said before
        return sql.change_session(connection, key, updated=now, bytes=row["bytes"] + size)

    def undo(self, key: str, turn: str, begun: Begun, made: bool, connection: Connection) -> None:
        """A turn that has begun shall never have been; a session that was made for it neither."""
        if sql.lock(connection, key) is None:
            return
        sql.remove_messages(connection, [message.id for message in (*begun.asked, begun.answer)])
        sql.remove_turn(connection, key, turn)
        before = begun.before
        row = session_row(before)
        sql.change_session(
            connection,
            key,
            **{name: row[name] for name in ("title", "model", "system", "leaf", "messages", "bytes")},
        )
        if made and not before.messages and not sql.how_many_turns(connection, key):
            sql.remove(connection, key)

    def leave(self, key: str, turn: str, made: bool, connection: Connection) -> None:
        """Leave the line without having begun, with the session if it was made for this and nobody else came."""
        row = sql.lock(connection, key)
        if row is None:
            return
        sql.remove_turn(connection, key, turn)
        if made and not row["messages"] and not sql.how_many_turns(connection, key):
            sql.remove(connection, key)

    def sum_up(self, key: str, message: Message, connection: Connection) -> None:
        """Keep a message's summary."""
        if sql.lock(connection, key) is not None:
            sql.change_message(connection, message.id, tuple(Status), summary=encoded(message.summary))

    def lost(self, connection: Connection) -> list[str]:
        """Keys of sessions with answers whose writers died."""
        return sorted({row["session"] for row in sql.lost_messages(connection, self.now)})

    def bury(self, key: str, connection: Connection) -> None:
        """Mark answers of a session as interrupted if their writers died."""
        if sql.lock(connection, key) is not None and sql.head(connection, key, self.now) is None:
            sql.interrupt(connection, key, self.now)
            sql.change_session(connection, key)

    def _make(self, connection: Connection, owner: Owner, session_id: str, now: int) -> bool:
        check_room(connection, owner, self._settings.max_sessions)
        key = new_id("key", now / 1_000_000)
        session = Session(key=key, id=session_id, owner=owner, created=now, updated=now)
        return sql.open_session(connection, session_row(session))

    def _grown(
        self, connection: Connection, before: Session, new: Sequence[Message], model: str, system: str | None
    ) -> Session:
        """The session with new messages, the last of which is now its end."""
        rows = [message_row(message, before.key) for message in new]
        size = before.bytes + sum(len(row["parts"]) for row in rows)
        if before.messages + len(new) > self._settings.max_messages:
            raise Conflict(f"The session has {before.messages} messages, which is the most; begin another one.")
        if size > self._settings.max_bytes:
            raise Conflict(f"The session would hold more than {self._settings.max_bytes} bytes; begin another one.")
        sql.add_messages(connection, rows)
        values: dict[str, Any] = {
            "title": before.title or title_of(new[0].parts),
            "model": model,
            "system": before.system if system is None else system,
            "leaf": new[-1].id,
            "messages": before.messages + len(new),
            "bytes": size,
            "updated": new[-1].created,
        }
        version = sql.change_session(connection, before.key, **{**values, "system": encoded(values["system"])})
        return structs.replace(before, **values, version=version)


def check_room(connection: Connection, owner: Owner, most: int) -> None:
    """An owner may have so many sessions.

    Raises:
        Conflict: it has them.
    """
    if sql.how_many(connection, owner.tenant, owner.user) >= most:
        raise Conflict(f"You have {most} sessions, which is the most; delete some.")


def unknown(session_id: str) -> NotFound:
    """There is none of that name, or it is somebody else's, which is the same."""
    return NotFound(
        f"There is no session {session_id[:128]!r}. GET /api/v1/sessions lists yours.", param="session_id"
    )


def _parent(connection: Connection, session: Session, parent: str | None, *, anew: bool) -> Message | None:
    """What the new messages follow; where an answer is wanted anew, the question that it is to answer."""
    wanted = session.leaf if parent is None else None if parent == ROOT else parent
    found = None if wanted is None else _message(connection, session, wanted)
    if not anew:
        if found is not None and found.role in _QUESTIONS:
            raise InvalidRequest("parent: a question follows an answer, or 'root'.", param="parent")
        return found
    if found is not None and found.role is Role.ASSISTANT and found.parent is not None:
        found = _message(connection, session, found.parent)
    if found is None:
        raise InvalidRequest("parent: there is nothing to be answered anew.", param="parent")
    return found


def _message(connection: Connection, session: Session, message: str) -> Message:
    row = sql.one_message(connection, session.key, message) if is_message_id(message) else None
    if row is None:
        raise NotFound(f"The session has no message {message[:128]!r}.", param="parent")
    return message_from(row)


def _following(said: Sequence[Turn], previous: Message | None, number: int, now: int) -> tuple[Message, ...]:
    """What is said as messages, each of which follows the one before."""
    made: list[Message] = []
    for turn in said:
        message = Message(
            id=new_id("msg", now / 1_000_000),
            number=number + len(made) + 1,
            parent=None if previous is None else previous.id,
            depth=1 if previous is None else previous.depth + 1,
            role=turn.role,
            name=turn.name,
            parts=turn.parts,
            created=now,
            finished=now,
        )
        made.append(message)
        previous = message
    return tuple(made)


def _answer(question: Message | None, number: int, model: str, now: int) -> Message:
    assert question is not None, "something is asked, or answered anew"
    return Message(
        id=new_id("msg", now / 1_000_000),
        number=number + 1,
        parent=question.id,
        depth=question.depth + 1,
        role=Role.ASSISTANT,
        status=Status.RUNNING,
        model=model,
        created=now,
    )
