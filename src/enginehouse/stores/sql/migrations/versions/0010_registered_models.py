"""Models that callers registered, for all replicas."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """From 0009."""
    op.create_table(
        "registered_models",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="1: there is one row"),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="grows with every change"),
        sa.Column(
            "entries",
            sa.Text(),
            nullable=False,
            comment="JSON: by id, what would stand in the settings; it may hold keys",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registered_models")),
    )


def downgrade() -> None:
    """Back to 0009."""
    op.drop_table("registered_models")
