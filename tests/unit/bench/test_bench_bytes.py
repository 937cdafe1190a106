"""What is measured are rows that the tables take."""

from sqlalchemy import create_engine, func, insert, select

from bench.bytes import message_rows, session_rows, trace_rows
from enginehouse.stores.sql import sessions, traces
from enginehouse.stores.sql.metadata import METADATA


def test_the_tables_take_the_rows():
    engine = create_engine("sqlite://")
    many = {
        traces.TRACES: list(trace_rows(30)),
        sessions.SESSIONS: list(session_rows(3)),
        sessions.MESSAGES: list(message_rows(30)),
    }
    with engine.begin() as connection:
        METADATA.create_all(connection)
        for table, rows in many.items():
            connection.execute(insert(table), rows)
            assert connection.scalar(select(func.count()).select_from(table)) == len(rows) > 0
        message, owner = sessions.MESSAGES.c.session, sessions.SESSIONS.c.key
        assert not list(connection.execute(select(message).where(message.not_in(select(owner)))))
    engine.dispose()
