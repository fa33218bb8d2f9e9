"""Collections: what is yet to be made is due at a time of its own, and may be due again; businesses' voices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("uses", sa.Column("due", sa.Float(), nullable=True))
    op.add_column("uses", sa.Column("failure", sa.Text(), nullable=True))
    op.execute("UPDATE uses SET due = at WHERE request IS NOT NULL")
    op.drop_index("ix_uses_unmade", "uses")
    unmade = sa.text("due IS NOT NULL")
    op.create_index("ix_uses_unmade", "uses", ["id"], sqlite_where=unmade, postgresql_where=unmade)
    op.create_table(
        "collections",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("seeded_at", sa.Float(), nullable=True),
        sa.Column("found", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collections")),
        sa.UniqueConstraint("name", name=op.f("uq_collections_name")),
    )
    op.create_index(op.f("ix_collections_tenant_collection"), "collections", ["tenant", "collection"])
    op.add_column("tenants", sa.Column("voice", sa.Text(), nullable=True))
    op.add_column("tenants", sa.Column("greeting", sa.Text(), nullable=True))
