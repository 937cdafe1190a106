"""Nobody looks for a usage record by the name of its request, and every one paid for it."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """From 0010."""
    op.drop_index("ix_usage_records_request_id", "usage_records", if_exists=True)


def downgrade() -> None:
    """Back to 0010."""
    op.create_index("ix_usage_records_request_id", "usage_records", ["request_id"])
