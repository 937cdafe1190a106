"""Records that wait to be summed up, sums of eight days, and when keys were last used."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_EIGHT_DAYS = 8 * 86_400
_MEASURES = (
    *("requests", "failed", "cancelled", "cache_hits"),
    *("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"),
    *("cost", "unpriced"),
)


def upgrade() -> None:
    """From 0006, whose sums hold every record: those of eight days are made of its days."""
    op.create_table(
        "usage_unsummed",
        sa.Column("record_id", sa.Text(), nullable=False, comment="a record that the sums do not hold yet"),
        sa.PrimaryKeyConstraint("record_id", name="pk_usage_unsummed"),
        sqlite_with_rowid=False,
    )
    start = f"start / {_EIGHT_DAYS} * {_EIGHT_DAYS}"
    sums = ", ".join(f"sum({name})" for name in _MEASURES)
    op.execute(
        f"""
        INSERT INTO usage_rollups (period, user_id, dimension, start, value, operation, {", ".join(_MEASURES)})
        SELECT 'octave', user_id, dimension, {start}, value, operation, {sums}
        FROM usage_rollups WHERE period = 'day' AND user_id = ''
        GROUP BY user_id, dimension, {start}, value, operation
        """  # noqa: S608 - nothing but the constants above
    )
    op.create_table(
        "api_key_uses",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column(
            "used", sa.BigInteger(), nullable=False, comment="seconds since 1970: when its last request came"
        ),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_key_uses"),
        sqlite_with_rowid=False,
    )
    op.execute(
        """
        INSERT INTO api_key_uses (key_id, used)
        SELECT key_id, max(time) / 1000000 FROM usage_records WHERE key_id <> '' GROUP BY key_id
        """
    )


def downgrade() -> None:
    """Back to 0006, for a database whose records are all summed up."""
    op.drop_table("api_key_uses")
    op.execute("DELETE FROM usage_rollups WHERE period = 'octave'")
    op.drop_table("usage_unsummed")
