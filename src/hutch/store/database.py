"""The store in a database, by SQLAlchemy URL: SQLite for one box, PostgreSQL (`asyncpg`) for more.

SQLite runs in WAL mode over one connection: a commit costs no fsync, writes never meet a lock, and a killed service
loses nothing it has acknowledged. (A power cut may lose the last moments, never the order: `synchronous` is NORMAL.)
Statements are plain SQL of both databases; what differs stands in `_engine`.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from hutch.model import errors, ids
from hutch.model.ids import KeyId, MachineId, PoolId, SnapshotId
from hutch.model.keys import Tenant
from hutch.model.machine import Event, Machine, Pool, Snapshot
from hutch.model.states import State
from hutch.store import migrations, rows
from hutch.store.interface import Recorded, StoredKey
from hutch.store.tables import events, facts, keys, machines, pools, snapshots, tenants

_BUSY_TIMEOUT_MS = 10_000


class Database:
    """A `Store` in a real database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connected: AsyncEngine | None = None

    async def open(self) -> None:
        await _check_sqlite(sa.make_url(self._url))
        with _told():
            self._connected = _engine(self._url)
            async with self._connected.begin() as connection:
                await connection.run_sync(migrations.upgrade)

    async def close(self) -> None:
        engine, self._connected = self._connected, None
        if engine is not None:
            await engine.dispose()

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        if self._connected is None:
            raise errors.HutchError("the database is closed")
        with _told():
            async with self._connected.begin() as connection:
                yield connection

    async def ping(self) -> None:
        async with self._transaction() as connection:
            await connection.execute(sa.select(1))

    async def load(self) -> Recorded:
        living = sa.select(machines).where(machines.c.state != State.DESTROYED.value)
        async with self._transaction() as connection:
            known_pools = [rows.to_pool(row) for row in await _all(connection, _oldest_first(pools))]
            has_had_machines = (await connection.execute(sa.select(machines.c.id).limit(1))).first() is not None
            return Recorded(
                await _cluster(connection),
                [rows.to_tenant(row) for row in await _all(connection, sa.select(tenants))],
                [rows.to_key(row) for row in await _all(connection, _oldest_first(keys))],
                [rows.to_machine(row) for row in await _all(connection, living.order_by(machines.c.created_at))],
                [rows.to_snapshot(row) for row in await _all(connection, _oldest_first(snapshots))],
                known_pools,
                is_new=not has_had_machines and not known_pools,
            )

    async def add_tenant(self, tenant: Tenant) -> None:
        async with self._transaction() as connection:
            with _refused(f"there is already a tenant named {tenant.name}"):
                await connection.execute(sa.insert(tenants).values(rows.from_tenant(tenant)))

    async def add_key(self, stored: StoredKey) -> None:
        async with self._transaction() as connection:
            with _refused(f"there is no tenant {stored.key.tenant}"):
                await connection.execute(sa.insert(keys).values(rows.from_key(stored)))

    async def remove_key(self, key: KeyId) -> None:
        async with self._transaction() as connection:
            await connection.execute(sa.delete(keys).where(keys.c.id == key))

    async def add_machine(self, machine: Machine, event: Event) -> None:
        await self.add_machines([(machine, event)])

    async def add_machines(self, made: Sequence[tuple[Machine, Event]]) -> None:
        async with self._transaction() as connection:
            for machine, event in made:
                with _refused(f"there is already a machine named {machine.name}"):
                    await connection.execute(sa.insert(machines).values(rows.from_machine(machine)))
                await connection.execute(sa.insert(events).values(rows.from_event(event)))

    async def save_machine(self, machine: Machine, was: State, event: Event) -> None:
        await self.save_machines([(machine, was, event)])

    async def save_machines(self, changes: Sequence[tuple[Machine, State, Event]]) -> None:
        async with self._transaction() as connection:
            for machine, was, event in changes:
                known = (machines.c.id == machine.id) & (machines.c.state == was.value)
                done = await connection.execute(sa.update(machines).where(known).values(rows.from_machine(machine)))
                if done.rowcount != 1:
                    raise errors.Conflict(f"machine {machine.id} is not recorded as {was}")
                await connection.execute(sa.insert(events).values(rows.from_event(event)))

    async def add_event(self, event: Event) -> None:
        async with self._transaction() as connection:
            await connection.execute(sa.insert(events).values(rows.from_event(event)))

    async def touch(
        self, touched_machines: Mapping[MachineId, datetime], touched_keys: Mapping[KeyId, datetime]
    ) -> None:
        async with self._transaction() as connection:
            await _touch(connection, machines.c.last_activity_at, touched_machines)
            await _touch(connection, keys.c.last_used_at, touched_keys)

    async def get_machine(self, machine: MachineId) -> Machine | None:
        async with self._transaction() as connection:
            found = await _all(connection, sa.select(machines).where(machines.c.id == machine))
        return rows.to_machine(found[0]) if found else None

    async def list_events(self, machine: MachineId, limit: int) -> Sequence[Event]:
        last = sa.select(events).where(events.c.machine == machine).order_by(events.c.position.desc()).limit(limit)
        async with self._transaction() as connection:
            return [rows.to_event(row) for row in reversed(await _all(connection, last))]

    async def add_snapshot(self, snapshot: Snapshot) -> None:
        async with self._transaction() as connection:
            with _refused(f"there is already a snapshot named {snapshot.name}"):
                await connection.execute(sa.insert(snapshots).values(rows.from_snapshot(snapshot)))

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        known = snapshots.c.id == snapshot.id
        async with self._transaction() as connection:
            await connection.execute(sa.update(snapshots).where(known).values(rows.from_snapshot(snapshot)))

    async def remove_snapshot(self, snapshot: SnapshotId) -> None:
        async with self._transaction() as connection:
            await connection.execute(sa.delete(snapshots).where(snapshots.c.id == snapshot))

    async def add_pool(self, pool: Pool) -> None:
        async with self._transaction() as connection:
            with _refused(f"there is already a pool named {pool.name}"):
                await connection.execute(sa.insert(pools).values(rows.from_pool(pool)))

    async def remove_pool(self, pool: PoolId) -> None:
        async with self._transaction() as connection:
            await connection.execute(sa.delete(pools).where(pools.c.id == pool))


async def _check_sqlite(url: sa.URL) -> None:
    """Whether the file can be opened, asked first: aiosqlite leaves a thread behind when it cannot."""

    def touch() -> None:
        sqlite3.connect(url.database or "").close()

    if url.get_backend_name() == "sqlite":
        try:
            await asyncio.to_thread(touch)
        except sqlite3.Error as error:
            raise errors.HutchError(f"the database {url.database} cannot be opened: {error}") from None


def _engine(url: str) -> AsyncEngine:
    if sa.make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, pool_pre_ping=True)
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=60)
    sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    # Python's sqlite3 would begin no transaction before DDL; so it begins none, and `_begin_sqlite` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _all(connection: AsyncConnection, query: sa.Select[Any]) -> Sequence[rows.Row]:
    found: Sequence[Any] = (await connection.execute(query)).mappings().all()
    return found


def _oldest_first(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table).order_by(table.c.created_at)


async def _cluster(connection: AsyncConnection) -> str:
    """The id of this cluster, made when it is first asked for."""
    known = await connection.scalar(sa.select(facts.c.value).where(facts.c.name == "cluster"))
    if known is not None:
        return str(known)
    cluster = ids.random_id()
    await connection.execute(sa.insert(facts).values(name="cluster", value=cluster))
    return cluster


async def _touch(connection: AsyncConnection, column: sa.Column[Any], moments: Mapping[Any, datetime]) -> None:
    if moments:
        table = column.table
        assert isinstance(table, sa.Table)
        update = sa.update(table).where(table.c.id == sa.bindparam("of")).values({column.name: sa.bindparam("at")})
        await connection.execute(update, [{"of": id, "at": at} for id, at in moments.items()])


@contextlib.contextmanager
def _refused(message: str) -> Iterator[None]:
    """A broken rule of the schema is the caller's conflict."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise errors.Conflict(message, database=str(error.orig)) from None


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The one place where the database's errors become ours."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        words = str(getattr(error, "orig", None) or error)
        if "disk is full" in words or "No space left" in words:
            raise errors.DiskFull("the database cannot be written: its disk is full", database=words) from error
        raise errors.HutchError("the database failed; the service's log has the details", database=words) from error
