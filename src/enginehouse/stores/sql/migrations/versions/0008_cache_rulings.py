"""What shall not be served from the cache any more."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """From 0007."""
    op.create_table(
        "cache_rulings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.Column("ruling", sa.Text(), nullable=False, comment="JSON: what shall not be served any more"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cache_rulings")),
    )
    op.create_index(op.f("ix_cache_rulings_time"), "cache_rulings", ["time"])


def downgrade() -> None:
    """Back to 0005."""
    op.drop_table("cache_rulings")
