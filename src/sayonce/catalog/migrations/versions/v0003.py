"""Money in whole millionths of the currency, which was in dollars before: sums of them are exact."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# Table, the column before and after, and whether it may be unknown.
_COLUMNS = (
    ("assets", "cost", "cost_micros", True),
    ("leases", "reserved", "reserved_micros", False),
    ("spending", "spent", "spent_micros", False),
    ("usage", "spent", "spent_micros", False),
    ("usage", "saved", "saved_micros", False),
)


def upgrade() -> None:
    for table, before, after, nullable in _COLUMNS:
        default = None if nullable else sa.text("0")
        op.add_column(table, sa.Column(after, sa.BigInteger(), nullable=nullable, server_default=default))
        op.execute(sa.text(f"UPDATE {table} SET {after} = CAST(ROUND({before} * 1000000) AS BIGINT)"))
        op.drop_column(table, before)
