"""The store in a database, by SQLAlchemy URL: SQLite for one box, PostgreSQL (`asyncpg`) for more.

SQLite runs in WAL mode over one connection: a commit costs no fsync, writes never meet a lock, and a killed service
loses nothing it has acknowledged. (A power cut may lose the last moments, never the order: `synchronous` is NORMAL.)
Statements are plain SQL of both databases; what differs stands in `connection.py`. The queries are in `queries/`, one
file for each part of the interface.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from hutch.model import ids
from hutch.model.ids import KeyId, MachineId, SnapshotId
from hutch.model.states import State
from hutch.store import rows
from hutch.store.connection import find, uncut
from hutch.store.interface import Horizon, Recorded
from hutch.store.queries.attempts import AttemptQueries
from hutch.store.queries.builds import BuildQueries
from hutch.store.queries.domains import DomainQueries
from hutch.store.queries.machines import MachineQueries
from hutch.store.queries.tenants import TenantQueries
from hutch.store.queries.usage import UsageQueries
from hutch.store.queries.webhooks import WebhookQueries
from hutch.store.queries.work import WorkQueries
from hutch.store.tables import (
    attempts,
    build_phases,
    builds,
    deliveries,
    domains,
    events,
    facts,
    jobs,
    keys,
    machines,
    pools,
    sessions,
    snapshots,
    tenants,
    volumes,
    webhooks,
)


@uncut
class Database(
    TenantQueries,
    MachineQueries,
    WorkQueries,
    BuildQueries,
    WebhookQueries,
    DomainQueries,
    UsageQueries,
    AttemptQueries,
):
    """A `Store` in a real database."""

    async def ping(self) -> None:
        await self._do(sa.select(1))

    async def load(self) -> Recorded:
        living = sa.select(machines).where(machines.c.state != State.DESTROYED.value)
        kept = _oldest_first(snapshots).where(snapshots.c.deleted_at.is_(None))
        unfinished = _oldest_first(attempts).where(attempts.c.result.is_(None))
        async with self._transaction() as connection:
            known_pools = [rows.to_pool(row) for row in await find(connection, _oldest_first(pools))]
            has_had_machines = (await connection.execute(sa.select(machines.c.id).limit(1))).first() is not None
            return Recorded(
                cluster=await _fact(connection, "cluster", ids.random_id),
                secret=await _fact(connection, "secret", secrets.token_urlsafe),
                tenants=[rows.tenants.read(row) for row in await find(connection, _oldest_first(tenants))],
                keys=[rows.to_key(row) for row in await find(connection, _oldest_first(keys))],
                machines=[
                    rows.to_machine(row) for row in await find(connection, living.order_by(machines.c.created_at))
                ],
                snapshots=[rows.to_snapshot(row) for row in await find(connection, kept)],
                pools=known_pools,
                volumes=[rows.volumes.read(row) for row in await find(connection, _oldest_first(volumes))],
                sessions=[rows.sessions.read(row) for row in await find(connection, _oldest_first(sessions))],
                webhooks=[rows.webhooks.read(row) for row in await find(connection, _oldest_first(webhooks))],
                domains=[rows.domains.read(row) for row in await find(connection, _oldest_first(domains))],
                attempts=[rows.attempts.read(row) for row in await find(connection, unfinished)],
                is_new=not has_had_machines and not known_pools,
            )

    async def touch(
        self,
        touched_machines: Mapping[MachineId, datetime],
        touched_keys: Mapping[KeyId, datetime],
        touched_snapshots: Mapping[SnapshotId, datetime],
    ) -> None:
        async with self._transaction() as connection:
            await _touch(connection, machines.c.last_activity_at, touched_machines)
            await _touch(connection, keys.c.last_used_at, touched_keys)
            await _touch(connection, snapshots.c.used_at, touched_snapshots)

    async def prune(self, horizon: Horizon) -> None:
        is_settled = deliveries.c.next_attempt_at.is_(None)
        async with self._transaction() as connection:
            if horizon.events is not None:
                await connection.execute(sa.delete(events).where(events.c.created_at < horizon.events))
            if horizon.deliveries is not None:
                is_old = deliveries.c.created_at < horizon.deliveries
                await connection.execute(sa.delete(deliveries).where(is_old & is_settled))
            if horizon.jobs is not None:
                await connection.execute(sa.delete(jobs).where(jobs.c.finished_at < horizon.jobs))
            if horizon.builds is not None:
                await _prune_builds(connection, horizon.builds)
            if horizon.snapshots is not None:
                await connection.execute(sa.delete(snapshots).where(snapshots.c.deleted_at < horizon.snapshots))
            if horizon.attempts is not None:
                await connection.execute(sa.delete(attempts).where(attempts.c.created_at < horizon.attempts))


def _oldest_first(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table).order_by(table.c.created_at)


async def _fact(connection: AsyncConnection, name: str, make: Callable[[], str]) -> str:
    """What is true of this database, made when it is first asked for."""
    known = await connection.scalar(sa.select(facts.c.value).where(facts.c.name == name))
    if known is not None:
        return str(known)
    value = make()
    await connection.execute(sa.insert(facts).values(name=name, value=value))
    return value


async def _prune_builds(connection: AsyncConnection, before: datetime) -> None:
    is_old = builds.c.finished_at < before
    of_old = build_phases.c.build.in_(sa.select(builds.c.id).where(is_old))
    await connection.execute(sa.delete(build_phases).where(of_old))
    await connection.execute(sa.delete(builds).where(is_old))


async def _touch(connection: AsyncConnection, column: sa.Column[Any], moments: Mapping[Any, datetime]) -> None:
    if moments:
        table = column.table
        assert isinstance(table, sa.Table)
        update = sa.update(table).where(table.c.id == sa.bindparam("of")).values({column.name: sa.bindparam("at")})
        await connection.execute(update, [{"of": id, "at": at} for id, at in moments.items()])
