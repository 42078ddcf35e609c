"""The records of all snapshots, in memory, written through to the store.

What exists is what the host holds. A record of one that the host does not have says so; one that no record tells of,
left by a snapshot or a deletion that was cut short, is removed. Of a deleted one the record is kept for a while, in the
store alone: to all here it is gone.
"""

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

import structlog

from hutch.control import names, quotas, requests
from hutch.control.clock import Clock
from hutch.control.quotas import Quotas
from hutch.host.interface import Host
from hutch.model import errors
from hutch.model.ids import MachineId, SnapshotId, TenantId
from hutch.model.machine import Persistence, Snapshot
from hutch.store.interface import Store

log = structlog.get_logger(__name__)

MISSING = "the host does not have it any more"
IN_USE = timedelta(seconds=60)
"""A sticky snapshot that was made or used so short a time ago is not removed: a machine may just be made of it."""

REST = 9
"""A background verification is followed by a rest this many times as long as it took."""


class Shelf:
    """The snapshots of all tenants."""

    def __init__(self, store: Store, host: Host, clock: Clock, quotas: Quotas, verify_interval: float) -> None:
        self._quotas = quotas
        self._store = store
        self._host = host
        self._clock = clock
        self._interval = timedelta(seconds=verify_interval)
        self._snapshots: dict[SnapshotId, Snapshot] = {}  # oldest first
        self._claimed: set[tuple[TenantId, str]] = set()
        self._leaving: set[SnapshotId] = set()
        self._held = Counter[SnapshotId]()
        self._touched: dict[SnapshotId, datetime] = {}
        self._verifying: asyncio.Task[None] | None = None
        self._rest_until: datetime | None = None

    def load(self, snapshots: Iterable[Snapshot]) -> None:
        """Take up what the store has; oldest first."""
        for snapshot in snapshots:
            self._insert(snapshot)

    def _insert(self, snapshot: Snapshot) -> None:
        self._snapshots[snapshot.id] = snapshot
        self._quotas.note(snapshot.tenant, snapshot.id, quotas.SNAPSHOT)

    async def reconcile(self) -> None:
        """Make records and host agree."""
        held = {state.id for state in self._host.snapshots()}
        for snapshot in list(self._snapshots.values()):
            if snapshot.id not in held and MISSING not in snapshot.damage:
                log.error("a snapshot is missing on the host", snapshot=snapshot.id, name=snapshot.name)
                await self._save(dataclasses.replace(snapshot, damage=(MISSING,), verified_at=self._clock.now()))
        for stranger in held - set(self._snapshots):
            log.warning("removing a snapshot that no record tells of", snapshot=stranger)
            try:
                await self._host.remove_snapshot(stranger)
            except errors.HutchError as error:
                log.warning("it could not be removed", snapshot=stranger, error=error.message)

    def get(self, snapshot: SnapshotId) -> Snapshot | None:
        """By id."""
        return self._snapshots.get(snapshot)

    def of(self, tenant: TenantId, machine: MachineId | None = None) -> list[Snapshot]:
        """A tenant's, or those made of one machine, newest first."""
        return [
            snapshot
            for snapshot in reversed(self._snapshots.values())
            if snapshot.tenant == tenant and machine in (None, snapshot.machine)
        ]

    def find(self, tenant: TenantId, id_or_name: str) -> Snapshot:
        """By id, else by name. `NotFound`; another tenant's is."""
        snapshot = self._snapshots.get(SnapshotId(id_or_name))
        if snapshot is not None and snapshot.tenant == tenant:
            return snapshot
        snapshot = self.named(tenant, id_or_name)
        if snapshot is None:
            raise errors.NotFound("snapshot not found")
        return snapshot

    def named(self, tenant: TenantId, name: str) -> Snapshot | None:
        """By name."""
        return next((snapshot for snapshot in self.of(tenant) if snapshot.name == name), None)

    def known(
        self, tenant: TenantId, recipe: str, will_do: Callable[[Snapshot], bool] = lambda _: True
    ) -> Snapshot | None:
        """The newest whole one of the layer of this hash that will do, to be used, and so used now."""
        its = (it for it in self.of(tenant) if it.recipe == recipe and not it.damage and it.id not in self._leaving)
        found = next(filter(will_do, its), None)
        return None if found is None else self._used(found)

    def sticky(self) -> list[Snapshot]:
        """Everybody's that may be removed when room is needed, and that nobody has made or used just now."""
        now = self._clock.now()
        return [
            snapshot
            for snapshot in self._snapshots.values()
            if snapshot.persistence is Persistence.STICKY
            and now - last_use(snapshot) >= IN_USE
            and snapshot.id not in self._held
        ]

    @contextlib.contextmanager
    def hold(self, snapshot: SnapshotId) -> Iterator[None]:
        """Within, somebody needs it: it is used until the end, and not removed to make room."""
        self._held[snapshot] += 1
        try:
            yield
        finally:
            self._held[snapshot] -= 1
            self._held = +self._held
            self.touch(snapshot)

    def whole(self, tenant: TenantId, id_or_name: str) -> Snapshot:
        """The same, to be used, and so used now. `Damaged` if it is known to be."""
        snapshot = self.find(tenant, id_or_name)
        if snapshot.damage:
            raise errors.Damaged(f"snapshot {snapshot.name} is not what was saved: {snapshot.damage[0]}; delete it")
        return self._used(snapshot)

    @contextlib.contextmanager
    def claim(self, tenant: TenantId, name: str | None, base: str) -> Iterator[str]:
        """Keep a name, or one made of `base`, for a snapshot that is to be made within. `Conflict` if it is taken."""
        if name is None:
            name = next(names.number(base, lambda it: self.is_taken(tenant, it), requests.NAME_LENGTH))
        elif self.is_taken(tenant, name):
            raise errors.Conflict(f"there is already a snapshot named {name}: choose another name, or delete it first")
        self._claimed.add((tenant, name))
        try:
            yield name
        finally:
            self._claimed.discard((tenant, name))

    def is_taken(self, tenant: TenantId, name: str) -> bool:
        """Whether a snapshot is called so, or one that is being made."""
        return (tenant, name) in self._claimed or any(snapshot.name == name for snapshot in self.of(tenant))

    async def add(self, snapshot: Snapshot) -> None:
        """A new one, under a claimed name."""
        await self._store.add_snapshot(snapshot)
        self._insert(snapshot)

    async def remove(self, snapshot: Snapshot) -> None:
        """From the host, then from here; its record stays in the store for a while, as that of a deleted one."""
        self._leaving.add(snapshot.id)
        try:
            await self._host.remove_snapshot(snapshot.id)
            last = self._snapshots.get(snapshot.id, snapshot)
            await self._store.save_snapshot(dataclasses.replace(last, deleted_at=self._clock.now()))
            self._snapshots.pop(snapshot.id, None)
        finally:
            self._leaving.discard(snapshot.id)
        self._touched.pop(snapshot.id, None)
        self._quotas.note(snapshot.tenant, snapshot.id, quotas.NOTHING)

    async def rename(self, snapshot: Snapshot, name: str) -> Snapshot:
        """Under another name. `Conflict` if it is taken."""
        if snapshot.name == name:
            return snapshot
        with self.claim(snapshot.tenant, name, name):
            return await self._save(dataclasses.replace(self._snapshots.get(snapshot.id, snapshot), name=name))

    def touch(self, snapshot: SnapshotId) -> None:
        """It is used now: a machine is about to be made of it, or put back to it."""
        if (known := self._snapshots.get(snapshot)) is not None:
            self._used(known)

    def _used(self, snapshot: Snapshot) -> Snapshot:
        now = self._clock.now()
        self._touched[snapshot.id] = now
        self._snapshots[snapshot.id] = used = dataclasses.replace(snapshot, used_at=now)
        return used

    def take_touched(self) -> dict[SnapshotId, datetime]:
        """Those used since the last call, and when."""
        touched, self._touched = self._touched, {}
        return touched

    async def verify(self, snapshot: Snapshot) -> Snapshot:
        """Have the host read all of it, and record what is not as it was saved."""
        try:
            damage = tuple(await self._host.verify(snapshot.id))
        except errors.NotFound:
            damage = (MISSING,)
        last = self._snapshots.get(snapshot.id)
        if last is None or last.id in self._leaving:
            raise errors.NotFound(f"snapshot {snapshot.name} was deleted while it was read")
        if damage:
            log.error("a snapshot is damaged", snapshot=last.id, name=last.name, damage=damage)
        return await self._save(dataclasses.replace(last, damage=damage, verified_at=self._clock.now()))

    async def _save(self, snapshot: Snapshot) -> Snapshot:
        await self._store.save_snapshot(snapshot)
        if snapshot.id in self._snapshots:
            self._snapshots[snapshot.id] = snapshot
        return snapshot

    def tick(self) -> None:
        """Begin to verify the one that is due longest, if any is and nothing is being verified."""
        now = self._clock.now()
        if self._verifying is not None or not self._interval or (self._rest_until and now < self._rest_until):
            return
        due = [it for it in self._snapshots.values() if _last_read(it) + self._interval <= now and not it.damage]
        if due:
            self._verifying = asyncio.create_task(self._verify_quietly(min(due, key=_last_read), now))
            self._verifying.add_done_callback(self._verified)

    def _verified(self, _: asyncio.Task[None]) -> None:
        self._verifying = None

    async def _verify_quietly(self, snapshot: Snapshot, began: datetime) -> None:
        try:
            with contextlib.suppress(errors.NotFound):
                await self.verify(snapshot)
        except Exception:
            log.exception("a snapshot could not be verified", snapshot=snapshot.id)
            self._rest_until = self._clock.now() + self._interval
        else:
            now = self._clock.now()
            self._rest_until = now + (now - began) * REST

    async def close(self) -> None:
        """Give up what is being verified."""
        if self._verifying is not None:
            self._verifying.cancel()
            await asyncio.wait([self._verifying])


def last_use(snapshot: Snapshot) -> datetime:
    """When a machine was last made of it, or it was made itself."""
    return snapshot.used_at or snapshot.created_at


def _last_read(snapshot: Snapshot) -> datetime:
    return snapshot.verified_at or snapshot.created_at
