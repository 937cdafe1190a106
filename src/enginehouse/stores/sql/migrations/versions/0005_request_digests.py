"""By which repeats of a request are told."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """From 0004; of the records that are there, nothing was kept."""
    op.add_column(
        "usage_records",
        sa.Column(
            "digest",
            sa.Text(),
            nullable=False,
            server_default="",
            comment="keyed, of what was asked; empty: not kept",
        ),
    )


def downgrade() -> None:
    """Back to 0004."""
    op.drop_column("usage_records", "digest")
