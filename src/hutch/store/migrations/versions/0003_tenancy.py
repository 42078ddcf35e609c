"""Suspension and limits of tenants, metadata of machines, kinds of events; volumes, sessions, jobs, webhooks, usage,
and requests that are done once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def moment(name: str, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.add_column("tenants", sa.Column("is_suspended", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("tenants", sa.Column("limits", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("machines", sa.Column("metadata", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("events", sa.Column("kind", sa.String(64), nullable=False, server_default="machine.noted"))
    op.create_index("ix_events_created_at", "events", ["created_at"])
    _volumes()
    _sessions()
    _jobs()
    _webhooks()
    _usage()
    _begin_disks()
    _attempts()


def _volumes() -> None:
    op.create_table(
        "volumes",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("size_gib", sa.Integer, nullable=False),
        moment("created_at", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_volumes"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_volumes_tenant"),
        sa.UniqueConstraint("tenant", "name", name="uq_volumes_tenant_name"),
    )


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("cwd", sa.Text),
        sa.Column("env", sa.JSON, nullable=False),
        moment("created_at", nullable=False),
        moment("last_exec_at"),
        sa.PrimaryKeyConstraint("machine", "id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["machine"], ["machines.id"], name="fk_sessions_machine"),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("position", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("command", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        moment("created_at", nullable=False),
        moment("finished_at"),
        sa.Column("exit_code", sa.Integer),
        sa.Column("stdout_bytes", sa.BigInteger, nullable=False),
        sa.Column("stderr_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_jobs"),
        sa.ForeignKeyConstraint(["machine"], ["machines.id"], name="fk_jobs_machine"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
    )
    op.create_index("ix_jobs_machine_position", "jobs", ["machine", "position"])
    op.create_index("ix_jobs_state", "jobs", ["state"])


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("kinds", sa.JSON, nullable=False),
        moment("created_at", nullable=False),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_webhooks_tenant"),
    )
    op.create_table(
        "deliveries",
        sa.Column("position", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("webhook", sa.String(64), nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        moment("created_at", nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        moment("next_attempt_at"),
        moment("delivered_at"),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("position", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["webhook"], ["webhooks.id"], name="fk_deliveries_webhook"),
        sa.UniqueConstraint("id", name="uq_deliveries_id"),
    )
    op.create_index("ix_deliveries_webhook_position", "deliveries", ["webhook", "position"])
    op.create_index("ix_deliveries_next_attempt_at", "deliveries", ["next_attempt_at"])
    op.create_index("ix_deliveries_created_at", "deliveries", ["created_at"])


def _usage() -> None:
    op.create_table(
        "intervals",
        sa.Column("position", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("charge", sa.String(16), nullable=False),
        moment("start", nullable=False),
        moment("until", nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("cpus", sa.Integer, nullable=False),
        sa.Column("memory_mib", sa.Integer, nullable=False),
        sa.Column("disk_gib", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_intervals"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_intervals_tenant"),
    )
    op.create_index("ix_intervals_tenant_until", "intervals", ["tenant", "until"])
    op.create_index("ix_intervals_subject", "intervals", ["subject"])
    is_open = sa.column("is_open").is_(sa.true())
    op.create_index(
        "uq_intervals_open",
        "intervals",
        ["subject", "charge"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "execs",
        sa.Column("machine", sa.String(64), nullable=False),
        moment("minute", nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("machine", "minute", "run", name="pk_execs"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_execs_tenant"),
    )
    op.create_index("ix_execs_tenant_minute", "execs", ["tenant", "minute"])


def _begin_disks() -> None:
    """The disks of machines that are there: their creation is known, when they ran is not, before now."""
    names = ("id", "tenant", "state", "spec", "created_at", "ready_at", "updated_at")
    machines = sa.table("machines", *(sa.column(name, _TYPES.get(name)) for name in names))
    intervals = sa.table("intervals", *(sa.column(name) for name in _COLUMNS))
    connection = op.get_bind()
    for machine in connection.execute(sa.select(machines)).mappings().all():
        if machine["state"] in ("creating", "destroying", "destroyed"):
            continue
        resources = machine["spec"]["resources"]
        charges = {"disk": (machine["created_at"], 0, 0, resources["disk_gib"])}
        if machine["state"] == "running":
            since = machine["ready_at"] or machine["updated_at"]
            charges["running"] = (since, resources["cpus"], resources["memory_mib"], 0)
        elif machine["state"] == "paused":
            charges["paused"] = (machine["updated_at"], 0, resources["memory_mib"], 0)
        for charge, (start, cpus, memory, disk) in charges.items():
            row = (machine["id"], machine["tenant"], charge, start, start, True, cpus, memory, disk)
            connection.execute(sa.insert(intervals).values(dict(zip(_COLUMNS, row, strict=True))))


_TYPES: dict[str, sa.types.TypeEngine[object]] = {"spec": sa.JSON()}
_COLUMNS = ("subject", "tenant", "charge", "start", "until", "is_open", "cpus", "memory_mib", "disk_gib")


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("operation", sa.String(255), nullable=False),
        sa.Column("body", sa.LargeBinary(32), nullable=False),
        moment("created_at", nullable=False),
        sa.Column("expected", sa.Text),
        sa.Column("result", sa.Text),
        sa.PrimaryKeyConstraint("tenant", "key", name="pk_attempts"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_attempts_tenant"),
    )
    op.create_index("ix_attempts_created_at", "attempts", ["created_at"])
