"""What is promised to requests that still run."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """From 0002."""
    op.create_table(
        "budget_accounts",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False, comment="seconds since 1970: when a request last asked"),
        sa.PrimaryKeyConstraint("scope", "subject", name="pk_budget_accounts"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "budget_reservations",
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column(
            "expires", sa.BigInteger(), nullable=False, comment="seconds since 1970: when it no longer counts"
        ),
        sa.ForeignKeyConstraint(
            ["scope", "subject"],
            ["budget_accounts.scope", "budget_accounts.subject"],
            name="fk_budget_reservations_scope_subject",
        ),
        sa.PrimaryKeyConstraint("record_id", "scope", "subject", name="pk_budget_reservations"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_budget_reservations_scope_subject", "budget_reservations", ["scope", "subject"])


def downgrade() -> None:
    """Back to 0002."""
    op.drop_table("budget_reservations")
    op.drop_table("budget_accounts")
