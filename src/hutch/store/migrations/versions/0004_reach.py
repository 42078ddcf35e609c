"""Published ports of machines and the generation of their traffic tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("machines", sa.Column("ports", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("machines", sa.Column("token_generation", sa.Integer, nullable=False, server_default="0"))
