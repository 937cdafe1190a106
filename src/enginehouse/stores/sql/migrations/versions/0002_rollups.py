"""Hourly and daily sums, filled from the records that are there.

The statements below say in SQL what `core/ledger/rollups.py` says in Python; a test holds them together.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_HOUR, _DAY = 3600, 86_400
_SCOPES = {
    "''": (
        ("total", "''"),
        ("model", "model"),
        ("user", "user_id"),
        ("key", "key_id"),
        ("tenant", "tenant"),
    ),
    "user_id": (("total", "''"), ("model", "model"), ("key", "key_id"), ("tenant", "tenant")),
}
_TAGS = {
    "sqlite": "json_each(r.tags) AS tag",
    "postgresql": "jsonb_array_elements_text(r.tags::jsonb) AS tag(value)",
}


def upgrade() -> None:
    """From 0001."""
    op.create_table(
        "usage_rollups",
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.BigInteger(), nullable=False),
        sa.Column("cache_hits", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("unpriced", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "period", "user_id", "dimension", "start", "value", "operation", name="pk_usage_rollups"
        ),
        sqlite_with_rowid=False,
    )
    for period, seconds in (("hour", _HOUR), ("day", _DAY)):
        for scope, dimensions in _SCOPES.items():
            for dimension, value in dimensions:
                optional = dimension in {"model", "key", "tenant"}
                op.execute(
                    _fill(period, seconds, scope, dimension, value, f"{value} <> ''" if optional else "1 = 1")
                )
            tags = _TAGS[op.get_bind().dialect.name]
            op.execute(
                _fill(period, seconds, scope, "tag", "tag.value", "1 = 1", source=f"usage_records AS r, {tags}")
            )


def _fill(
    period: str,
    seconds: int,
    scope: str,
    dimension: str,
    value: str,
    wanted: str,
    source: str = "usage_records AS r",
) -> str:
    start = f"r.time / 1000000 / {seconds} * {seconds}"
    groups = ", ".join(part for part in (scope, start, value, "r.operation") if part != "''")
    return f"""
        INSERT INTO usage_rollups
        SELECT '{period}', {scope}, '{dimension}', {start}, {value}, r.operation,
               count(*),
               sum(CASE WHEN r.outcome = 'failed' THEN 1 ELSE 0 END),
               sum(CASE WHEN r.outcome = 'cancelled' THEN 1 ELSE 0 END),
               sum(CASE WHEN r.cache <> '' THEN 1 ELSE 0 END),
               sum(r.input_tokens), sum(r.cached_input_tokens), sum(r.output_tokens), sum(r.reasoning_tokens),
               sum(coalesce(r.cost, 0)),
               sum(CASE WHEN r.cost IS NULL THEN 1 ELSE 0 END)
        FROM {source}
        WHERE {wanted}
        GROUP BY {groups}
    """  # noqa: S608 - nothing but the constants above


def downgrade() -> None:
    """Back to 0001."""
    op.drop_table("usage_rollups")
