"""The tables. What is asked for alone has a column; what only travels with its machine is JSON.

`migrations/` makes them; a test holds that both say the same.
"""

from datetime import UTC, datetime

import sqlalchemy as sa

from hutch.model.states import State


class Moment(sa.TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no time zone, so what comes back without one is UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("is_suspended", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("limits", sa.JSON, nullable=False, server_default="{}"),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False, index=True),
    sa.Column("hash", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("prefix", sa.String(64), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment),
    sa.Column("last_used_at", Moment),
)

machines = sa.Table(
    "machines",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("reason", sa.Text),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("timers", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("ready_at", Moment),
    sa.Column("last_activity_at", Moment),
    sa.Column("persistence", sa.String(16), nullable=False, server_default="persistent"),
    sa.Column("priority", sa.Integer, nullable=False, server_default="5"),
    sa.Column("parent", sa.String(64)),  # may be gone, as may the snapshot: no foreign keys
    sa.Column("snapshot", sa.String(64)),
    sa.Column("suspended_at", Moment),
    sa.Column("metadata", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("ports", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("token_generation", sa.Integer, nullable=False, server_default="0"),
    sa.Column("share_generation", sa.Integer, nullable=False, server_default="0"),
    sa.Column("wakes_on_traffic", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("starts_on_traffic", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("private_traffic", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("grants", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("checkout", sa.JSON),
    sa.Column("ends_on", sa.String(16), nullable=False, server_default="rest"),
    sa.Column("build", sa.String(64)),  # may be gone
    sa.Column("is_recreated", sa.Boolean, nullable=False, server_default=sa.false()),
)

_living = machines.c.state != State.DESTROYED.value
living_names = sa.Index(
    "uq_machines_living_name",
    machines.c.tenant,
    machines.c.name,
    unique=True,
    sqlite_where=_living,
    postgresql_where=_living,
)
destroyed_machines = sa.Index(
    "ix_machines_destroyed",
    machines.c.tenant,
    machines.c.updated_at,
    sqlite_where=machines.c.state == State.DESTROYED.value,
    postgresql_where=machines.c.state == State.DESTROYED.value,
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False),
    sa.Column("machine", sa.ForeignKey(machines.c.id), nullable=False),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False, index=True),
    sa.Column("kind", sa.String(64), nullable=False, server_default="machine.noted"),
    sa.Column("tenant", sa.String(64)),  # its machine's
    sa.Column("snapshot", sa.String(64)),  # may be gone
    sa.Index("ix_events_machine_position", "machine", "position"),
    sa.Index("ix_events_tenant_position", "tenant", "position"),
    sa.Index("ix_events_snapshot", "snapshot"),
)

snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("machine", sa.String(64), nullable=False),  # may be gone
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("damage", sa.JSON, nullable=False),
    sa.Column("verified_at", Moment),
    sa.Column("metadata", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("persistence", sa.String(16), nullable=False, server_default="persistent"),
    sa.Column("priority", sa.Integer, nullable=False, server_default="5"),
    sa.Column("build", sa.String(64)),  # may be gone
    sa.Column("recipe", sa.String(64)),
    sa.Column("defaults", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("used_at", Moment),
    sa.Column("deleted_at", Moment),
)

_kept = snapshots.c.deleted_at.is_(None)
living_snapshot_names = sa.Index(
    "uq_snapshots_living_name",
    snapshots.c.tenant,
    snapshots.c.name,
    unique=True,
    sqlite_where=_kept,
    postgresql_where=_kept,
)
deleted_snapshots = sa.Index(
    "ix_snapshots_deleted",
    snapshots.c.tenant,
    snapshots.c.deleted_at,
    sqlite_where=snapshots.c.deleted_at.is_not(None),
    postgresql_where=snapshots.c.deleted_at.is_not(None),
)

pools = sa.Table(
    "pools",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("min", sa.Integer, nullable=False),
    sa.Column("max", sa.Integer, nullable=False),
    sa.Column("warm_up", sa.JSON),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, server_default="enabled"),
    sa.Column("mode", sa.String(16), nullable=False, server_default="prefer"),
    sa.Column("labels", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("metadata", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("updated_at", Moment),
    sa.UniqueConstraint("tenant", "name", name="uq_pools_tenant_name"),
)

volumes = sa.Table(
    "volumes",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("size_gib", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.UniqueConstraint("tenant", "name", name="uq_volumes_tenant_name"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("machine", sa.ForeignKey(machines.c.id), primary_key=True),
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("cwd", sa.Text),
    sa.Column("env", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("last_exec_at", Moment),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("machine", sa.ForeignKey(machines.c.id), nullable=False),
    sa.Column("command", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
    sa.Column("exit_code", sa.Integer),
    sa.Column("stdout_bytes", sa.BigInteger, nullable=False),
    sa.Column("stderr_bytes", sa.BigInteger, nullable=False),
    sa.Index("ix_jobs_machine_position", "machine", "position"),
)

builds = sa.Table(
    "builds",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False),
    sa.Column("request", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("snapshot", sa.String(64), nullable=False),  # is not there before the end, and may be gone after it
    sa.Column("name", sa.String(255)),
    sa.Column("recipe", sa.String(64), nullable=False),
    sa.Column("planned", sa.JSON, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
    sa.Column("reason", sa.Text),
    sa.Index("ix_builds_tenant_position", "tenant", "position"),
)

build_phases = sa.Table(
    "build_phases",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("build", sa.ForeignKey(builds.c.id), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("snapshot", sa.String(64)),
    sa.Index("ix_build_phases_build_position", "build", "position"),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),  # itself, not a hash: every delivery is signed with it
    sa.Column("kinds", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("is_enabled", sa.Boolean, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("updated_at", Moment),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("webhook", sa.ForeignKey(webhooks.c.id), nullable=False),
    sa.Column("event", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", Moment, index=True),
    sa.Column("delivered_at", Moment),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Index("ix_deliveries_webhook_position", "webhook", "position"),
)

intervals = sa.Table(
    "intervals",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("subject", sa.String(64), nullable=False),  # a machine, a volume or a pool
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False),
    sa.Column("charge", sa.String(16), nullable=False),
    sa.Column("start", Moment, nullable=False),
    sa.Column("until", Moment, nullable=False),
    sa.Column("is_open", sa.Boolean, nullable=False),
    sa.Column("cpus", sa.Integer, nullable=False),
    sa.Column("memory_mib", sa.Integer, nullable=False),
    sa.Column("disk_gib", sa.Integer, nullable=False),
    sa.Index("ix_intervals_tenant_until", "tenant", "until"),
    sa.Index("ix_intervals_subject", "subject"),
)

open_intervals = sa.Index(
    "uq_intervals_open",
    intervals.c.subject,
    intervals.c.charge,
    unique=True,
    sqlite_where=intervals.c.is_open.is_(sa.true()),
    postgresql_where=intervals.c.is_open.is_(sa.true()),
)

execs = sa.Table(
    "execs",
    metadata,
    sa.Column("machine", sa.String(64), primary_key=True),
    sa.Column("minute", Moment, primary_key=True),
    sa.Column("run", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("sent_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_execs_tenant_minute", "tenant", "minute"),
)

usage_days = sa.Table(
    "usage_days",
    metadata,
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), primary_key=True),
    sa.Column("subject", sa.String(64), primary_key=True),  # a machine, a volume, a pool; empty: deleted ones
    sa.Column("day", Moment, primary_key=True),
    sa.Column("uptime_seconds", sa.Float, nullable=False),
    sa.Column("cpu_seconds", sa.Float, nullable=False),
    sa.Column("memory_mib_seconds", sa.Float, nullable=False),
    sa.Column("disk_gib_seconds", sa.Float, nullable=False),
    sa.Column("machines", sa.Integer, nullable=False),
    sa.Column("begun", sa.Integer, nullable=False),
    sa.Column("ended", sa.Integer, nullable=False),
    sa.Column("execs", sa.Integer, nullable=False),
    sa.Column("exec_seconds", sa.Float, nullable=False),
    sa.Column("sent_bytes", sa.BigInteger, nullable=False),
    sa.Index("ix_usage_days_subject", "subject"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("operation", sa.String(255), nullable=False),
    sa.Column("body", sa.LargeBinary(32), nullable=False),
    sa.Column("created_at", Moment, nullable=False, index=True),
    sa.Column("expected", sa.Text),
    sa.Column("result", sa.Text),
)

domains = sa.Table(
    "domains",
    metadata,
    sa.Column("tenant", sa.ForeignKey(tenants.c.id), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("machine", sa.ForeignKey(machines.c.id), nullable=False, index=True),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("verified_at", Moment),
)

verified_domains = sa.Index(
    "uq_domains_verified_name",
    domains.c.name,
    unique=True,
    sqlite_where=domains.c.verified_at.is_not(None),
    postgresql_where=domains.c.verified_at.is_not(None),
)
