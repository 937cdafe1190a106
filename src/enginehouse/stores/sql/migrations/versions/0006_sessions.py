"""Conversations."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_TIME = "microseconds since 1970, UTC"


def upgrade() -> None:
    """From 0005."""
    _sessions()
    _messages()
    _turns()
    op.create_table(
        "session_token_counts",
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("tokenizer", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("message", "tokenizer", name="pk_session_token_counts"),
        sa.ForeignKeyConstraint(
            ["message"], ["session_messages.id"], ondelete="CASCADE", name="fk_session_token_counts_message"
        ),
    )


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("key", sa.Text(), nullable=False),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("tenant", "user_id", "id", "title", "model")),
        sa.Column("system", sa.Text(), nullable=False, comment="JSON: a text"),
        sa.Column("metadata", sa.Text(), nullable=False, comment="JSON"),
        *(sa.Column(n, sa.BigInteger(), nullable=False, comment=_TIME) for n in ("created", "updated")),
        sa.Column(
            "leaf",
            sa.Text(),
            nullable=True,
            comment="the newest message, at the end of the branch that is gone on with",
        ),
        *(sa.Column(n, sa.BigInteger(), nullable=False) for n in ("messages", "bytes")),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="grows with every change"),
        sa.PrimaryKeyConstraint("key", name="pk_sessions"),
    )
    op.create_index("uq_sessions_owner", "sessions", ["tenant", "user_id", "id"], unique=True)
    op.create_index("ix_sessions_newest", "sessions", ["tenant", "user_id", "updated"])
    op.create_index("ix_sessions_updated", "sessions", ["updated"])


def _messages() -> None:
    op.create_table(
        "session_messages",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column(
            "number", sa.Integer(), nullable=False, comment="of the session's messages, in the order they were made"
        ),
        sa.Column("parent", sa.Text(), nullable=True, comment="the message it follows, in the same session"),
        sa.Column("depth", sa.Integer(), nullable=False, comment="1 for one without a parent"),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("role", "name")),
        sa.Column("parts", sa.Text(), nullable=False, comment="JSON"),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("status", "model")),
        sa.Column("usage", sa.Text(), nullable=True, comment="JSON"),
        *(sa.Column(n, sa.Text(), nullable=True) for n in ("finish_reason", "error")),
        sa.Column(
            "summary",
            sa.Text(),
            nullable=True,
            comment="JSON: a text, of all that was said up to and with this message",
        ),
        sa.Column("created", sa.BigInteger(), nullable=False, comment=_TIME),
        sa.Column("finished", sa.BigInteger(), nullable=True, comment=_TIME),
        sa.PrimaryKeyConstraint("id", name="pk_session_messages"),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.key"], ondelete="CASCADE", name="fk_session_messages_session"
        ),
    )
    op.create_index("uq_session_messages_number", "session_messages", ["session", "number"], unique=True)
    running = sa.text("status = 'running'")
    op.create_index(
        "ix_session_messages_running",
        "session_messages",
        ["session"],
        sqlite_where=running,
        postgresql_where=running,
    )


def _turns() -> None:
    op.create_table(
        "session_turns",
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False, comment="the least has its turn, the others wait"),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "lease",
            sa.BigInteger(),
            nullable=False,
            comment="microseconds since 1970: until when it is believed to live",
        ),
        sa.PrimaryKeyConstraint("session", "place", name="pk_session_turns"),
        sa.ForeignKeyConstraint(["session"], ["sessions.key"], ondelete="CASCADE", name="fk_session_turns_session"),
    )
    op.create_index("uq_session_turns_id", "session_turns", ["id"], unique=True)
    op.create_index("ix_session_turns_lease", "session_turns", ["lease"])


def downgrade() -> None:
    """Back to 0005."""
    for table in ("session_token_counts", "session_turns", "session_messages", "sessions"):
        op.drop_table(table)
