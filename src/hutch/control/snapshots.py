"""Snapshots: immutable copies of machines, memory and processes included. Many machines can be made of one.

Another tenant's are `NotFound`. Names are unique among a tenant's snapshots. A snapshot outlives its machine.
"""

import builtins
from collections.abc import Mapping

import structlog

from hutch.control import idempotency, requests
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.operation import Copying
from hutch.control.quotas import Use
from hutch.control.records import Entry
from hutch.control.shelf import Shelf
from hutch.model import errors, ids
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.kinds import Kind
from hutch.model.machine import Snapshot

log = structlog.get_logger(__name__)


class Snapshots:
    """The snapshots of all tenants."""

    def __init__(self, fleet: Fleet, shelf: Shelf, background: Background, clock: Clock) -> None:
        self._fleet = fleet
        self._shelf = shelf
        self._background = background
        self._clock = clock

    async def create(
        self,
        principal: Principal,
        machine: MachineId,
        name: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Snapshot:
        """Of a running, paused or suspended machine, which goes on as it was. Needs `machine:create`.

        `name` None: made of the machine's name. `metadata` None: the machine's, as it is now. `NotRunning` for a
        machine without memory (stopped, failed), `Conflict` for a name that is taken, `DiskFull`.
        """
        entry = self._fleet.entry(principal, machine, "machine:create")
        if name is not None:
            requests.check_name(name)
        requests.check_metadata(metadata or {})
        return await self._background.finish(self._create(entry, name, metadata))

    async def _create(self, entry: Entry, name: str | None, metadata: Mapping[str, object] | None) -> Snapshot:
        tenant = entry.machine.tenant
        copying = Copying(ids.new_snapshot_id(), transient=False)
        claim = self._fleet.quotas.claim(tenant, {copying.snapshot: Use(snapshots=1)})
        with self._shelf.claim(tenant, name, entry.machine.name) as name, claim:
            await idempotency.expect([copying.snapshot])
            machine = await self._fleet.carry_out(entry, copying)
            assert copying.saved is not None
            snapshot = Snapshot(
                *(copying.snapshot, tenant, name, machine.id, machine.spec, self._clock.now(), copying.saved.size),
                metadata=dict(machine.metadata if metadata is None else metadata),
            )
            try:
                await self._shelf.add(snapshot)
            except BaseException:
                self._background.go_on("removing an unrecorded snapshot", self._shelf.remove(snapshot))
                raise
        message = f"snapshot {name} was made of it"
        await self._fleet.records.note(entry, message, kind=Kind.SNAPSHOTTED, snapshot=snapshot.id)
        return snapshot

    def list(self, principal: Principal, machine: MachineId | None = None) -> builtins.list[Snapshot]:
        """The tenant's, or those made of one machine, newest first. Needs `machine:read`.

        `NotFound` for a machine that is not there and of which there is none.
        """
        principal.require("machine:read")
        found = self._shelf.of(principal.tenant, machine)
        if machine is not None and not found:
            self._fleet.entry(principal, machine, "machine:read")
        return found

    def find(self, principal: Principal, id_or_name: str) -> Snapshot:
        """By id, else by name. Needs `machine:read`. `NotFound`."""
        principal.require("machine:read")
        return self._shelf.find(principal.tenant, id_or_name)

    async def delete(self, principal: Principal, id: SnapshotId) -> None:
        """Drop it; machines made of it live on. Needs `machine:delete`."""
        principal.require("machine:delete")
        await self._background.finish(self._shelf.remove(self._get(principal, id)))

    async def verify(self, principal: Principal, id: SnapshotId) -> Snapshot:
        """Read all of it; `damage` of what is returned says what is not as it was saved. Needs `machine:read`."""
        principal.require("machine:read")
        return await self._shelf.verify(self._get(principal, id))

    def _get(self, principal: Principal, id: SnapshotId) -> Snapshot:
        snapshot = self._shelf.find(principal.tenant, id)
        if snapshot.id != id:
            raise errors.NotFound("snapshot not found")
        return snapshot
