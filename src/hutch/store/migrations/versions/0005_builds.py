"""Builds and their phases; what snapshots are for, and deleted ones; machines that end otherwise, and are made anew."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def moment(name: str, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    _machines()
    _snapshots()
    _builds()


def _machines() -> None:
    op.add_column("machines", sa.Column("ends_on", sa.String(16), nullable=False, server_default="rest"))
    op.add_column("machines", sa.Column("build", sa.String(64)))
    op.add_column("machines", sa.Column("is_recreated", sa.Boolean, nullable=False, server_default=sa.false()))
    is_destroyed = sa.text("state = 'destroyed'")
    op.create_index(
        "ix_machines_destroyed",
        "machines",
        ["tenant", "updated_at"],
        sqlite_where=is_destroyed,
        postgresql_where=is_destroyed,
    )


def _snapshots() -> None:
    with op.batch_alter_table("snapshots") as snapshots:
        snapshots.drop_constraint("uq_snapshots_tenant_name", type_="unique")
        for column in (
            sa.Column("persistence", sa.String(16), nullable=False, server_default="persistent"),
            sa.Column("priority", sa.Integer, nullable=False, server_default="5"),
            sa.Column("build", sa.String(64)),
            sa.Column("recipe", sa.String(64)),
            sa.Column("defaults", sa.JSON, nullable=False, server_default="{}"),
            moment("used_at"),
            moment("deleted_at"),
        ):
            snapshots.add_column(column)
    deleted: sa.ColumnClause[object] = sa.column("deleted_at")
    for name, columns, unique, where in (
        ("uq_snapshots_living_name", ["tenant", "name"], True, deleted.is_(None)),
        ("ix_snapshots_deleted", ["tenant", "deleted_at"], False, deleted.is_not(None)),
    ):
        op.create_index(name, "snapshots", columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _builds() -> None:
    op.create_table(
        "builds",
        sa.Column("position", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("snapshot", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255)),
        sa.Column("recipe", sa.String(64), nullable=False),
        sa.Column("planned", sa.JSON, nullable=False),
        moment("started_at", nullable=False),
        moment("updated_at", nullable=False),
        moment("finished_at"),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("position", name="pk_builds"),
        sa.UniqueConstraint("id", name="uq_builds_id"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_builds_tenant"),
    )
    op.create_index("ix_builds_state", "builds", ["state"])
    op.create_index("ix_builds_tenant_position", "builds", ["tenant", "position"])
    op.create_table(
        "build_phases",
        sa.Column("position", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("build", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        moment("started_at", nullable=False),
        sa.Column("snapshot", sa.String(64)),
        sa.PrimaryKeyConstraint("position", name="pk_build_phases"),
        sa.UniqueConstraint("id", name="uq_build_phases_id"),
        sa.ForeignKeyConstraint(["build"], ["builds.id"], name="fk_build_phases_build"),
    )
    op.create_index("ix_build_phases_build_position", "build_phases", ["build", "position"])
