"""Persistence classes, ancestry and suspension of machines; snapshots and pools."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def moment(name: str, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    for column in (
        sa.Column("persistence", sa.String(16), nullable=False, server_default="persistent"),
        sa.Column("priority", sa.Integer, nullable=False, server_default="5"),
        sa.Column("parent", sa.String(64)),
        sa.Column("snapshot", sa.String(64)),
        moment("suspended_at"),
    ):
        op.add_column("machines", column)
    _carry_over()
    op.drop_column("machines", "ephemeral")
    _snapshots()
    _pools()


def _carry_over() -> None:
    """What `ephemeral` and the timer `idle_stop` said."""
    machines = sa.table(
        "machines",
        sa.column("id", sa.String),
        sa.column("ephemeral", sa.Boolean),
        sa.column("persistence", sa.String),
        sa.column("timers", sa.JSON),
    )
    connection = op.get_bind()
    connection.execute(sa.update(machines).where(machines.c.ephemeral).values(persistence="ephemeral"))
    for id, timers in connection.execute(sa.select(machines.c.id, machines.c.timers)).all():
        known = dict(timers)
        if "idle_stop" in known:
            known["idle"] = known.pop("idle_stop")
            connection.execute(sa.update(machines).where(machines.c.id == id).values(timers=known))


def _snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        moment("created_at", nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("damage", sa.JSON, nullable=False),
        moment("verified_at"),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_snapshots_tenant"),
        sa.UniqueConstraint("tenant", "name", name="uq_snapshots_tenant_name"),
    )


def _pools() -> None:
    op.create_table(
        "pools",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("min", sa.Integer, nullable=False),
        sa.Column("max", sa.Integer, nullable=False),
        sa.Column("warm_up", sa.JSON),
        moment("created_at", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pools"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_pools_tenant"),
        sa.UniqueConstraint("tenant", "name", name="uq_pools_tenant_name"),
    )
