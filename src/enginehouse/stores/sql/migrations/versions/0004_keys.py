"""API keys, and who managed what."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """From 0003."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="HMAC-SHA256 of the whole key, hex"),
        sa.Column("old_digest", sa.Text(), nullable=True, comment="that of the key before the last rotation"),
        sa.Column(
            "old_until", sa.BigInteger(), nullable=True, comment="seconds since 1970: until when the old one counts"
        ),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("name", "user_id", "tenant", "role", "tier")),
        *(sa.Column(n, sa.Text(), nullable=False, comment="JSON") for n in ("models", "tags", "limits", "budget")),
        sa.Column("created", sa.BigInteger(), nullable=False, comment="seconds since 1970"),
        sa.Column("created_by", sa.Text(), nullable=False),
        *(
            sa.Column(n, sa.BigInteger(), nullable=True, comment="seconds since 1970")
            for n in ("expires", "revoked", "rotated")
        ),
        sa.Column(
            "version", sa.BigInteger(), nullable=False, comment="of api_key_state, when this row last changed"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_version", "api_keys", ["version"])
    op.create_table(
        "api_key_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="1: there is one row"),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="grows with every change of a key"),
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="of the secret that the digests are made with"),
        sa.PrimaryKeyConstraint("id", name="pk_api_key_state"),
    )
    op.create_table(
        "audit_actions",
        sa.Column("id", sa.Text(), nullable=False, comment="time-ordered"),
        sa.Column("time", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("user_id", "key_id", "tenant", "role")),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("action", "request_id")),
        sa.Column("detail", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_actions"),
    )


def downgrade() -> None:
    """Back to 0003."""
    for table in ("audit_actions", "api_key_state", "api_keys"):
        op.drop_table(table)
