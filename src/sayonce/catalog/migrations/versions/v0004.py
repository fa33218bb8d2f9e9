"""What upkeep goes by; bytes in the database; sessions; fences from a sequence, where the database has such."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_INDEXES = (("assets", "until"), ("assets", "used_at"), ("blobs", "until"), ("uses", "keep_until"))


def upgrade() -> None:
    op.add_column("uses", sa.Column("sliding", sa.Float(), nullable=True))
    op.add_column("uses", sa.Column("storage", sa.Text(), nullable=True))
    op.add_column("uses", sa.Column("path", sa.Text(), nullable=True))
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
    _create_sessions()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.schema.CreateSequence(sa.Sequence("fences")))


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("newest", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=True),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("ending", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("name", name=op.f("uq_sessions_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sessions_until"), "sessions", ["until"])
    op.create_index(op.f("ix_sessions_tenant_owner_last_at_id"), "sessions", ["tenant", "owner", "last_at", "id"])
