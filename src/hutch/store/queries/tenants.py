"""Tenants, their keys, and what they have besides machines."""

from collections.abc import Sequence

import sqlalchemy as sa

from hutch.model.ids import KeyId, PoolId, SnapshotId, TenantId, VolumeId
from hutch.model.keys import Tenant
from hutch.model.machine import Pool, Snapshot
from hutch.model.usage import Turn
from hutch.model.volumes import Volume
from hutch.store import rows
from hutch.store.connection import Connected, refused_as
from hutch.store.interface import StoredKey
from hutch.store.queries.usage import take_turn
from hutch.store.tables import keys, pools, snapshots, tenants, volumes


class TenantQueries(Connected):
    """As `interface.TenantRecords`."""

    async def add_tenant(self, tenant: Tenant) -> None:
        await self._insert(tenants, rows.tenants.write(tenant), f"there is already a tenant named {tenant.name}")

    async def save_tenant(self, tenant: Tenant) -> None:
        await self._do(sa.update(tenants).where(tenants.c.id == tenant.id).values(rows.tenants.write(tenant)))

    async def add_key(self, stored: StoredKey) -> None:
        await self._insert(keys, rows.from_key(stored), f"there is no tenant {stored.key.tenant}")

    async def remove_key(self, key: KeyId) -> None:
        await self._do(sa.delete(keys).where(keys.c.id == key))

    async def add_snapshot(self, snapshot: Snapshot) -> None:
        refused = f"there is already a snapshot named {snapshot.name}"
        await self._insert(snapshots, rows.from_snapshot(snapshot), refused)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        changed = sa.update(snapshots).where(snapshots.c.id == snapshot.id).values(rows.from_snapshot(snapshot))
        await self._write(changed, f"there is already a snapshot named {snapshot.name}")

    async def get_snapshot(self, snapshot: SnapshotId) -> Snapshot | None:
        found = await self._find(sa.select(snapshots).where(snapshots.c.id == snapshot))
        return rows.to_snapshot(found[0]) if found else None

    async def list_deleted_snapshots(self, tenant: TenantId, limit: int) -> Sequence[Snapshot]:
        is_deleted = (snapshots.c.tenant == tenant) & snapshots.c.deleted_at.is_not(None)
        last = sa.select(snapshots).where(is_deleted).order_by(snapshots.c.deleted_at.desc()).limit(limit)
        return [rows.to_snapshot(row) for row in await self._find(last)]

    async def remove_snapshot(self, snapshot: SnapshotId) -> None:
        await self._do(sa.delete(snapshots).where(snapshots.c.id == snapshot))

    async def add_pool(self, pool: Pool) -> None:
        await self._insert(pools, rows.from_pool(pool), f"there is already a pool named {pool.name}")

    async def save_pool(self, pool: Pool) -> None:
        changed = sa.update(pools).where(pools.c.id == pool.id).values(rows.from_pool(pool))
        await self._write(changed, f"there is already a pool named {pool.name}")

    async def remove_pool(self, pool: PoolId) -> None:
        await self._do(sa.delete(pools).where(pools.c.id == pool))

    async def add_volume(self, volume: Volume, turn: Turn) -> None:
        async with self._transaction() as connection:
            with refused_as(f"there is already a volume named {volume.name}"):
                await connection.execute(sa.insert(volumes).values(rows.volumes.write(volume)))
            await take_turn(connection, turn)

    async def remove_volume(self, volume: VolumeId, turn: Turn) -> None:
        async with self._transaction() as connection:
            await connection.execute(sa.delete(volumes).where(volumes.c.id == volume))
            await take_turn(connection, turn)
