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

events = sa.Table(
    "events",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False),
    sa.Column("machine", sa.ForeignKey(machines.c.id), nullable=False),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("ix_events_machine_position", "machine", "position"),
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
    sa.UniqueConstraint("tenant", "name", name="uq_snapshots_tenant_name"),
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
    sa.UniqueConstraint("tenant", "name", name="uq_pools_tenant_name"),
)
