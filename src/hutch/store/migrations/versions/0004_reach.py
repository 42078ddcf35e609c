"""Published ports of machines and the generation of their traffic tokens; events by tenant
and by snapshot; old usage.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("machines", sa.Column("ports", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("machines", sa.Column("token_generation", sa.Integer, nullable=False, server_default="0"))
    op.add_column("machines", sa.Column("share_generation", sa.Integer, nullable=False, server_default="0"))
    op.add_column("machines", sa.Column("wakes_on_traffic", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("machines", sa.Column("starts_on_traffic", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("machines", sa.Column("private_traffic", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("machines", sa.Column("grants", sa.JSON, nullable=False, server_default="[]"))
    _events()
    op.add_column("webhooks", sa.Column("updated_at", sa.DateTime(timezone=True)))
    _domains()
    _pools()
    _usage_days()


def _events() -> None:
    op.add_column("events", sa.Column("tenant", sa.String(64)))
    op.add_column("events", sa.Column("snapshot", sa.String(64)))
    op.execute("UPDATE events SET tenant = (SELECT tenant FROM machines WHERE machines.id = events.machine)")
    op.execute(
        "UPDATE events SET snapshot = (SELECT id FROM snapshots WHERE snapshots.machine = events.machine"
        " AND events.message = 'snapshot ' || snapshots.name || ' was made of it')"
        " WHERE kind = 'machine.snapshotted'"
    )
    op.create_index("ix_events_tenant_position", "events", ["tenant", "position"])
    op.create_index("ix_events_snapshot", "events", ["snapshot"])


def _domains() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "domains",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("verified_at", moment),
        sa.PrimaryKeyConstraint("tenant", "name", name="pk_domains"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_domains_tenant"),
        sa.ForeignKeyConstraint(["machine"], ["machines.id"], name="fk_domains_machine"),
    )
    op.create_index("ix_domains_machine", "domains", ["machine"])
    is_verified = sa.column("verified_at").is_not(None)
    op.create_index(
        "uq_domains_verified_name",
        "domains",
        ["name"],
        unique=True,
        sqlite_where=is_verified,
        postgresql_where=is_verified,
    )


def _pools() -> None:
    """How machines came of pools; pools that change; what snapshots are told of."""
    op.add_column("machines", sa.Column("checkout", sa.JSON))
    op.add_column("snapshots", sa.Column("metadata", sa.JSON, nullable=False, server_default="{}"))
    op.execute(  # that was told of them before
        "UPDATE snapshots SET metadata = (SELECT metadata FROM machines WHERE machines.id = snapshots.machine)"
        " WHERE machine IN (SELECT id FROM machines)"
    )
    op.add_column("pools", sa.Column("state", sa.String(16), nullable=False, server_default="enabled"))
    op.add_column("pools", sa.Column("mode", sa.String(16), nullable=False, server_default="prefer"))
    op.add_column("pools", sa.Column("labels", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("pools", sa.Column("metadata", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("pools", sa.Column("updated_at", sa.DateTime(timezone=True)))


def _usage_days() -> None:
    op.add_column("execs", sa.Column("sent_bytes", sa.BigInteger, nullable=False, server_default="0"))
    sums = ("uptime_seconds", "cpu_seconds", "memory_mib_seconds", "disk_gib_seconds")
    op.create_table(
        "usage_days",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("day", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Float, nullable=False) for name in sums),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("machines", "begun", "ended", "execs")),
        sa.Column("exec_seconds", sa.Float, nullable=False),
        sa.Column("sent_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "subject", "day", name="pk_usage_days"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_usage_days_tenant"),
    )
    op.create_index("ix_usage_days_subject", "usage_days", ["subject"])
