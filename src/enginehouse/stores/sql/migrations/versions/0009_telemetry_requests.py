"""What became of requests, kept for some days."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_WORDS = (
    *("request_id", "trace_id", "user_id", "key_id", "tenant", "role", "tier", "model", "asked", "deployment"),
    *("engine", "provider", "face", "path", "operation"),
)
_COUNTS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")


def upgrade() -> None:
    """From 0008."""
    op.create_table(
        "telemetry_requests",
        sa.Column("id", sa.Text(), nullable=False, comment="time-ordered, so that a range of ids is one of time"),
        sa.Column("time", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC: when it came"),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _WORDS),
        sa.Column("stream", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        *(
            sa.Column(n, sa.Text(), nullable=False)
            for n in ("outcome", "error", "cause", "message", "cache", "guard")
        ),
        sa.Column("calls", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
        sa.Column("estimated", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("cost", sa.BigInteger(), comment="picodollars"),
        sa.Column("total_us", sa.BigInteger(), nullable=False),
        sa.Column("ttft_us", sa.BigInteger()),
        sa.Column("gateway_us", sa.BigInteger(), nullable=False),
        sa.Column("spans", sa.Text(), nullable=False, comment="JSON: phase, beginning, length in microseconds"),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_telemetry_requests")),
    )
    op.create_index(op.f("ix_telemetry_requests_user_id_id"), "telemetry_requests", ["user_id", "id"])
    op.create_index(op.f("ix_telemetry_requests_request_id"), "telemetry_requests", ["request_id"])


def downgrade() -> None:
    """Back to 0008."""
    op.drop_table("telemetry_requests")
