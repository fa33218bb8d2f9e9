"""What upkeep goes by; bytes in the database; fences from a sequence, where the database has such."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_INDEXES = (("assets", "until"), ("assets", "used_at"), ("blobs", "until"), ("uses", "keep_until"))


def upgrade() -> None:
    op.add_column("uses", sa.Column("sliding", sa.Float(), nullable=True))
    for table, column in _INDEXES:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])
    op.create_index(op.f("ix_blobs_asset_storage_path"), "blobs", ["asset", "storage", "path"], unique=True)
    op.drop_index(op.f("ix_blobs_asset"), "blobs")
    op.create_table(
        "stored",
        sa.Column("storage", sa.Text(), nullable=False),
        sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("storage", "path", name=op.f("pk_stored")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.schema.CreateSequence(sa.Sequence("fences")))
