"""The store as dictionaries: for tests that are not about the database. Nothing survives it."""

import dataclasses
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from hutch.model import errors, ids
from hutch.model.ids import KeyId, MachineId, PoolId, SnapshotId, TenantId, VolumeId
from hutch.model.keys import Tenant
from hutch.model.machine import Event, Machine, Pool, Snapshot
from hutch.model.states import State
from hutch.model.usage import Turn
from hutch.model.volumes import Volume
from hutch.store.interface import EventQuery, Horizon, Recorded, StoredKey
from hutch.store.memory_builds import MemoryBuilds
from hutch.store.memory_usage import MemoryUsage
from hutch.store.memory_work import MemoryWork


class MemoryStore(MemoryWork, MemoryUsage, MemoryBuilds):
    """Keeps its content across `close` and `open`, so that a test can restart a service on it."""

    def __init__(self) -> None:
        MemoryWork.__init__(self)
        MemoryUsage.__init__(self)
        MemoryBuilds.__init__(self)
        self._cluster = ids.random_id()
        self._secret = secrets.token_urlsafe(32)
        self._tenants: dict[TenantId, Tenant] = {}
        self._keys: dict[KeyId, StoredKey] = {}
        self._machines: dict[MachineId, Machine] = {}
        self._names: set[tuple[TenantId, str]] = set()  # of the living
        self._events: list[Event] = []
        self._snapshots: dict[SnapshotId, Snapshot] = {}
        self._pools: dict[PoolId, Pool] = {}
        self._volumes: dict[VolumeId, Volume] = {}

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def ping(self) -> None:
        pass

    async def load(self) -> Recorded:
        living = [machine for machine in self._machines.values() if machine.state is not State.DESTROYED]
        living.sort(key=lambda machine: machine.created_at)
        return Recorded(
            cluster=self._cluster,
            secret=self._secret,
            tenants=list(self._tenants.values()),
            keys=list(self._keys.values()),
            machines=living,
            snapshots=sorted(self._kept_snapshots(), key=lambda snapshot: snapshot.created_at),
            pools=sorted(self._pools.values(), key=lambda pool: pool.created_at),
            volumes=sorted(self._volumes.values(), key=lambda volume: volume.created_at),
            sessions=sorted(self._sessions.values(), key=lambda session: session.created_at),
            webhooks=sorted(self._webhooks.values(), key=lambda webhook: webhook.created_at),
            domains=sorted(self._domains.values(), key=lambda domain: domain.created_at),
            attempts=[attempt for attempt in self._attempts.values() if attempt.result is None],
            is_new=not self._machines and not self._pools,
        )

    async def add_tenant(self, tenant: Tenant) -> None:
        if any(tenant.name == other.name for other in self._tenants.values()):
            raise errors.Conflict(f"there is already a tenant named {tenant.name}")
        self._tenants[tenant.id] = tenant

    async def save_tenant(self, tenant: Tenant) -> None:
        if tenant.id in self._tenants:
            self._tenants[tenant.id] = tenant

    async def add_key(self, stored: StoredKey) -> None:
        if stored.key.tenant not in self._tenants:
            raise errors.Conflict(f"there is no tenant {stored.key.tenant}")
        self._keys[stored.key.id] = stored

    async def remove_key(self, key: KeyId) -> None:
        self._keys.pop(key, None)

    async def add_machine(self, machine: Machine, event: Event) -> None:
        await self.add_machines([(machine, event)])

    async def add_machines(self, made: Sequence[tuple[Machine, Event]]) -> None:
        names = set(self._names)
        for machine, _ in made:
            _take_name(names, machine)
        self._names = names
        for machine, event in made:
            self._machines[machine.id] = machine
            self._events.append(event)

    async def save_machine(self, machine: Machine, was: State, event: Event, turn: Turn | None = None) -> None:
        await self.save_machines([(machine, was, event)], [] if turn is None else [turn])

    async def save_machines(self, changes: Sequence[tuple[Machine, State, Event]], turns: Sequence[Turn] = ()) -> None:
        names = set(self._names)
        for machine, was, _ in changes:
            current = self._machines.get(machine.id)
            if current is None or current.state is not was:
                raise errors.Conflict(f"machine {machine.id} is not recorded as {was}")
            if was is not State.DESTROYED:
                names.discard((current.tenant, current.name))
            if machine.state is not State.DESTROYED:
                _take_name(names, machine)
        self._names = names
        for machine, _, event in changes:
            if machine.state is State.DESTROYED:
                self._forget_work(machine.id)
            self._machines[machine.id] = machine
            self._events.append(event)
        for turn in turns:
            self._take_turn(turn)

    async def add_event(self, event: Event) -> None:
        self._events.append(event)

    async def touch(
        self,
        machines: Mapping[MachineId, datetime],
        keys: Mapping[KeyId, datetime],
        snapshots: Mapping[SnapshotId, datetime],
    ) -> None:
        for machine, at in machines.items():
            if machine in self._machines:
                self._machines[machine] = dataclasses.replace(self._machines[machine], last_activity_at=at)
        for key, at in keys.items():
            if key in self._keys:
                stored = self._keys[key]
                self._keys[key] = dataclasses.replace(stored, key=dataclasses.replace(stored.key, last_used_at=at))
        for snapshot, at in snapshots.items():
            if snapshot in self._snapshots:
                self._snapshots[snapshot] = dataclasses.replace(self._snapshots[snapshot], used_at=at)

    async def get_machine(self, machine: MachineId) -> Machine | None:
        return self._machines.get(machine)

    async def list_destroyed_machines(self, tenant: TenantId, limit: int) -> Sequence[Machine]:
        gone = [it for it in self._machines.values() if it.tenant == tenant and it.state is State.DESTROYED]
        return sorted(gone, key=lambda machine: machine.updated_at, reverse=True)[:limit]

    async def list_events(self, machine: MachineId, limit: int) -> Sequence[Event]:
        return [event for event in self._events if event.machine == machine][-limit:]

    async def find_events(self, query: EventQuery) -> Sequence[Event]:
        found = [event for event in self._events if self._is_wanted(event, query)]
        return (found[::-1] if query.newest_first else found)[query.offset : query.offset + query.limit]

    def _is_wanted(self, event: Event, query: EventQuery) -> bool:
        return (
            self._machines[event.machine].tenant == query.tenant
            and query.machine in (None, event.machine)
            and query.snapshot in (None, event.snapshot)
            and (query.kinds is None or event.kind in query.kinds)
            and (query.since is None or event.created_at >= query.since)
            and (query.until is None or event.created_at <= query.until)
        )

    async def add_snapshot(self, snapshot: Snapshot) -> None:
        _check_name("snapshot", snapshot, self._kept_snapshots())
        self._snapshots[snapshot.id] = snapshot

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.id in self._snapshots:
            if snapshot.deleted_at is None:
                _check_name("snapshot", snapshot, [it for it in self._kept_snapshots() if it.id != snapshot.id])
            self._snapshots[snapshot.id] = snapshot

    async def get_snapshot(self, snapshot: SnapshotId) -> Snapshot | None:
        return self._snapshots.get(snapshot)

    async def list_deleted_snapshots(self, tenant: TenantId, limit: int) -> Sequence[Snapshot]:
        its = ((it.deleted_at, it) for it in self._snapshots.values() if it.tenant == tenant)
        deleted = [(at, it) for at, it in its if at is not None]
        return [it for _, it in sorted(deleted, key=lambda pair: pair[0], reverse=True)][:limit]

    def _kept_snapshots(self) -> list[Snapshot]:
        return [snapshot for snapshot in self._snapshots.values() if snapshot.deleted_at is None]

    async def remove_snapshot(self, snapshot: SnapshotId) -> None:
        self._snapshots.pop(snapshot, None)

    async def add_pool(self, pool: Pool) -> None:
        _check_name("pool", pool, self._pools.values())
        self._pools[pool.id] = pool

    async def save_pool(self, pool: Pool) -> None:
        if pool.id in self._pools:
            _check_name("pool", pool, [other for other in self._pools.values() if other.id != pool.id])
            self._pools[pool.id] = pool

    async def remove_pool(self, pool: PoolId) -> None:
        self._pools.pop(pool, None)

    async def add_volume(self, volume: Volume, turn: Turn) -> None:
        _check_name("volume", volume, self._volumes.values())
        self._volumes[volume.id] = volume
        self._take_turn(turn)

    async def remove_volume(self, volume: VolumeId, turn: Turn) -> None:
        self._volumes.pop(volume, None)
        self._take_turn(turn)

    async def prune(self, horizon: Horizon) -> None:
        if horizon.events is not None:
            self._events = [event for event in self._events if event.created_at >= horizon.events]
        if horizon.snapshots is not None:
            before = horizon.snapshots
            self._snapshots = {
                id: it for id, it in self._snapshots.items() if it.deleted_at is None or it.deleted_at >= before
            }
        self._prune_work(horizon)
        self._prune_builds(horizon)


class _Named(Protocol):
    @property
    def tenant(self) -> TenantId: ...
    @property
    def name(self) -> str: ...


def _take_name(names: set[tuple[TenantId, str]], machine: Machine) -> None:
    if (machine.tenant, machine.name) in names:
        raise errors.Conflict(f"there is already a machine named {machine.name}")
    names.add((machine.tenant, machine.name))


def _check_name(what: str, new: _Named, others: Iterable[_Named]) -> None:
    if any((new.tenant, new.name) == (other.tenant, other.name) for other in others):
        raise errors.Conflict(f"there is already a {what} named {new.name}")
