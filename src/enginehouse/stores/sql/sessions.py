"""The tables of conversations, and every statement on them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Table,
    and_,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from enginehouse.stores.sql.metadata import COUNT, METADATA, WORDS

__all__ = [
    "COUNTS",
    "MESSAGES",
    "SESSIONS",
    "TURNS",
    "Row",
    "add_messages",
    "add_turn",
    "all_counts",
    "ancestors",
    "change_message",
    "change_session",
    "counts",
    "ended_turns",
    "forget_turn",
    "forget_turns",
    "head",
    "how_many",
    "how_many_turns",
    "interrupt",
    "keep_counts",
    "lock",
    "lost_messages",
    "messages_of",
    "one_message",
    "one_session",
    "open_session",
    "page_of_sessions",
    "remove",
    "remove_messages",
    "remove_turn",
    "renew",
    "stale",
]

Row = dict[str, Any]

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("key", WORDS, primary_key=True),
    *(Column(n, WORDS, nullable=False) for n in ("tenant", "user_id", "id", "title", "model")),
    Column("system", WORDS, nullable=False, comment="JSON: a text"),
    Column("metadata", WORDS, nullable=False, comment="JSON"),
    *(Column(n, COUNT, nullable=False, comment="microseconds since 1970, UTC") for n in ("created", "updated")),
    Column("leaf", WORDS, comment="the newest message, at the end of the branch that is gone on with"),
    *(Column(n, COUNT, nullable=False) for n in ("messages", "bytes")),
    Column("version", COUNT, nullable=False, comment="grows with every change"),
)
Index("uq_sessions_owner", SESSIONS.c.tenant, SESSIONS.c.user_id, SESSIONS.c.id, unique=True)
Index("ix_sessions_newest", SESSIONS.c.tenant, SESSIONS.c.user_id, SESSIONS.c.updated)
Index(None, SESSIONS.c.updated)

_OF_SESSION = "sessions.key"

MESSAGES = Table(
    "session_messages",
    METADATA,
    Column("id", WORDS, primary_key=True),
    Column("session", WORDS, ForeignKey(_OF_SESSION, ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False, comment="of the session's messages, in the order they were made"),
    Column("parent", WORDS, comment="the message it follows, in the same session"),
    Column("depth", Integer, nullable=False, comment="1 for one without a parent"),
    *(Column(n, WORDS, nullable=False) for n in ("role", "name")),
    Column("parts", WORDS, nullable=False, comment="JSON"),
    Column("status", WORDS, nullable=False),
    Column("model", WORDS, nullable=False),
    Column("usage", WORDS, comment="JSON"),
    *(Column(n, WORDS) for n in ("finish_reason", "error")),
    Column("summary", WORDS, comment="JSON: a text, of all that was said up to and with this message"),
    Column("created", COUNT, nullable=False, comment="microseconds since 1970, UTC"),
    Column("finished", COUNT, comment="microseconds since 1970, UTC"),
)
Index("uq_session_messages_number", MESSAGES.c.session, MESSAGES.c.number, unique=True)
_RUNNING = MESSAGES.c.status == "running"
Index(
    "ix_session_messages_running",
    MESSAGES.c.session,
    sqlite_where=_RUNNING,
    postgresql_where=_RUNNING,
)

TURNS = Table(
    "session_turns",
    METADATA,
    Column("session", WORDS, ForeignKey(_OF_SESSION, ondelete="CASCADE"), primary_key=True),
    Column("place", COUNT, primary_key=True, comment="the least has its turn, the others wait"),
    Column("id", WORDS, nullable=False),
    Column("lease", COUNT, nullable=False, comment="microseconds since 1970: until when it is believed to live"),
)
Index("uq_session_turns_id", TURNS.c.id, unique=True)
Index(None, TURNS.c.lease)

COUNTS = Table(
    "session_token_counts",
    METADATA,
    Column("message", WORDS, ForeignKey("session_messages.id", ondelete="CASCADE"), primary_key=True),
    Column("tokenizer", WORDS, primary_key=True),
    Column("tokens", COUNT, nullable=False),
)

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_AT_ONCE = 500
"""Rows that one statement names."""


def _rows(connection: Connection, statement: Any) -> list[Row]:
    return [dict(row) for row in connection.execute(statement).mappings()]


# Sessions ------------------------------------------------------------------------------------------------


def open_session(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Make a session unless there is one of this owner and id; whether it was made."""
    insert = _INSERTS[connection.dialect.name](SESSIONS).values(**row)
    made = connection.execute(insert.on_conflict_do_nothing(index_elements=["tenant", "user_id", "id"]))
    return made.rowcount > 0


def one_session(
    connection: Connection, tenant: str, user: str, session_id: str, *, lock: bool = False
) -> Row | None:
    """An owner's session; with `lock` nobody else changes it until the transaction ends."""
    where = (SESSIONS.c.tenant == tenant, SESSIONS.c.user_id == user, SESSIONS.c.id == session_id)
    statement = select(SESSIONS).where(*where)
    found = _rows(connection, statement.with_for_update() if lock else statement)
    return found[0] if found else None


def lock(connection: Connection, key: str) -> Row | None:
    """A session that nobody else changes until the transaction ends; None when it is no more."""
    found = _rows(connection, select(SESSIONS).where(SESSIONS.c.key == key).with_for_update())
    return found[0] if found else None


def change_session(connection: Connection, key: str, **values: Any) -> int:
    """Change some of a session's columns; its new version."""
    statement = (
        update(SESSIONS)
        .where(SESSIONS.c.key == key)
        .values(version=SESSIONS.c.version + 1, **values)
        .returning(SESSIONS.c.version)
    )
    return connection.execute(statement).scalar_one()


def page_of_sessions(
    connection: Connection, tenant: str, user: str, *, before: tuple[int, str] | None, limit: int
) -> list[Row]:
    """An owner's sessions, the last changed first; `before` is the last one's time and key of the page before."""
    order = (SESSIONS.c.updated, SESSIONS.c.key)
    statement = select(SESSIONS).where(SESSIONS.c.tenant == tenant, SESSIONS.c.user_id == user)
    if before is not None:
        statement = statement.where(tuple_(*order) < tuple_(literal(before[0]), literal(before[1])))
    return _rows(connection, statement.order_by(*(column.desc() for column in order)).limit(limit))


def how_many(connection: Connection, tenant: str, user: str) -> int:
    """Sessions that an owner has."""
    statement = select(func.count()).where(SESSIONS.c.tenant == tenant, SESSIONS.c.user_id == user)
    return int(connection.execute(statement).scalar_one())


def how_many_in_all(connection: Connection) -> int:
    """Sessions of everybody."""
    return int(connection.execute(select(func.count()).select_from(SESSIONS)).scalar_one())


def stale(connection: Connection, before: int, now: int, limit: int) -> list[Row]:
    """Sessions that were last changed before a time, and in which nobody has a turn."""
    busy = select(TURNS.c.place).where(TURNS.c.session == SESSIONS.c.key, TURNS.c.lease > now)
    statement = select(SESSIONS).where(SESSIONS.c.updated < before, ~busy.exists())
    return _rows(connection, statement.order_by(SESSIONS.c.updated).limit(limit))


def remove(connection: Connection, key: str) -> bool:
    """Delete a session with all that belongs to it; whether it was there."""
    return connection.execute(delete(SESSIONS).where(SESSIONS.c.key == key)).rowcount > 0


# Messages ------------------------------------------------------------------------------------------------


def add_messages(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put messages into a session."""
    connection.execute(MESSAGES.insert(), [dict(row) for row in rows])


def one_message(connection: Connection, session: str, message: str) -> Row | None:
    """A message of a session."""
    found = _rows(connection, select(MESSAGES).where(MESSAGES.c.session == session, MESSAGES.c.id == message))
    return found[0] if found else None


def messages_of(connection: Connection, session: str, *, after: int, limit: int) -> list[Row]:
    """Messages of all branches, in the order in which they were made, after that number."""
    statement = select(MESSAGES).where(MESSAGES.c.session == session, MESSAGES.c.number > after)
    return _rows(connection, statement.order_by(MESSAGES.c.number).limit(limit))


def ancestors(
    connection: Connection, session: str, leaf: str, *, above: int = 0, limit: int | None = None
) -> list[Row]:
    """The branch that ends with a message, the first one first.

    Args:
        above: leaves out what is not deeper than that.
        limit: most messages, counted from the first that is not left out.
    """
    own = (MESSAGES.c.id, MESSAGES.c.parent, MESSAGES.c.depth)
    path = select(*own).where(MESSAGES.c.session == session, MESSAGES.c.id == leaf).cte("path", recursive=True)
    path = path.union_all(select(*own).where(MESSAGES.c.id == path.c.parent, MESSAGES.c.session == session))
    statement = (
        select(MESSAGES).join(path, path.c.id == MESSAGES.c.id).where(path.c.depth > above).order_by(path.c.depth)
    )
    return _rows(connection, statement if limit is None else statement.limit(limit))


def change_message(connection: Connection, message: str, statuses: Sequence[str], **values: Any) -> bool:
    """Change some of a message's columns if it has one of these statuses; whether it had."""
    statement = update(MESSAGES).where(MESSAGES.c.id == message, MESSAGES.c.status.in_(statuses)).values(**values)
    return connection.execute(statement).rowcount > 0


def remove_messages(connection: Connection, messages: Sequence[str]) -> None:
    """Take messages away again that nobody has seen."""
    connection.execute(delete(MESSAGES).where(MESSAGES.c.id.in_(messages)))


def interrupt(connection: Connection, session: str, now: int) -> None:
    """What is being written in a session has lost its writer."""
    of_session = (MESSAGES.c.session == session, _RUNNING)
    connection.execute(update(MESSAGES).where(*of_session).values(status="interrupted", finished=now))


def lost_messages(connection: Connection, now: int) -> list[Row]:
    """Messages that are being written although nobody who lives has a turn in their session: id and session."""
    alive = select(TURNS.c.place).where(TURNS.c.session == MESSAGES.c.session, TURNS.c.lease > now)
    return _rows(connection, select(MESSAGES.c.id, MESSAGES.c.session).where(_RUNNING, ~alive.exists()))


# Turns ---------------------------------------------------------------------------------------------------


def ended_turns(connection: Connection, session: str, now: int) -> None:
    """Forget turns whose holders died; only under the session's lock."""
    connection.execute(delete(TURNS).where(TURNS.c.session == session, TURNS.c.lease <= now))


def forget_turn(connection: Connection, turn: str) -> None:
    """Nobody has this turn, in whichever session."""
    connection.execute(delete(TURNS).where(TURNS.c.id == turn))


def forget_turns(connection: Connection) -> None:
    """Nobody has a turn."""
    connection.execute(delete(TURNS))


def head(connection: Connection, session: str, now: int) -> str | None:
    """Who has the turn in a session, of those who live."""
    statement = select(TURNS.c.id).where(TURNS.c.session == session, TURNS.c.lease > now)
    return connection.execute(statement.order_by(TURNS.c.place).limit(1)).scalar()


def how_many_turns(connection: Connection, session: str) -> int:
    """How many have or wait for a turn in a session."""
    statement = select(func.count()).select_from(TURNS).where(TURNS.c.session == session)
    return int(connection.execute(statement).scalar_one())


def add_turn(connection: Connection, session: str, turn: str, lease: int) -> None:
    """Stand at the end of a session's line; only under the session's lock."""
    last = connection.execute(select(func.max(TURNS.c.place)).where(TURNS.c.session == session)).scalar()
    connection.execute(TURNS.insert(), {"session": session, "place": (last or 0) + 1, "id": turn, "lease": lease})


def renew(connection: Connection, turns: Sequence[str], lease: int) -> None:
    """These turns are alive until then."""
    for start in range(0, len(turns), _AT_ONCE):
        some = turns[start : start + _AT_ONCE]
        connection.execute(update(TURNS).where(TURNS.c.id.in_(some)).values(lease=lease))


def remove_turn(connection: Connection, session: str, turn: str) -> None:
    """Leave a session's line."""
    connection.execute(delete(TURNS).where(TURNS.c.session == session, TURNS.c.id == turn))


# Tokens --------------------------------------------------------------------------------------------------


def counts(connection: Connection, tokenizer: str, messages: Sequence[str]) -> dict[str, int]:
    """Tokens of messages, of those that were counted with this tokenizer."""
    found: dict[str, int] = {}
    for start in range(0, len(messages), _AT_ONCE):
        some = messages[start : start + _AT_ONCE]
        where = and_(COUNTS.c.tokenizer == tokenizer, COUNTS.c.message.in_(some))
        for row in connection.execute(select(COUNTS.c.message, COUNTS.c.tokens).where(where)):
            found[row.message] = row.tokens
    return found


def all_counts(connection: Connection, messages: Sequence[str]) -> dict[str, dict[str, int]]:
    """Tokens of messages, by tokenizer."""
    found: dict[str, dict[str, int]] = {}
    for start in range(0, len(messages), _AT_ONCE):
        where = COUNTS.c.message.in_(messages[start : start + _AT_ONCE])
        for row in connection.execute(select(COUNTS).where(where)):
            found.setdefault(row.message, {})[row.tokenizer] = row.tokens
    return found


def keep_counts(connection: Connection, tokenizer: str, tokens: Mapping[str, int]) -> None:
    """Remember how many tokens messages have; those that are no more are left out."""
    there = set[str]()
    names = list(tokens)
    for start in range(0, len(names), _AT_ONCE):
        statement = select(MESSAGES.c.id).where(MESSAGES.c.id.in_(names[start : start + _AT_ONCE]))
        there.update(connection.execute(statement).scalars())
    rows = [{"message": name, "tokenizer": tokenizer, "tokens": tokens[name]} for name in names if name in there]
    if rows:
        insert = _INSERTS[connection.dialect.name](COUNTS)
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=["message", "tokenizer"], set_={"tokens": insert.excluded.tokens}
            ),
            rows,
        )
