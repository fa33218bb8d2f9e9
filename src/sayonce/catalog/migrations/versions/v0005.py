"""What is yet to be made is found without reading what is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    unmade = sa.text("request IS NOT NULL")
    op.create_index("ix_uses_unmade", "uses", ["id"], sqlite_where=unmade, postgresql_where=unmade)
